"""How methods look in every figure: a colour and marker each, controls in grey, and their lines over retention."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import xarray as xr
from jaxtyping import Float, Shaped
from matplotlib.axes import Axes

from redundancy.plot.looks import FURTHER, looks

FULL = "full"
MARKERS = "oDs^vPX*ph<>"
RETENTION_TICKS = (0.05, 0.1, 0.25, 0.5)


def method_styles(summary: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Arguments of a line for each method of a summary, the same in every figure; the full model has none.

    Parameters
    ----------
    summary
        With the coordinates `method` and `method_kind`.
    """
    kinds = dict(zip(names_of(summary["method"]), names_of(summary["method_kind"]), strict=True))
    return looks({name: kind for name, kind in kinds.items() if kind != FULL})


def series_looks(
    summary: xr.Dataset,
    series: str | tuple[str, str],
    palette: Callable[[Sequence[str]], Mapping[str, Any]] | None = None,
) -> dict[str, dict[str, Any]]:
    """The look of every line: methods theirs in every figure, others colours of their own, references grey.

    Parameters
    ----------
    series
        Coordinate that names the lines; two that name methods: a line in the first's colour, with the other's markers.
    palette
        Colours by name, for what is no method.
    """
    if isinstance(series, tuple):
        return _pair_looks(summary, series)
    if series == "method":
        return method_styles(summary)
    names = list(dict.fromkeys(names_of(summary[series])))
    kinds: dict[str, str] = {}
    if f"{series}_kind" in summary.coords:
        kinds |= zip(names_of(summary[series]), names_of(summary[f"{series}_kind"]), strict=True)
    greys = [name for name in names if kinds.get(name) == "reference"]
    coloured = [name for name in names if name not in greys]
    # no method's colour: both may stand in one figure
    given = palette(coloured) if palette else {n: FURTHER[i % len(FURTHER)] for i, n in enumerate(coloured)}
    made = {n: {"color": given[n], "marker": MARKERS[i % len(MARKERS)]} for i, n in enumerate(coloured)}
    grey = {"color": "0.5", "linestyle": ":", "markerfacecolor": "white"}
    made |= {name: grey | {"marker": "<*dH"[i % 4]} for i, name in enumerate(greys)}
    return {name: made[name] for name in names}


def _pair_looks(summary: xr.Dataset, pair: tuple[str, str]) -> dict[str, dict[str, Any]]:
    kinds: dict[str, str] = {}
    for side in pair:
        kinds |= zip(names_of(summary[side]), names_of(summary[f"{side}_kind"]), strict=True)
    own, made = looks(kinds), {}
    for first, second in zip(*(names_of(summary[side]) for side in pair), strict=True):
        marks = {"marker": own[second]["marker"]}
        marks |= dict.fromkeys(("markerfacecolor", "markeredgecolor"), own[second]["color"])
        made[f"{first} & {second}"] = own[first] | ({} if first == second else marks)
    return made


def names_of(labels: xr.DataArray) -> Shaped[np.ndarray, "entries"]:
    """Labels as an array of text that can be compared, however they were stored."""
    return np.array([str(label) for label in labels.values], dtype=object)


def readable(name: str) -> str:
    """A label as words: `static_fraction(tau=0.9)` is "static fraction, tau 0.9"."""
    head, _, parameter = name.rstrip(")").partition("(")
    told = [part for part in parameter.split(", ") if part and not part.startswith("scaling=")]
    return ", ".join([head, *told]).replace("_", " ").replace("=", " ")


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
        Dims condition and statistic (estimate, low, high first), with the coordinates `method` and `achieved`.
    methods
        Those to draw; None: all that have a value.
    """
    chosen = {name: look for name, look in styles.items() if methods is None or name in methods}
    lines_of_series(axes, values.values, values["achieved"].values, series=names_of(values["method"]), styles=chosen)
    retention_axis(axes)


def lines_of_series(
    axes: Axes,
    values: Float[np.ndarray, "points statistics"],
    x: Float[np.ndarray, "points"],
    *,
    series: Shaped[np.ndarray, "points"],
    styles: Mapping[str, Mapping[str, Any]],
) -> int:
    """A line per series through its known points in the order of `x`, with intervals; how many points there were.

    Parameters
    ----------
    values
        Estimate, low and high first.
    x
        Where the points stand.
    series
        Name of the series of each point.
    styles
        Arguments of the line of each series; those that are not named here are not drawn.
    """
    points = 0
    for name, line in styles.items():
        at = np.flatnonzero((series == name) & ~np.isnan(values[:, 0]) & ~np.isnan(x))
        at = at[np.argsort(x[at], kind="stable")]
        if len(at):
            with_intervals(axes, x[at], values[at], label=name, **line)
        points += len(at)
    return points


def with_intervals(
    axes: Axes, x: Float[np.ndarray, "points"], y: Float[np.ndarray, "points statistics"], **line: Any
) -> None:
    """Points joined by a line, with their intervals; `y` holds estimate, low and high first."""
    estimate, low, high = y[:, 0], y[:, 1], y[:, 2]
    bars = [estimate - low, high - estimate]
    axes.errorbar(x, estimate, yerr=bars, capsize=1.5, elinewidth=0.8, **{"linewidth": 1.1} | line)


def retention_axis(axes: Axes, *, ticks: Sequence[float] = RETENTION_TICKS, label: str = "achieved") -> None:
    """A share of tokens on a logarithmic axis with plain numbers.

    Parameters
    ----------
    ticks
        Where numbers stand if something is drawn there, and at 1.
    label
        Whether the share was achieved or requested.
    """
    log_axis(axes)
    left, right = axes.get_xlim()
    axes.set_xticks([tick for tick in (*ticks, 1.0) if left <= tick <= right] or list(ticks))
    axes.set_xlabel(f"{label} share of tokens")


def log_axis(axes: Axes, *, base: int = 10) -> None:
    """A logarithmic axis with plain numbers."""
    axes.set_xscale("log", base=base)
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
