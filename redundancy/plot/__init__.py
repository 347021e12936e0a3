"""One style, one function per kind of figure. Everything is drawn from stored results; nothing is computed here."""

from redundancy.plot.frames import film_strip, token_maps
from redundancy.plot.segments import segment_ablation, segment_bars, similarity_over_time, sweep
from redundancy.plot.style import CONTROL, TWO_COLUMNS, colours, new_figure, save, style

__all__ = [
    "CONTROL",
    "TWO_COLUMNS",
    "colours",
    "film_strip",
    "new_figure",
    "save",
    "segment_ablation",
    "segment_bars",
    "similarity_over_time",
    "style",
    "sweep",
    "token_maps",
]
