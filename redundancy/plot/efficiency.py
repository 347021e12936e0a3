"""Costs of an answer: the figure of `studies.efficiency`."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy.plot.methods import method_styles
from redundancy.plot.style import TWO_COLUMNS, style

WHOLE = "whole"
SHOWN_RETENTION = 0.25
BARS = {  # greys for what every answer has, colours for what the method adds; none is a method's colour
    "tower": ("vision tower", "0.72"),
    "decision": ("decision", "crimson"),
    "shorten": ("shortening", "lightcoral"),
    "language": ("language model", "0.35"),
    "other": ("other", "0.9"),
}


def efficiency_figure(summary: xr.Dataset) -> Figure:
    """Stages until the first token, and what each method saves against the share of tokens that it keeps.

    Parameters
    ----------
    summary
        Summary of the study `efficiency`.
    """
    with style():
        figure = Figure(figsize=(TWO_COLUMNS, 5.6), layout="constrained")
        halves = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.12, 1))[0]
        bars = halves[0].subplots()
        shown = stage_bars(bars, summary)
        bars.set_title(f"(a) until the first token{shown}")
        panels = halves[1].subplots(3, 1, sharex=True)
        styles = method_styles(summary)
        ratios_over_kept(panels[0], summary, "prefill", styles=styles)
        panels[0].set_title("(b) decision, shortening and language model")
        ratios_over_kept(panels[1], summary, "first_token", styles=styles)
        panels[1].set_title("(c) time to the first token")
        ratios_over_kept(panels[2], summary, "peak_language", styles=styles)
        panels[2].set_title("(d) peak memory, language model")
        panels[2].set_xlabel("share of video tokens kept")
        for panel in panels:
            panel.set_ylabel("ratio to whole")
        for panel in panels[:2]:
            flops_over_kept(panel, summary)
        handles = dict(zip(*panels[0].get_legend_handles_labels()[::-1], strict=True))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5)
    return figure


def stage_bars(axes: Axes, summary: xr.Dataset) -> str:
    """Medians of the stages of each condition at one retention, stacked; returns what was shown of them."""
    chosen, shown = shown_conditions(summary)
    part = summary.isel(condition=np.flatnonzero(chosen))
    left = np.zeros(part.sizes["condition"])
    for stage, (label, colour) in BARS.items():
        width = part["value"].sel(quantity=stage, statistic="median").values
        axes.barh(range(len(left)), width, left=left, color=colour, label=label, height=0.7)
        left = left + width
    achieved = part["achieved"].sel(over_clips="mean").values
    names = [str(name).replace("_", " ") for name in part["method"].values]
    axes.set_yticks(
        range(len(names)), [f"{name}\nkeeps {kept:.0%}" for name, kept in zip(names, achieved, strict=True)]
    )
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("ms, median")
    axes.tick_params(axis="y", length=0)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.09), ncols=3)
    return shown


def shown_conditions(summary: xr.Dataset) -> tuple[Bool[np.ndarray, "conditions"], str]:
    """The whole model, fixed rates, and of each other method the retention nearest to a quarter."""
    requested: Float[np.ndarray, "conditions"] = summary["requested"].values
    whole = summary["kind"].values == WHOLE
    asked = requested[~whole & ~np.isnan(requested)]
    if not len(asked):
        return np.ones(len(requested), dtype=bool), ""
    nearest = float(asked[np.argmin(abs(asked - SHOWN_RETENTION))])
    return whole | np.isnan(requested) | (requested == nearest), f", asked to keep {nearest:.0%}"


def ratios_over_kept(axes: Axes, summary: xr.Dataset, quantity: str, *, styles: dict[str, dict[str, Any]]) -> None:
    """Median ratios to the whole model with quartiles against the achieved retention; one line per method.

    The whole model against itself is the band around 1.
    """
    ratio = summary["ratio"].sel(quantity=quantity)
    itself = ratio.isel(condition=np.flatnonzero(summary["kind"].values == WHOLE)).values[0]
    axes.axhspan(itself[1], itself[2], color="0.88", zorder=0, label="whole model against itself")
    for name, look in styles.items():
        at = np.flatnonzero(summary["method"].values == name)
        kept = summary["achieved"].sel(over_clips="mean").values[at]
        at, kept = at[np.argsort(kept, kind="stable")], np.sort(kept, kind="stable")
        median, low, high = ratio.values[at].T
        errors = np.stack([median - low, high - median])
        axes.errorbar(kept, median, yerr=errors, label=name.replace("_", " "), linewidth=1, elinewidth=0.7, **look)
    axes.set_ylim(0, max(1.08, axes.get_ylim()[1]))


def flops_over_kept(axes: Axes, summary: xr.Dataset) -> None:
    """Ratios of FLOPs by FastVID's formula, dashed: what the language model's time would be if FLOPs were all."""
    kept = summary["achieved"].sel(over_clips="mean").values
    ratio = summary["ratio"].sel(quantity="flops_fastvid", statistic="median").values
    order = np.argsort(kept, kind="stable")
    axes.plot(kept[order], ratio[order], color="0.3", linestyle="--", linewidth=0.8, zorder=1, label="FLOPs (FastVID)")
