"""Tables as figures: rows of points with intervals, and matrices with their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from redundancy.plot.style import CONTROL

# with the ends of the linear part, which show where logarithms begin; 0 has a line
TICKS = {-10_000: "-10k", -100: "-100", -2: "-2", 2: "2", 100: "100", 10_000: "10k"}


def interval_rows(
    axes: Axes,
    series: Mapping[str, Float[np.ndarray, "rows bounds"]],
    *,
    styles: Mapping[str, Mapping[str, Any]],
    labels: Sequence[str],
    symlog: bool = False,
) -> None:
    """A row per label from the top, with a point and interval of every series, slightly apart.

    Parameters
    ----------
    series
        Estimate, low and high of every row, by the name of the series.
    styles
        Arguments of its points.
    symlog
        The axis is logarithmic beyond 2 on both sides.
    """
    for k, (name, cells) in enumerate(series.items()):
        y = np.arange(len(labels)) + 0.07 * (k - (len(series) - 1) / 2)
        style = {"linestyle": "none", "markersize": 3.5, "marker": "o", "color": "0.1", **styles[name]}
        axes.hlines(y, cells[:, 1], cells[:, 2], color=style["color"], linewidth=1)
        axes.plot(cells[:, 0], y, label=name, **style)
    axes.set_yticks(range(len(labels)), list(labels), fontsize=6.5)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color=CONTROL, linewidth=0.8, zorder=1)
    if symlog:
        axes.set_xscale("symlog", linthresh=2, linscale=0.5)
        axes.set_xticks(list(TICKS), list(TICKS.values()))
        axes.minorticks_off()


def between_groups(axes: Axes, groups: Sequence[str], *, names: bool = False) -> None:
    """A line between rows of different groups, and the names of the groups at the right."""
    for row in (i for i in range(1, len(groups)) if groups[i] != groups[i - 1]):
        axes.axhline(row - 0.5, color="0.7", linewidth=0.7)
    for group in dict.fromkeys(groups) if names else ():
        middle = groups.index(group) + groups.count(group) / 2 - 0.5
        place = axes.get_yaxis_transform()
        axes.text(1.04, middle, group, transform=place, rotation=270, va="center", fontweight="bold")


def numbered_matrix(
    axes: Axes,
    table: Float[np.ndarray, "names names"],
    names: Sequence[str],
    *,
    limits: tuple[float, float],
    cmap: str,
) -> None:
    """One number per cell on its colour; NaN stays blank.

    Parameters
    ----------
    table
        `[rows, columns]`.
    names
        Of rows and columns.
    limits, cmap
        Of the colours.
    """
    image = axes.imshow(table, cmap=cmap, vmin=limits[0], vmax=limits[1])
    for i, j in zip(*np.nonzero(~np.isnan(table)), strict=True):
        red, green, blue, _ = image.cmap(image.norm(table[i, j]))
        colour = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
        axes.text(j, i, _short(table[i, j]), ha="center", va="center", fontsize=5, color=colour)
    axes.set_xticks(range(len(names)), list(names), rotation=90, fontsize=6)
    axes.set_yticks(range(len(names)), list(names), fontsize=6)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _short(value: float) -> str:
    """Two digits without the leading zero."""
    text = f"{value:.2f}"
    return "0" if text in ("0.00", "-0.00") else text.replace("0.", ".", 1)
