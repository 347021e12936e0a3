"""One style for every figure, and how figures are made and saved."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy.checks import require_type

TWO_COLUMNS = 7.0  # inches
CONTROL = "0.55"
# suffix -> metadata without which the same figure would be another file each time
FORMATS: dict[str, Any] = {
    ".png": None,
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
    ".eps": None,
    ".jpg": None,
    ".tif": None,
    ".webp": None,
}
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
    """The style of all figures, while the context is open."""
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def new_figure(rows: int, columns: int, *, height: float, **arguments: Any) -> tuple[Figure, Shaped[np.ndarray, "..."]]:
    """A figure of two-column width that no window manager knows, and its axes `[rows, columns]`."""
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
    """
    rows, across = -(-count // columns), min(columns, count)
    figure, axes = new_figure(rows, across, height=0.3 + (0.2 + 0.75 * aspect) * rows)
    figure.set_figwidth(TWO_COLUMNS * (across + 1) / (columns + 1))
    for unused in axes.flat[count:]:
        unused.set_axis_off()
    return figure, list(axes.flat[:count])


def save(figure: Figure, path: Path | str) -> list[Path]:
    """Write a figure by the suffix of the path, or `path.png` and `path.svg` if it has none; return what was written.

    Parameters
    ----------
    figure
        From any function here, or any other of matplotlib.
    path
        Its folders are made; `~` is the home folder.

    Raises
    ------
    TypeError
        If they are something else, or in the other order.
    ValueError
        If the suffix is not known, with those that are.

    Example
    -------
    >>> save(figure, "figures/similarity.pdf")
    [PosixPath('figures/similarity.pdf')]
    """
    require_type("figure", figure, Figure, expected="a figure: plot.save(figure, path)")
    require_type("path", path, str | Path, expected="a path")
    file = Path(os.path.expanduser(path))
    if not file.name:
        raise ValueError(f"path: {str(path)!r} given, expected a path with a name")
    if file.suffix and file.suffix.lower() not in FORMATS:
        raise ValueError(
            f"suffix {file.suffix!r} given, expected one of {', '.join(FORMATS)}, or none for .png and .svg"
        )
    written = [file] if file.suffix else [file.with_suffix(suffix) for suffix in (".png", ".svg")]
    file.parent.mkdir(parents=True, exist_ok=True)
    with style():
        for one in written:
            figure.savefig(one, metadata=FORMATS[one.suffix.lower()])
    return written
