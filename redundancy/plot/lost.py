"""What the language model looks at and a reduction drops: the figure of `studies.attention_lost`."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy.plot.looks import FURTHER
from redundancy.plot.methods import lines_over_retention, method_styles, names_of, with_intervals
from redundancy.plot.style import CONTROL, new_figure, style

ALL = "all"


def lost_over_retention(axes: Axes, summary: xr.Dataset, styles: dict[str, dict[str, Any]]) -> None:
    """Attention lost over the achieved share of tokens, all layers together, between chance and the least possible."""
    at = summary["value"].sel(layer=ALL)
    order = np.argsort(summary["achieved"].values, kind="stable")
    x = summary["achieved"].values[order]
    for measure, line, label in (("expected", "-", "random choice"), ("least", "-.", "most attended kept")):
        y = at.sel(measure=measure, statistic="mean").values[order]
        axes.plot(x, y, color=CONTROL, linestyle=line, linewidth=1, zorder=0, label=label)
    lines_over_retention(axes, at.sel(measure="attention_lost"), styles=styles)
    axes.set_ylabel("share of attention")


def over_layers(
    axes: Axes,
    values: xr.DataArray,
    *,
    dim: str,
    styles: dict[str, dict[str, Any]],
    names: list[str],
    share: xr.DataArray,
) -> None:
    """A line per entry of a dim over the layers of the language model, with intervals.

    Parameters
    ----------
    values
        Dims layer (numbers as text, `"all"` is left out), `dim` and statistic.
    dim
        Dim of the lines.
    styles
        Arguments of each line by its name.
    names
        Name of each entry of the dim.
    share
        Dims layer and statistic: the attention of each layer on the video, which stands below its number.
    """
    layers = [str(v) for v in values["layer"].values if str(v) != ALL]
    at = values.sel(layer=layers)
    shift = np.linspace(-0.12, 0.12, len(names)) if len(names) > 1 else np.zeros(1)
    for i, name in enumerate(names):
        y = at.isel({dim: i}).transpose("layer", "statistic").values
        if not np.isnan(y[:, 0]).all():
            with_intervals(axes, np.arange(len(layers)) + shift[i], y, label=name, **styles[name])
    step = max(len(layers) // 8, 1)
    below = [f"{layer}\n{float(share.sel(layer=layer, statistic='mean')):.0%}" for layer in layers]
    axes.set_xticks(np.arange(len(layers))[::step], below[::step])
    axes.set_xlabel("layer, and its attention on the video")


def attention_lost(summary: xr.Dataset, *, retention: float | int | None = None) -> Figure:
    """What methods throw away of the language model's attention, by retention and layer, and what salience tells of it.

    Parameters
    ----------
    summary
        Summary of the study `attention_lost`.
    retention
        Requested share at which layers are shown; None: the stored one nearest to a quarter. Methods with a fixed rate
        are left out there.
    """
    requested = np.unique(summary["requested"].values[~np.isnan(summary["requested"].values)])
    with style():
        styles = method_styles(summary)
        figure, axes = new_figure(3, 2, height=7.6)
        lost_over_retention(axes[0, 0], summary, styles)
        axes[0, 0].set_title("(a) attention lost, all layers together")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
        if len(requested):
            chosen = requested[np.abs(requested - (0.25 if retention is None else retention)).argmin()]
            here = summary.isel(setting=np.flatnonzero(summary["requested"].values == chosen))
            values = here["value"].sel(measure="excess")
            share = summary["video_share"]
            names = list(names_of(here["method"]))
            over_layers(axes[0, 1], values, dim="setting", styles=styles, names=names, share=share)
            axes[0, 1].set_title(f"(b) lost beyond chance, {chosen:g} requested")
        axes[0, 1].axhline(0, color=CONTROL, linewidth=0.8, zorder=0)
        axes[0, 1].set_ylabel("lost - expected by chance")
        lines_over_retention(axes[1, 0], summary["value"].sel(layer=ALL, measure="reached"), styles=styles)
        axes[1, 0].axhline(0, color=CONTROL, linewidth=0.8, zorder=0)
        axes[1, 0].set(title="(c) from a random choice (0) to the best (1)", ylabel="part of the way")
        _salience([axes[1, 1], *axes[2]], summary)
        figure.legend(*axes[2, 0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def _salience(axes: Any, summary: xr.Dataset) -> None:
    """How well salience tells attention: what its top holds, rank correlation and area under the curve."""
    sources = [str(s) for s in summary["source"].values]
    kinds = [str(k) for k in summary["source_kind"].values]
    salience = [s for s, kind in zip(sources, kinds, strict=True) if kind == "salience"]
    # no method's colour: both stand in one figure
    styles = {s: {"color": c, "marker": m} for s, c, m in zip(salience, FURTHER, "PX*ph", strict=False)}
    references = [s for s in sources if s not in styles]
    styles |= {
        s: {"color": "0.5", "marker": marker, "linestyle": ":"} for s, marker in zip(references, "x+12", strict=False)
    }
    panels = (
        ("held", "(d) attention on each frame's top quarter", "share of attention", 0.25),
        ("salience_attention_agreement", "(e) does salience rank as attention does?", "rank correlation", 0.0),
        ("salience_auc", "(f) does it find the most attended tenth?", "area under the ROC curve", 0.5),
    )
    for ax, (measure, title, label, chance) in zip(axes, panels, strict=True):
        values = summary["prediction_value"].sel(prediction=measure)
        over_layers(ax, values, dim="source", styles=styles, names=sources, share=summary["video_share"])
        ax.axhline(chance, color=CONTROL, linewidth=0.8, zorder=0)
        ax.set(title=title, ylabel=label)
