"""Agreement of methods: the figure of `studies.method_agreement`."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy.plot.looks import looks
from redundancy.plot.methods import with_intervals
from redundancy.plot.style import CONTROL, TWO_COLUMNS, style

RANDOM = "random_tokens"


def pair_matrix(axes: Axes, values: xr.DataArray, *, limits: tuple[float, float], cmap: str) -> None:
    """One number per pair of methods, below the diagonal; the diagonal holds pairs of two draws of one control.

    Parameters
    ----------
    values
        Dims first and second: symmetric.
    """
    names = [str(m) for m in values["first"].values]
    shown = np.where(np.tri(len(names), dtype=bool), values.transpose("first", "second").values, np.nan)
    image = axes.imshow(shown, cmap=cmap, vmin=limits[0], vmax=limits[1])
    for i, j in zip(*np.nonzero(~np.isnan(shown)), strict=True):
        red, green, blue, _ = image.cmap(image.norm(shown[i, j]))
        colour = "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
        axes.text(j, i, _short(shown[i, j]), ha="center", va="center", fontsize=5, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
    axes.set_yticks(range(len(names)), names, fontsize=6)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)


def _short(value: float) -> str:
    """Two digits without the leading zero."""
    text = f"{value:.2f}"
    return "0" if text in ("0.00", "-0.00") else text.replace("0.", ".", 1)


def pairs_over_retention(axes: Axes, summary: xr.Dataset, measure: str) -> None:
    """A measure of the pairs of published methods over the requested retention, and of two random draws."""
    methods = [str(m) for m in summary["first"].values[summary["kind"].values == "method"]]
    pairs = list(combinations(methods, 2))
    styles = looks(dict.fromkeys(methods, "method"))
    for first, second in pairs:  # a line in the one method's colour, with the other's markers
        look = styles[first] | {"marker": styles[second]["marker"]}
        look |= {"markerfacecolor": styles[second]["color"], "markeredgecolor": styles[second]["color"]}
        _one_pair(axes, summary, measure, (first, second), label=f"{first} & {second}", **look)
    if RANDOM in summary["first"].values:
        look = looks({RANDOM: "control"})[RANDOM]
        _one_pair(axes, summary, measure, (RANDOM, RANDOM), label="two random draws", **look)
    axes.axhline(0, color=CONTROL, linewidth=0.8, zorder=0)
    axes.set_xscale("log")
    axes.set_xticks(summary["retention"].values, [f"{r:g}" for r in summary["retention"].values])
    axes.minorticks_off()
    axes.set_xlabel("requested share of tokens")


def _one_pair(axes: Axes, summary: xr.Dataset, measure: str, pair: tuple[str, str], **line: Any) -> None:
    values = summary["value"].sel(first=pair[0], second=pair[1], measure=measure)
    with_intervals(axes, values["retention"].values, values.values, **line)


def method_agreement(summary: xr.Dataset, *, retention: float | int | None = None) -> Figure:
    """Who keeps the same tokens: matrices of all pairs at one retention, and published pairs over the retention.

    Parameters
    ----------
    summary
        Summary of the study `method_agreement`.
    retention
        Requested share of the matrices; None: the stored one nearest to a quarter.
    """
    stored = summary["retention"].values
    chosen = stored[np.abs(stored - (0.25 if retention is None else retention)).argmin()]
    at = summary["value"].sel(retention=chosen, statistic="mean")
    with style():
        figure = Figure(figsize=(TWO_COLUMNS, 8.6), layout="constrained")
        grid = figure.add_gridspec(3, 2, height_ratios=(3, 3, 1.7))
        matrices = [
            ("anchor_jaccard", "(a) places kept in common, Jaccard", (0.0, 1.0), "viridis"),
            ("anchor_excess", "(b) the same, beyond chance", (-0.5, 0.5), "RdBu_r"),
            ("source_jaccard", "(c) content kept in common, Jaccard", (0.0, 1.0), "viridis"),
            ("budget_spearman", "(d) tokens per frame, Spearman (blank: even)", (-1.0, 1.0), "RdBu_r"),
        ]
        for i, (measure, title, limits, cmap) in enumerate(matrices):
            axes = figure.add_subplot(grid[i // 2, i % 2])
            pair_matrix(axes, at.sel(measure=measure), limits=limits, cmap=cmap)
            axes.set_title(title)
        for column, (measure, title) in enumerate(
            {
                "anchor_excess": "(e) beyond chance",
                "anchor_excess_in_frames": "(f) beyond chance and budgets",
            }.items()
        ):
            axes = figure.add_subplot(grid[2, column])
            pairs_over_retention(axes, summary, measure)
            axes.set_title(title)
            axes.set_ylabel("Jaccard - expected")
            if column == 0:
                figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
        figure.suptitle(f"(a) to (d): {chosen:g} of the tokens requested", x=0.01, ha="left", fontsize=8)
    return figure
