"""Measures of redundancy beside their null models: the figures of `studies.redundancy_profile`."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy.plot.looks import colours
from redundancy.plot.style import CONTROL, new_figure, style

COLUMNS = 4
OBSERVED = "0.1"
AS_THEY_ARE = "videos as they are"
NULLS = {  # label and marker; their order is that of the colours, alike in all figures
    "shuffle_frames": ("frames shuffled", "^"),
    "shuffle_tokens": ("tokens shuffled", "s"),
    "gaussian": ("normal tokens", "D"),
}


def profile_values(summary: xr.Dataset) -> Figure:
    """Each shown measure that has a null model, by kind of video: means and intervals of videos and of their nulls.

    Parameters
    ----------
    summary
        Summary of the study `redundancy_profile`.
    """
    has_null = summary["null_mean"].sel(bound="mean").notnull().any(("kind", "null")).values
    part = summary.isel(statistic=np.flatnonzero(summary["shown"].values.astype(bool) & has_null))
    groups = list(dict.fromkeys(map(str, part["group"].values)))
    blocks = [part.isel(statistic=np.flatnonzero(part["group"].values == group)) for group in groups]
    starts = np.cumsum([0, *(-(-block.sizes["statistic"] // COLUMNS) for block in blocks)])
    with style():
        figure, panels = new_figure(max(int(starts[-1]), 1), COLUMNS, height=0.5 + 1.1 * starts[-1] + 0.2 * len(blocks))
        for axes in panels.flat:
            axes.set_axis_off()
        for letter, block, first, end in zip("abcdefg", blocks, starts[:-1], starts[1:], strict=False):
            _block_of_panels(panels[first:end].ravel().tolist(), block, letter)
        handles: dict[str, Any] = {}
        for axes in panels.flat:
            handles |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
        labels = [label for label in (AS_THEY_ARE, *(label for label, _ in NULLS.values())) if label in handles]
        figure.legend([handles[label] for label in labels], labels, loc="outside lower center", ncols=4)
    return figure


def _block_of_panels(panels: list[Axes], block: xr.Dataset, letter: str) -> None:
    """Panels of one group of measures, under its name."""
    group = str(block["group"].values[0])
    note = ", frame features at unit length" if group == "trajectory" else ""
    for i, axes in enumerate(panels[: block.sizes["statistic"]]):
        axes.set_axis_on()
        value_beside_nulls(axes, block.isel(statistic=i))
    title = panels[0].get_title(loc="left")
    panels[0].set_title(f"\n\n{title}", fontsize=7)  # room for the name of the group, which is wider than the panel
    heading = panels[0].annotate(
        f"({letter}) {group}{note}", (0, 1), (0, 21), "axes fraction", "offset points", fontsize=9, fontweight="bold"
    )
    heading.set_in_layout(False)


def value_beside_nulls(axes: Axes, measure: xr.Dataset) -> None:
    """One measure by kind of video, and the same of each null model beside it; means with intervals.

    Parameters
    ----------
    axes
        Where to draw.
    measure
        The summary at one statistic.
    """
    kinds = [str(kind) for kind in measure["kind"].values if kind != "all"]
    here = measure.sel(kind=kinds)
    x = np.arange(len(kinds))
    _points(axes, x - 0.2, here["value"], color=OBSERVED, marker="o", label=AS_THEY_ARE, zorder=3)
    palette = colours(list(NULLS))
    for i, (null, (label, marker)) in enumerate(NULLS.items()):
        if null in here["null"].values and here["null_mean"].sel(null=null).notnull().any():
            values = here["null_mean"].sel(null=null)
            _points(axes, x + 0.02 + 0.16 * i, values, color=palette[null], marker=marker, label=label, markersize=3.2)
    scenes = all(kind.endswith((" scene", " scenes")) for kind in kinds)
    axes.set_xticks(x, [kind.split()[0] if scenes else kind.replace(" ", "\n") for kind in kinds])
    if scenes:
        axes.set_xlabel("scenes", fontsize=6, labelpad=1)
    axes.set_xlim(-0.5, len(kinds) - 0.3)
    axes.tick_params(labelsize=6)
    axes.tick_params(axis="x", length=0)
    axes.set_title(readable(str(measure["statistic"].values)), fontsize=7)
    unit = str(measure["units"].values)
    axes.set_ylabel("no unit" if unit == "1" else unit.replace("feature units", "feat. units"), fontsize=6)


def _points(axes: Axes, x: Any, values: xr.DataArray, **look: Any) -> None:
    """Means with their intervals."""
    mean, low, high = (values.sel(bound=bound).values for bound in ("mean", "low", "high"))
    axes.errorbar(x, mean, yerr=[mean - low, high - mean], linestyle="none", elinewidth=0.9, **look)


def readable(statistic: str) -> str:
    """A statistic's label as words: `static_fraction(tau=0.9)` is "static fraction, tau 0.9"."""
    name, _, parameter = statistic.rstrip(")").partition("(")
    values = [part for part in parameter.split(", ") if part and not part.startswith("scaling=")]
    return ", ".join([name, *values]).replace("_", " ").replace("=", " ")


def profile_scores(summary: xr.Dataset) -> Figure:
    """Every shown measure in a row: mean z against each null over all videos, and how far it tells kinds apart.

    Parameters
    ----------
    summary
        Summary of the study `redundancy_profile`.
    """
    known = summary["z"].notnull().any(("kind", "null", "bound")) | summary["separation"].notnull().any("bound")
    part = summary.isel(statistic=np.flatnonzero(summary["shown"].values.astype(bool) & known.values))
    nulls = [null for null in NULLS if null in part["null"].values]
    count = part.sizes["statistic"]
    with style():
        figure, grid = new_figure(1, len(nulls) + 1, height=1.1 + 0.17 * count, sharey=True)
        panels = grid[0]
        palette = colours(list(NULLS))
        for letter, axes, null in zip("abc", panels, nulls, strict=False):
            scores_of_null(axes, part["z"].sel(null=null, kind="all"), color=palette[null], marker=NULLS[null][1])
            axes.set_title(f"({letter}) {NULLS[null][0]}")
            axes.set_xlim(_limits(part["z"].sel(kind="all")))
        separation_of_kinds(panels[-1], part)
        panels[-1].set_title(f"({'abcd'[len(nulls)]}) kinds told apart")
        groups = list(map(str, part["group"].values))
        for axes in panels:
            for row in (i for i in range(1, count) if groups[i] != groups[i - 1]):
                axes.axhline(row - 0.5, color="0.7", linewidth=0.7)
            axes.tick_params(axis="y", length=0)
        for group in dict.fromkeys(groups):
            middle = groups.index(group) + groups.count(group) / 2 - 0.5
            place = panels[-1].get_yaxis_transform()
            panels[-1].text(1.04, middle, group, transform=place, rotation=270, va="center", fontweight="bold")
        panels[0].set_yticks(range(count), [readable(str(name)) for name in part["statistic"].values], fontsize=6.5)
        panels[0].set_ylim(count - 0.5, -0.5)
    return figure


def scores_of_null(axes: Axes, z: xr.DataArray, *, color: Any, marker: str) -> None:
    """Mean z of each statistic with its interval, a row each; grey where one video would not stand out from the null.

    Parameters
    ----------
    axes
        Where to draw.
    z
        `[statistic, bound]`.
    color, marker
        Of the null model.
    """
    mean, low, high = (z.sel(bound=bound).values for bound in ("mean", "low", "high"))
    rows = np.arange(len(mean))
    axes.axvspan(-1.96, 1.96, color="0.9", zorder=0)
    axes.axvline(0, color=CONTROL, linewidth=0.8, zorder=1)
    axes.errorbar(
        mean, rows, xerr=[mean - low, high - mean], color=color, marker=marker, linestyle="none", markersize=3
    )
    axes.set_xscale("symlog", linthresh=2, linscale=0.5)
    ticks = [-1000, -100, -10, -2, 0, 2, 10, 100, 1000]  # with the end of the linear part, which shows where logs begin
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("mean z of videos\n(grey: |z| < 1.96)")


def _limits(z: xr.DataArray) -> tuple[float, float]:
    """One range of z for all null models, a little wider than the intervals on its logarithmic axis."""
    widest = max(float(np.nanmax(abs(z.values), initial=2)), 2.0) * 1.5
    return (-widest if float(np.nanmin(z.values, initial=0)) < 0 else -3.0), widest


def separation_of_kinds(axes: Axes, summary: xr.Dataset) -> None:
    """Share of the variance of ranks between kinds, a row per statistic; grey what chance stays below in 95%.

    Parameters
    ----------
    axes
        Where to draw.
    summary
        Of the study, with `separation` and `separation_chance`.
    """
    mean, low, high = (summary["separation"].sel(bound=bound).values for bound in ("mean", "low", "high"))
    rows = np.arange(len(mean))
    chance = summary["separation_chance"].values
    axes.barh(rows, np.nan_to_num(chance), height=1.0, color="0.9", zorder=0)
    axes.hlines(rows, low, high, color=OBSERVED, linewidth=1.2)
    axes.plot(mean, rows, color=OBSERVED, marker="o", linestyle="none", markersize=3.5)
    axes.set(xlim=(0, 1.02), xlabel="share of rank variance\n(grey: 95% of chance)")
    if np.isnan(mean).all():
        axes.text(0.5, 0.5, "needs two kinds\nof two videos", transform=axes.transAxes, ha="center", color=CONTROL)
