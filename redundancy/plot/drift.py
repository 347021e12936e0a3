"""Where outputs stand and what they cover: the figures of `studies.position_drift`."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy.plot.methods import lines_over_retention, method_styles, names_of
from redundancy.plot.style import CONTROL, new_figure, style


def _merging(summary: xr.Dataset, styles: dict[str, Any]) -> list[str]:
    """Methods that merge, in the order of their styles."""
    names = set(names_of(summary["method"])[summary["merges"].values])
    return [m for m in styles if m in names]


def difference_over_retention(axes: Axes, values: xr.DataArray, **drawn: Any) -> None:
    """Paired differences around a line at zero; see `lines_over_retention`."""
    axes.axhline(0, color=CONTROL, linewidth=0.8, zorder=0)
    lines_over_retention(axes, values, **drawn)


def position_drift(summary: xr.Dataset) -> Figure:
    """Distance of content and place in cells and seconds, coherence and alignment, and what renumbering does to both.

    Parameters
    ----------
    summary
        Summary of the study `position_drift`.
    """
    with style():
        styles = method_styles(summary)
        merging = _merging(summary, styles)
        figure, axes = new_figure(3, 2, height=7.4)
        at = summary["value"].sel(variant="at_anchors")
        panels = (
            ("moved_cells", "(a) from content to anchor, in the picture", "cells"),
            ("moved_seconds", "(b) from content to anchor, in time", "seconds"),
        )
        for ax, (measure, title, label) in zip(axes[0], panels, strict=True):
            lines_over_retention(ax, at.sel(measure=measure), styles=styles, methods=merging)
            ax.set(title=title, ylabel=label)
        lines_over_retention(axes[1, 0], at.sel(measure="coherence"), styles=styles, methods=merging)
        axes[1, 0].set(title="(c) sources of an output agree on its rotation", ylabel="coherence")
        lines_over_retention(axes[1, 1], at.sel(measure="alignment"), styles=styles, methods=merging)
        axes[1, 1].set(title="(d) the anchor's rotation fits the content", ylabel="alignment")
        renumbering = summary["renumbering"]
        difference_over_retention(axes[2, 0], renumbering.sel(measure="alignment"), styles=styles)
        axes[2, 0].set(title="(e) alignment, renumbered - anchor", ylabel="alignment gained")
        renumbered = summary["value"].sel(variant="renumbered", measure="distance_ratio")
        lines_over_retention(axes[2, 1], renumbered, styles=styles)
        axes[2, 1].set(title="(f) distance to the question, renumbered", ylabel="new / old")
        figure.legend(*axes[2, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure


def kept_coverage(summary: xr.Dataset) -> Figure:
    """Frames and cells covered, error against k-means centres and against random tokens, and what merging adds.

    Parameters
    ----------
    summary
        Summary of the study `position_drift`.
    """
    with style():
        styles = method_styles(summary)
        figure, axes = new_figure(3, 2, height=7.4)
        own = summary["value"].sel(variant="own")
        panels = (
            ("frames_covered", "(a) frames with an output", "share of frames"),
            ("cells_covered", "(b) cells next to an output of their frame", "share of cells"),
            ("reconstruction_gap", "(c) error over that of k-means centres", "ratio"),
        )
        for ax, (measure, title, label) in zip(axes.flat, panels, strict=False):
            lines_over_retention(ax, own.sel(measure=measure), styles=styles)
            ax.set(title=title, ylabel=label)
        random = summary["value"].sel(variant="random", measure="reconstruction_gap", statistic="mean").values
        order = np.argsort(summary["achieved"].values, kind="stable")
        x, y = summary["achieved"].values[order], random[order]
        axes[1, 0].plot(x, y, color=CONTROL, linewidth=3, alpha=0.5, zorder=0, label="as many at random")
        against = summary["against_random"].sel(measure="reconstruction_error")
        difference_over_retention(axes[1, 1], against, styles=styles)
        axes[1, 1].set(title="(d) error, method - as many at random", ylabel="relative error")
        difference_over_retention(axes[2, 0], summary["merging"].sel(measure="reconstruction_error"), styles=styles)
        axes[2, 0].set(title="(e) error, merging - the anchors alone", ylabel="relative error")
        lines_over_retention(axes[2, 1], own.sel(measure="turn_coverage"), styles=styles)
        axes[2, 1].set(title="(f) turns of the trajectory with their share", ylabel="share of turns")
        figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside upper center", ncols=5)
    return figure
