"""What is left of the answers when methods keep fewer tokens: the figure of `studies.retention_curve`."""

from __future__ import annotations

from typing import Any

import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy.plot.looks import colours
from redundancy.plot.methods import lines_over_retention, method_styles, names_of
from redundancy.plot.style import CONTROL, new_figure, style

PANELS = (
    ("correct", "accuracy"),
    ("agreement", "answers as the whole model"),
    ("kl", "KL from the whole model, nat"),
    ("reconstruction_error", "error of rebuilding the tokens"),
    ("attention_lost", "attention on dropped tokens"),
    ("alignment_all", "rotary alignment"),
)
TICKS = [0.05, 0.1, 0.25, 0.5, 1.0]


def retention_curve(summary: xr.Dataset) -> Figure:
    """Accuracy, fidelity, drift and attention lost of every method and control over the achieved share of tokens.

    Parameters
    ----------
    summary
        Of the study: `value` (setting, measure, statistic) with the coordinates of `studies.conditions.labels_of`; the
        setting of kind `"whole"` is drawn as a line across.
    """
    kinds = names_of(summary["method_kind"])
    reduced, whole = summary.isel(setting=kinds != "whole"), summary.isel(setting=kinds == "whole")
    with style():
        styles = method_styles(reduced)
        figure, axes = new_figure(2, 3, height=5.2)
        for i, (ax, (measure, title)) in enumerate(zip(axes.flat, PANELS, strict=True)):
            _panel(ax, reduced["value"].sel(measure=measure), styles)
            if whole.sizes["setting"] and measure in ("correct", "agreement"):
                ax.axhline(
                    float(whole["value"].sel(measure=measure, statistic="mean")[0]), color=CONTROL, linewidth=0.8
                )
            ax.set_title(f"({'abcdef'[i]}) {title}")
        chance = float(summary["chance"].mean())
        axes[0, 0].axhline(chance, color=CONTROL, linewidth=0.8, linestyle=":")
        axes[0, 0].annotate("chance", (TICKS[0], chance), fontsize=6, color="0.35", va="bottom")
        axes[0, 0].annotate("all tokens", (TICKS[0], axes[0, 0].lines[-2].get_ydata()[0]), fontsize=6, va="bottom")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5)
    return figure


def _panel(ax: Axes, values: xr.DataArray, styles: dict[str, dict[str, Any]]) -> None:
    lines_over_retention(ax, values, styles=styles)
    ax.set_xticks(TICKS)


def metric_prediction(summary: xr.Dataset) -> Figure:
    """How well each measurement ranks settings by the accuracy that they keep, for all skills and each of them.

    Parameters
    ----------
    summary
        Of `studies.metric_prediction`: `correlation` (level, measurement, skill, statistic).
    """
    with style():
        figure, axes = new_figure(1, 2, height=3.4, sharey=True, width_ratios=[1.0, 1.0])
        names = [str(n) for n in summary["long_name"].values]
        skills = [str(s) for s in summary["skill"].values]
        palette = colours(skills)
        for ax, level, title in zip(
            axes[0],
            ("all settings", "equal retention"),
            ("(a) over methods and retentions", "(b) over methods at equal retention"),
            strict=True,
        ):
            values = summary["correlation"].sel(level=level)
            for k, skill in enumerate(skills):
                mean, low, high = (values.sel(skill=skill, statistic=s).values for s in ("value", "low", "high"))
                at = [i + 0.07 * (k - (summary.sizes["skill"] - 1) / 2) for i in range(len(names))]
                look: dict[str, Any] = {"marker": "o", "color": palette[skill]}
                if skill == "all":
                    look = {"marker": "D", "color": "black", "zorder": 3}
                ax.hlines(at, low, high, color=look["color"], linewidth=0.7)
                ax.plot(mean, at, linestyle="none", markersize=3, label=skill, **look)
            ax.axvline(0, color=CONTROL, linewidth=0.8)
            ax.set_xlim(-1.05, 1.05)
            ax.set_title(title)
            ax.set_xlabel("rank correlation with accuracy")
        axes[0, 0].set_yticks(range(len(names)), names)
        axes[0, 0].invert_yaxis()
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=9)
    return figure
