"""One style for every figure, and how figures are made and saved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from jaxtyping import Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TWO_COLUMNS = 7.0  # inches
CONTROL = "0.55"
_STYLE = {
    "axes.grid": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "figure.dpi": 150,
    "font.size": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "savefig.bbox": "tight",
    "savefig.dpi": 200,
    "svg.hashsalt": "redundancy",  # the same figure is the same file
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}


@contextmanager
def style() -> Iterator[None]:
    """The style of all figures, while the context is open.

    Source: own.
    """
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def new_figure(rows: int, columns: int, *, height: float, **arguments: Any) -> tuple[Figure, Shaped[np.ndarray, "..."]]:
    """A figure of two-column width that no window manager knows, and its axes `[rows, columns]`.

    Source: own.
    """
    figure = Figure(figsize=(TWO_COLUMNS, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **arguments)


def frame_grid(count: int, *, columns: int = 8, aspect: int | float = 1) -> tuple[Figure, list[Axes]]:
    """A figure with one axes per frame, row by row, and room for a colour bar: of two-column width if a row is full.

    Parameters
    ----------
    count
        Number of frames.
    columns
        In a full row.
    aspect
        Height of a frame over its width.

    Source: own.
    """
    rows, across = -(-count // columns), min(columns, count)
    figure, axes = new_figure(rows, across, height=0.3 + (0.2 + 0.75 * aspect) * rows)
    figure.set_figwidth(TWO_COLUMNS * (across + 1) / (columns + 1))
    for unused in axes.flat[count:]:
        unused.set_axis_off()
    return figure, list(axes.flat[:count])


def save(figure: Figure, path: Path) -> list[Path]:
    """Write `path.png` and `path.svg`, and return both.

    Source: own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    written = [path.with_suffix(suffix) for suffix in (".png", ".svg")]
    with style():
        figure.savefig(written[0])
        figure.savefig(written[1], metadata={"Date": None})
    return written


def colours(names: Sequence[str]) -> dict[str, Any]:
    """A colour for each name, distinct for readers with colour blindness, by order of the names.

    Source: own.
    """
    return dict(zip(names, sns.color_palette("colorblind", len(names)), strict=True))
