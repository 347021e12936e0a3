"""How methods look in every figure: a colour and marker each, controls in grey, and their lines over retention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes

from redundancy.plot.style import colours

_MARKERS = "osD^vPXhp<>*"
_CONTROL_MARKERS = "x+os^D<>"
_COLOURS = 10  # of the palette; the pale pink comes last
_PALE = 6


def method_styles(summary: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Arguments of a line for each method of a summary: methods solid, baselines dashed, controls dotted and grey.

    Source: own.
    """
    kinds = dict(zip(map(str, summary["method"].values), map(str, summary["method_kind"].values), strict=True))
    chosen = [m for m, kind in kinds.items() if kind != "control"]
    controls = [m for m, kind in kinds.items() if kind == "control"]
    palette = list(colours([str(i) for i in range(_COLOURS)]).values())
    palette = [*palette[:_PALE], *palette[:_PALE:-1], palette[_PALE]]
    styles = {
        m: {
            "color": palette[i % _COLOURS],
            "marker": _MARKERS[i % len(_MARKERS)],
            "linestyle": "-" if kinds[m] == "method" else "--",
        }
        for i, m in enumerate(chosen)
    }
    for i, m in enumerate(controls):
        grey = str(0.25 + 0.4 * i / max(len(controls) - 1, 1))
        marker = _CONTROL_MARKERS[i % len(_CONTROL_MARKERS)]
        styles[m] = {"color": grey, "marker": marker, "linestyle": ":", "markerfacecolor": "white"}
    return styles


def names_of(labels: xr.DataArray) -> Shaped[np.ndarray, "entries"]:
    """Labels as an array of text that can be compared, however they were stored.

    Source: own.
    """
    return np.array([str(label) for label in labels.values], dtype=object)


def lines_over_retention(
    axes: Axes,
    values: xr.DataArray,
    *,
    styles: dict[str, dict[str, Any]],
    methods: Sequence[str] | None = None,
) -> None:
    """A line per method over the achieved share of tokens, with intervals; a method with a fixed rate is one point.

    Parameters
    ----------
    values
        Dims setting and statistic (mean, low, high first), with the coordinates of `studies.conditions.labels_of`.
    methods
        Those to draw; None: all that have a value.

    Source: own.
    """
    names = names_of(values["method"])
    for method in styles if methods is None else methods:
        here = values.isel(setting=np.flatnonzero(names == method))
        known = ~np.isnan(here.values[:, 0])
        if known.any():
            x, y = here["achieved"].values[known], here.values[known]
            order = np.argsort(x, kind="stable")
            with_intervals(axes, x[order], y[order], label=method, **styles[method])
    retention_axis(axes)


def with_intervals(
    axes: Axes, x: Float[np.ndarray, "points"], y: Float[np.ndarray, "points statistics"], **line: Any
) -> None:
    """Points joined by a line, with their intervals; `y` holds mean, low and high first.

    Source: own.
    """
    mean, low, high = y[:, 0], y[:, 1], y[:, 2]
    axes.errorbar(x, mean, yerr=[mean - low, high - mean], capsize=1.5, elinewidth=0.8, **{"linewidth": 1.1} | line)


def retention_axis(axes: Axes) -> None:
    """Achieved share of tokens, on a logarithmic axis with plain numbers.

    Source: own.
    """
    axes.set_xscale("log")
    axes.set_xticks([0.05, 0.1, 0.25, 0.5])
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.set_xlabel("achieved share of tokens")
