"""Panels of which the figures of studies are composed; each draws one part of a labelled summary. Nothing is computed.

    compose(summary, {"accuracy": panel(over_retention, "correct"), "KL": panel(over_retention, "kl", label="nat")})

A drawing function takes axes, a summary and what it draws, and says whether there was something to draw; `variable` and
`at` say where in the summary, as `values` takes them.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

from redundancy import plot
from redundancy.plot.compose import Panel
from redundancy.plot.labelled import At, retention_near, values
from redundancy.plot.looks import FURTHER, colours
from redundancy.plot.methods import (
    FULL,
    lines_of_series,
    log_axis,
    names_of,
    readable,
    retention_axis,
    series_looks,
    with_intervals,
)
from redundancy.plot.rows import between_groups, interval_rows, numbered_matrix
from redundancy.plot.style import CONTROL

ALL = "all"
POINT: dict[str, Any] = {"linestyle": "none", "markersize": 3.2}


def panel(
    draw: Callable[..., bool],
    what: Any,
    *,
    label: str = "",
    limits: tuple[float | None, float | None] = (None, None),
    zero: bool = False,
    levels: Mapping[str, float] | None = None,
    empty: str = "",
    **how: Any,
) -> Panel:
    """What `compose` draws on one axes; any other function of axes and summary is a panel too.

    Parameters
    ----------
    draw, what, how
        A drawing function, its measure, and its further arguments.
    label, limits
        Of the axis of the values.
    zero
        A line at 0, for differences.
    levels
        Dotted lines across, by their names.
    empty
        Why there may be nothing to draw.
    """

    def drawn(axes: Axes, summary: xr.Dataset) -> None:
        if not draw(axes, summary, what, **how):
            spec = axes.get_gridspec()
            reason = textwrap.fill(empty or f"{readable(str(what))}: undefined here", 90 // spec.ncols if spec else 34)
            axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", color="0.35")
            if draw is not forest:  # whose rows have names all the same
                axes.set(xticks=[], yticks=[])
            return
        if zero and draw is by_setting:
            axes.axvline(0, color=CONTROL, linewidth=0.8, zorder=0)
        elif zero:
            axes.axhline(0, color=CONTROL, linewidth=0.8, zorder=0)
        for name, level in (levels or {}).items():
            axes.axhline(level, color="0.3", linewidth=0.9, linestyle=":", zorder=0, label=name)
        if draw in (forest, stacked_bars, by_setting):
            axes.set(xlabel=label, xlim=limits)
        else:
            axes.set(ylabel=label or axes.get_ylabel(), ylim=limits)

    return drawn


def over_retention(
    axes: Axes,
    summary: xr.Dataset,
    measure: str,
    *,
    variable: str = "value",
    at: At | None = None,
    curves: Mapping[str, At] | None = None,
) -> bool:
    """A line per method over the achieved share of tokens; the full model across, with its interval as a band.

    Parameters
    ----------
    curves
        Grey lines through all conditions by their names: another `measure`, or the same at another place.
    """
    shown = values(summary, measure, variable=variable, at=at)
    full = names_of(shown["method_kind"]) == FULL
    reduced = shown.isel(condition=~full)
    x, names = reduced["achieved"].values, names_of(reduced["method"])
    if not lines_of_series(axes, reduced.values, x, series=names, styles=series_looks(summary, "method")):
        return False
    for (name, elsewhere), line in zip((curves or {}).items(), ("-", "-.", "--"), strict=False):
        where = {"measure": measure, **(at or {}), **elsewhere}
        y = values(summary, where.pop("measure"), variable=variable, at=where).sortby("achieved")
        axes.plot(y["achieved"], y[..., 0], color="0.7", linestyle=line, linewidth=2, zorder=0, label=name)
    for estimate, low, high in shown.isel(condition=full).values[:1]:
        axes.axhline(estimate, color=CONTROL, linewidth=0.8, zorder=0, label="full model")
        axes.axhspan(low, high, color="0.93", linewidth=0, zorder=-1)
    retention_axis(axes)
    return True


def sweep(
    axes: Axes,
    summary: xr.Dataset,
    measure: str,
    *,
    x: str,
    series: str | tuple[str, str],
    variable: str = "value",
    at: At | None = None,
    only: Iterable[str] | None = None,
    control: str | None = None,
    palette: Callable[[Sequence[str]], Mapping[str, Any]] | None = None,
    xlabel: str = "",
) -> bool:
    """A line per series over a factor or another measure, on a logarithmic axis.

    Parameters
    ----------
    x
        A coordinate of the conditions, or a measure.
    series, palette
        What names the lines, and their colours, as `redundancy.plot.methods.series_looks` takes them.
    only
        Names of the lines to draw; None: all.
    control
        Variable with what each condition is held against, drawn as crosses.
    """
    shown = values(summary, measure, variable=variable, at=at)
    along = shown[x].values.astype(float) if x in shown.coords else values(summary, x, at=at).values[:, 0]
    parts = [names_of(shown[c]) for c in ([series] if isinstance(series, str) else series)]
    names = np.array([" & ".join(n) for n in zip(*parts, strict=True)], dtype=object)
    styles = series_looks(summary, series, palette)
    styles = styles if only is None else {name: styles[name] for name in only if name in styles}
    if not lines_of_series(axes, shown.values, along, series=names, styles=styles):
        return False
    if control is not None:
        y = values(summary, measure, variable=control, at=at)[..., 0]
        axes.plot(along, y, color=CONTROL, marker="x", linestyle="none", zorder=0, label=readable(control))
    if x in ("achieved", "requested"):
        retention_axis(axes, label=x)
    else:
        log_axis(axes, base=2)
    axes.set_xlabel(xlabel or axes.get_xlabel() or readable(x))
    return True


def by_layer(
    axes: Axes,
    summary: xr.Dataset,
    measure: str,
    *,
    lines: str = "method",
    variable: str = "value",
    at: At | None = None,
    share: xr.DataArray | None = None,
) -> bool:
    """A line per method, or per entry of the dim `lines`, over layers; "all" is left out.

    Parameters
    ----------
    share
        Attention of each layer on the video, which stands below its number.
    """
    shown = values(summary, measure, variable=variable, at=at).transpose(..., "layer", "statistic")
    layers = [name for name in names_of(shown["layer"]) if name != ALL]
    cells, names, styles = shown.sel(layer=layers).values, names_of(shown[lines]), series_looks(summary, lines)
    shift = np.linspace(-0.12, 0.12, len(names)) if len(names) > 1 else np.zeros(1)
    known = [i for i, name in enumerate(names) if name in styles and not np.isnan(cells[i, :, 0]).all()]
    if not known:
        return False
    for i in known:
        with_intervals(axes, np.arange(len(layers)) + shift[i], cells[i], label=names[i], **styles[names[i]])
    step = max(len(layers) // 8, 1)
    below = layers if share is None else [f"{layer}\n{float(share.sel(layer=layer)):.0%}" for layer in layers]
    axes.set_xticks(np.arange(len(layers))[::step], below[::step])
    axes.set_xlabel("layer" if share is None else "layer, and its attention on the video")
    return True


def matrix(
    axes: Axes,
    summary: xr.Dataset,
    measure: str,
    *,
    at: At | None = None,
    span: tuple[float, float] = (0.0, 1.0),
    cmap: str = "viridis",
) -> bool:
    """A number per pair of `first` and `second`, coloured in `span`, below the diagonal, which holds pairs of one."""
    shown = values(summary, measure, at=at)
    first, second = names_of(shown["first"]), names_of(shown["second"])
    names = list(dict.fromkeys([*first, *second]))
    table = np.full((len(names), len(names)), np.nan)
    for a, b, value in zip(first, second, shown.values[:, 0], strict=True):
        column, row = sorted((names.index(a), names.index(b)))
        table[row, column] = value
    known = not np.isnan(table).all()
    if known:
        numbered_matrix(axes, table, names, limits=span, cmap=cmap)
    return known


def stacked_bars(
    axes: Axes, summary: xr.Dataset, parts: Mapping[str, tuple[str, Any]], *, near: float | int = 0.25
) -> bool:
    """Measures side by side, each with its label and colour: a bar per condition at the retention nearest to `near`."""
    asked = summary["requested"].values
    kept = np.isnan(asked) | (asked == retention_near(summary, near)) | (names_of(summary["method_kind"]) == FULL)
    shown = summary.isel(condition=np.flatnonzero(kept))
    rows, left = np.arange(shown.sizes["condition"]), np.zeros(shown.sizes["condition"])
    for measure, (name, colour) in parts.items():
        width = np.nan_to_num(values(shown, measure).values[:, 0])
        axes.barh(rows, width, left=left, color=colour, label=name, height=0.7)
        left = left + width
    about = zip(names_of(shown["method"]), shown["achieved"].values, strict=True)
    axes.set_yticks(rows, [f"{name}\nkeeps {share:.0%}" for name, share in about])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    return bool(left.any())


def forest(
    axes: Axes,
    summary: xr.Dataset,
    variable: str,
    *,
    at: At | None = None,
    series: str | None = None,
    style: Mapping[str, Any] | None = None,
    grey: tuple[float, float] | str | None = None,
    symlog: bool = False,
    groups: bool = False,
) -> bool:
    """A row per measure: a point with its interval, or one per entry of the dim `series`, of which "all" is black.

    Parameters
    ----------
    style
        Of the points of a single series.
    grey
        What says nothing: a range, or the variable with its end in each row.
    groups
        Name the coordinate `group` of the measures at the right.
    """
    shown = values(summary, None, variable=variable, at=at)
    rows = [str(name) for name in summary["long_name" if "long_name" in summary.coords else "measure"].values]
    if series is None:
        cells, styles = {"_one": shown.transpose("measure", ...).values}, {"_one": dict(style or {})}
    else:
        names = list(names_of(shown[series]))
        cells = {name: shown.sel({series: name}).transpose("measure", ...).values for name in names}
        styles = {name: {"color": colour} for name, colour in colours(names).items()}
        styles |= {ALL: {"color": "black", "marker": "D", "zorder": 3}}
    interval_rows(axes, cells, styles=styles, labels=rows, symlog=symlog)
    if isinstance(grey, str):
        axes.barh(range(len(rows)), np.nan_to_num(summary[grey].values), height=1.0, color="0.9", zorder=0)
    elif grey is not None:
        axes.axvspan(*grey, color="0.9", zorder=0)
    if "group" in summary.coords:
        between_groups(axes, [str(g) for g in summary["group"].values], names=groups)
    return bool(shown.notnull().any())


def by_setting(axes: Axes, summary: xr.Dataset, measure: str, *, variable: str = "value", at: At | None = None) -> bool:
    """A row per `setting` and `level` of the conditions: a point with its interval for each retention `asked` for.

    The name of a setting stands above its levels; that which is the default has its name in italics.
    """
    shown = values(summary, measure, variable=variable, at=at)
    where = list(zip(names_of(shown["setting"]), names_of(shown["level"]), strict=True))
    rows: list[tuple[str, str | None]] = []
    for setting in dict.fromkeys(s for s, _ in where):
        rows += [(setting, None), *dict.fromkeys(pair for pair in where if pair[0] == setting)]
    place = {row: y for y, row in enumerate(rows)}
    asked = sorted(set(shown["asked"].values.tolist()), reverse=True)
    for k, retention in enumerate(asked):
        ink = FURTHER[k % len(FURTHER)]  # no method's colour
        of_one = shown["asked"].values == retention
        y = np.array([place[pair] for pair in where])[of_one] + 0.18 * (k - (len(asked) - 1) / 2)
        cells = shown.values[of_one]
        axes.hlines(y, cells[:, 1], cells[:, 2], color=ink, linewidth=1)
        axes.plot(cells[:, 0], y, label=f"{retention:g} of the tokens", color=ink, **POINT, marker="os^Dv"[k % 5])
    usual = {pair for pair, same in zip(where, shown["default"].values.tolist(), strict=True) if same}
    axes.set_yticks(range(len(rows)), [setting if level is None else level for setting, level in rows], fontsize=6)
    for row, text in zip(rows, axes.get_yticklabels(), strict=False):  # shared axes have none
        text.set_fontweight("bold" if row[1] is None else "normal")
        text.set_fontstyle("italic" if row in usual else "normal")
    for y in (y for (_, level), y in place.items() if level is None):
        axes.axhspan(y - 0.5, y + 0.5, color="0.95", linewidth=0, zorder=-1)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=6.5)
    axes.locator_params(axis="x", nbins=3)
    return bool(shown.notnull().any())


def over_kinds(
    axes: Axes, summary: xr.Dataset, measure: str, *, series: Mapping[str, At], dim: str = "kind", marks: str = "o^sDvP"
) -> bool:
    """Points with intervals over the entries of a dim but "all": beside each other those of every series.

    Parameters
    ----------
    series
        Where each stands in the summary: its `variable` and what `values` takes as `at`; those it lacks are left out.
    """
    kinds = [name for name in names_of(summary[dim]) if name != ALL]
    inks: list[Any] = ["0.1", *colours(list(series)[1:]).values()]
    found = False
    for i, ((name, where), ink, mark) in enumerate(zip(series.items(), inks, marks, strict=False)):
        at = {key: value for key, value in where.items() if key != "variable"}
        if any(value not in names_of(summary[key]) for key, value in at.items()):
            continue
        shown = values(summary, measure, variable=where["variable"], at=at).sel({dim: kinds}).transpose(dim, ...).values
        if not np.isnan(shown[:, 0]).all():
            x = np.arange(len(kinds)) + 0.16 * (i - (len(series) - 1) / 2)
            with_intervals(axes, x, shown, label=name, color=ink, marker=mark, markersize=3.2, linestyle="none")
            found = True
    scenes = all(kind.endswith((" scene", " scenes")) for kind in kinds)
    axes.set_xticks(range(len(kinds)), [k.split()[0] if scenes else k.replace(" ", "\n") for k in kinds])
    axes.set_xlabel("scenes" if scenes else "", fontsize=6, labelpad=1)
    unit = str(summary["units"].sel(measure=measure).values)
    axes.set_ylabel("no unit" if unit in ("", "1") else unit.replace("feature units", "feat. units"), fontsize=6)
    axes.set_xlim(-0.5, len(kinds) - 0.5)
    axes.tick_params(labelsize=6)
    axes.tick_params(axis="x", length=0)
    return found


def similarity(axes: Axes, summary: xr.Dataset, example: At) -> bool:
    """Similarity of neighbouring frames of one clip: `frame_time`, `transition_similarity` and `known_cuts`."""
    time, known = np.asarray(example["frame_time"], float), _known_cuts(example)
    plot.similarity_over_time(axes, time, np.asarray(example["transition_similarity"], float), known_cuts=known)
    return True


def segments(axes: Axes, summary: xr.Dataset, example: At, *, palette: Mapping[str, Any]) -> bool:
    """Segmentations of one clip, `lengths` by their labels, each in its colour."""
    bars: dict[str, Sequence[int]] = dict(example["lengths"])
    time, known = np.asarray(example["frame_time"], float), _known_cuts(example)
    plot.segment_bars(axes, time, bars, palette=dict(palette), known_cuts=known)
    axes.set_yticks(range(len(bars)), [b.replace("(", "\n(").replace("segments=", "") for b in bars], fontsize=6)
    return True


def _known_cuts(example: At) -> Any:
    return None if example["known_cuts"] is None else np.asarray(example["known_cuts"], dtype=np.int64)
