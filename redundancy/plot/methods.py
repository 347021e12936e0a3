"""How methods look in every figure: a colour and marker each, controls in grey, and their lines over retention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes

from redundancy.plot.looks import looks


def method_styles(summary: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Arguments of a line for each method of a summary, the same in every figure; the whole model has none.

    Parameters
    ----------
    summary
        With the coordinates `method` and `method_kind` (or `kind`).
    """
    kind = summary["method_kind" if "method_kind" in summary.variables else "kind"]
    kinds = dict(zip(map(str, summary["method"].values), map(str, kind.values), strict=True))
    return looks({name: kind for name, kind in kinds.items() if kind != "whole"})


def names_of(labels: xr.DataArray) -> Shaped[np.ndarray, "entries"]:
    """Labels as an array of text that can be compared, however they were stored."""
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
    """Points joined by a line, with their intervals; `y` holds mean, low and high first."""
    mean, low, high = y[:, 0], y[:, 1], y[:, 2]
    axes.errorbar(x, mean, yerr=[mean - low, high - mean], capsize=1.5, elinewidth=0.8, **{"linewidth": 1.1} | line)


def retention_axis(axes: Axes) -> None:
    """Achieved share of tokens, on a logarithmic axis with plain numbers."""
    axes.set_xscale("log")
    axes.set_xticks([0.05, 0.1, 0.25, 0.5])
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.set_xlabel("achieved share of tokens")
