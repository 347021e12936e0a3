"""One style, one function per kind of figure. Everything is drawn from stored results; nothing is computed here."""

from redundancy.plot.attention import attention_over_frames
from redundancy.plot.compose import Panel, compose
from redundancy.plot.frames import film_strip, grey_frame, token_maps
from redundancy.plot.looks import colours, segmenter_colours
from redundancy.plot.methods import lines_over_retention, method_styles, readable
from redundancy.plot.path import over_time, trajectory
from redundancy.plot.reductions import drift_maps, role_legend, role_maps
from redundancy.plot.segments import segment_bars, similarity_over_time
from redundancy.plot.style import CONTROL, TWO_COLUMNS, frame_grid, new_figure, save, style
from redundancy.plot.training import accuracy_over_retention, learning_curve

__all__ = [
    "CONTROL",
    "TWO_COLUMNS",
    "Panel",
    "accuracy_over_retention",
    "attention_over_frames",
    "colours",
    "compose",
    "drift_maps",
    "film_strip",
    "frame_grid",
    "grey_frame",
    "learning_curve",
    "lines_over_retention",
    "method_styles",
    "new_figure",
    "over_time",
    "readable",
    "role_legend",
    "role_maps",
    "save",
    "segment_bars",
    "segmenter_colours",
    "similarity_over_time",
    "style",
    "token_maps",
    "trajectory",
]
