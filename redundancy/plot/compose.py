"""A figure of panels: letters, one legend of all of them, and at the foot of how many videos it is."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from string import ascii_lowercase
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy.plot.methods import method_styles
from redundancy.plot.style import TWO_COLUMNS, style

Panel = Callable[[Axes, xr.Dataset], None]


def compose(
    summary: xr.Dataset,
    panels: Mapping[str, Panel] | Mapping[str, Mapping[str, Panel]],
    *,
    height: float | int,
    columns: int = 2,
    layout: Sequence[str] = (),
    **grid: Any,
) -> Figure:
    """Panels of a summary in one figure.

    Parameters
    ----------
    summary
        With the dim statistic (estimate, low, high, n); every panel is called with axes and the summary.
    panels
        By their titles; or groups of small panels by their headings, which then have the letters.
    height
        Inches.
    columns
        Panels in a row.
    layout
        Rows of the letters of panels where they do not just follow each other: `("ab", "ac")`.
    grid
        Of `matplotlib.figure.Figure.subplot_mosaic`, as `height_ratios`.
    """
    groups: Any = panels if all(isinstance(p, Mapping) for p in panels.values()) else {"": panels}
    rows = [[ascii_lowercase.index(c) for c in row] for row in layout] or _rows(groups, columns)
    with style():
        figure = Figure(figsize=(TWO_COLUMNS, height), layout="constrained")
        mosaic: Any = [[str(k) if k >= 0 else "." for k in row] for row in rows]
        axes = figure.subplot_mosaic(mosaic, **grid)
        letters, each = iter(ascii_lowercase), iter(axes[key] for key in sorted(axes, key=int))
        for heading, group in groups.items():
            for i, (title, draw) in enumerate(group.items()):
                ax = next(each)
                draw(ax, summary)
                if not heading:
                    ax.set_title(textwrap.fill(f"({next(letters)}) {title}", 96 // len(rows[0])))
                else:
                    ax.set_title(title if i else f"\n\n{title}", fontsize=7)  # with room for the heading
                if heading and not i:
                    _heading(ax, f"({next(letters)}) {heading}")
        _legend(figure, summary)
        figure.supxlabel(textwrap.fill(foot(summary), 150), fontsize=6, x=0.01, ha="left", color="0.35")
    return figure


def _rows(groups: Mapping[str, Any], columns: int) -> list[list[int]]:
    """Numbers of the panels in rows, a new one for every group; -1: none."""
    rows: list[list[int]] = []
    start = 0
    for group in groups.values():
        end = start + len(group)
        across = columns if len(groups) > 1 else min(columns, len(group))
        rows += [[k if k < end else -1 for k in range(a, a + across)] for a in range(start, end, across)]
        start = end
    return rows


def _heading(axes: Axes, text: str) -> None:
    """Name of a group above its first panel, wider than this may be."""
    above = axes.annotate(text, (0, 1), (0, 21), "axes fraction", "offset points", fontsize=9, fontweight="bold")
    above.set_in_layout(False)


def _legend(figure: Figure, summary: xr.Dataset) -> None:
    """One legend above, of every label in any panel: methods in their order, then others."""
    handles: dict[str, Any] = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    methods = list(method_styles(summary)) if "method" in summary.coords else []
    labels = sorted(handles, key=lambda name: methods.index(name) if name in methods else len(methods))
    if labels:
        columns = min(5, len(labels))
        figure.legend([handles[name] for name in labels], labels, loc="outside upper center", ncols=columns)


def foot(summary: xr.Dataset) -> str:
    """Of which model and how many videos a summary is, and what its intervals are."""
    counts = [v.sel(statistic="n").values for v in summary.data_vars.values() if "statistic" in v.dims]
    known = np.concatenate([c[c > 0] for c in counts]) if counts else np.zeros(0)  # NaN and 0: not defined
    few, most = (int(known.min()), int(known.max())) if len(known) else (0, 0)
    videos = int(summary.attrs.get("videos", most))
    some = f" ({few} to {videos} where a measure is not defined for all)" if 0 < few < videos else ""
    model = f"{summary.attrs['model']}, " if "model" in summary.attrs else ""
    if not counts:  # values alone
        return f"{model}{videos} video{'s' * (videos != 1)}."
    interval = summary.attrs.get("interval", "95% intervals")
    return f"{model}{videos} video{'s' * (videos != 1)}{some}; bars: {interval}."
