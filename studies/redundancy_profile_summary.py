"""The summary of `studies.redundancy_profile`: means with intervals by kind of video, and what tells kinds apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float
from scipy import stats

from redundancy.evaluation.statistics.intervals import UNBOUNDED
from redundancy.evaluation.statistics.summary import summarise
from redundancy.metrics.registry import Metric
from redundancy.metrics.table import METRICS

LEVEL = 0.05
RESAMPLES = 999
# of a metric with values of a parameter: the one that figures and the printed tables show
SHOWN_AT = {"lag": "1", "tau": "0.9", "top": "0.1", "quantile": "0.95", "scaling": "unit"}
OUTPUT_UNITS = {  # of further outputs of a metric, whose facts give the unit of the main one
    "displacement": "cells",
    "run_length_seconds": "s",
    "speed_per_second": "feature units per second",
}


def label_of(output: str, parameter: str) -> str:
    """Name of a statistic, as `static_fraction(tau=0.9)`."""
    return f"{output}({parameter})" if parameter else output


def unit_of(metric: Metric, output: str) -> str:
    """Unit of one output of a metric, from its facts."""
    main = metric.unit.partition(";")[0].partition(", or")[0]
    return main if output == metric.name else OUTPUT_UNITS.get(output, "1")


def is_shown(metric: Metric, output: str, parameter: str) -> bool:
    """True for the main output of a metric at the value of a parameter that figures show."""
    values = dict(part.split("=") for part in parameter.split(", ")) if parameter else {}
    return output == metric.name and all(value == SHOWN_AT.get(name) for name, value in values.items())


def statistics_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Every statistic in the order of the table of metrics: name, metric, group, unit and whether it is shown."""
    table = rows[["setting", "output", "parameter"]].drop_duplicates()
    rank = {name: i for i, name in enumerate(METRICS)}
    table = table.sort_values("setting", key=lambda names: names.map(rank), kind="stable")
    found = []
    for name, output, parameter in table.itertuples(index=False):
        metric = METRICS[name]
        found.append(
            {
                "statistic": label_of(output, parameter),
                "metric": name,
                "group": metric.group,
                "units": unit_of(metric, output),
                "higher": metric.higher if output == name else "",
                "source": metric.source,
                "shown": is_shown(metric, output, parameter),
                "least": metric.bounds[0] if output == name else UNBOUNDED[0],
                "largest": metric.bounds[1] if output == name else UNBOUNDED[1],
            }
        )
    return pd.DataFrame(found)


def by_video(rows: pd.DataFrame, statistics: Sequence[str], nulls: Sequence[str]) -> xr.Dataset:
    """Values and scores of every video, with dims video, statistic and null."""
    labels = [label_of(o, p) for o, p in zip(rows["output"], rows["parameter"], strict=True)]
    table = rows.assign(statistic=labels).set_index(["video", "statistic"])
    videos = list(dict.fromkeys(rows["video"]))
    every = pd.MultiIndex.from_product([videos, statistics])

    def square(column: str) -> Float[np.ndarray, "videos statistics"]:
        return table[column].reindex(every).to_numpy(np.float64).reshape(len(videos), len(statistics))

    data: dict[str, Any] = {"value": (("video", "statistic"), square("value"))}
    for score in ("null_mean", "z", "p"):
        stacked = np.stack([square(f"{score}_{null}") for null in nulls], axis=-1)
        data[score] = (("video", "statistic", "null"), stacked)
    kinds = rows.groupby("video")["kind"].first().reindex(videos).to_numpy(str)
    coords = {"video": videos, "statistic": list(statistics), "null": list(nulls), "kind": ("video", kinds)}
    made = xr.Dataset(data, coords=coords)
    made["difference"] = made["value"] - made["null_mean"]
    at_most = made["p"] < LEVEL + 1e-6  # p is float32: 1 / 20 is not below 0.05 in float64
    made["extreme"] = at_most.where(~np.isnan(made["p"])).assign_attrs(range="0..1")
    return made.drop_vars("p")


def rank_separation(*groups: Float[np.ndarray, "*batch videos"], axis: int = -1) -> Float[np.ndarray, "*batch"]:
    """Share of the variance of ranks that lies between groups, epsilon squared.

    H / (n - 1) with H the statistic of Kruskal and Wallis, corrected for ties; NaN where all values are equal. Groups
    with the same ranks have 0; k groups of n / k values that do not overlap have (1 - 1 / k^2) / (1 - 1 / n^2), which
    is the most there can be without ties.

    Source: Kruskal and Wallis 1952; epsilon squared as in Tomczak and Tomczak 2014.
    """
    ranks = stats.rankdata(np.concatenate(groups, axis=axis), axis=axis)
    mean = ranks.mean(axis=axis, keepdims=True)
    edges = np.cumsum([group.shape[axis] for group in groups])[:-1]
    parts = np.split(ranks, edges, axis=axis)
    between = sum(part.shape[axis] * (part.mean(axis=axis) - mean.squeeze(axis)) ** 2 for part in parts)
    total = ((ranks - mean) ** 2).sum(axis=axis)
    return np.asarray(between / np.where(total > 0, total, np.nan))


def separation(measured: xr.Dataset) -> xr.Dataset:
    """How far each statistic tells the kinds of videos apart, with an interval, what chance gives, and q.

    `separation` is `rank_separation` and its interval a bootstrap within kinds, whose repeated values push it upwards
    (where kinds hardly overlap it may lie above the value); `separation_chance` is what 95% of assignments of kinds by
    chance stay below; `separation_q` the p of Kruskal and Wallis, adjusted over all statistics
    for a false discovery rate under any dependence. Kinds with fewer than two defined videos are left out.

    Source: Kruskal and Wallis 1952; Benjamini and Yekutieli 2001.
    """
    size = measured.sizes["statistic"]
    bounds, chance, p = np.full((size, 3), np.nan), np.full(size, np.nan), np.full(size, np.nan)
    kinds = measured["kind"].values
    for i, values in enumerate(measured["value"].transpose("statistic", "video").values):
        groups = [values[(kinds == kind) & ~np.isnan(values)] for kind in np.unique(kinds)]
        groups = [group for group in groups if len(group) > 1]
        if len(groups) < 2 or np.ptp(np.concatenate(groups)) == 0:
            continue
        number = sum(map(len, groups))
        drawn = stats.bootstrap(
            groups, rank_separation, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
        ).confidence_interval
        bounds[i] = float(rank_separation(*groups)), drawn.low, drawn.high
        chance[i] = stats.chi2.ppf(0.95, len(groups) - 1) / (number - 1)
        p[i] = stats.kruskal(*groups).pvalue
    q, known = np.full(size, np.nan), ~np.isnan(p)
    if known.any():
        q[known] = stats.false_discovery_control(p[known], method="by")
    return xr.Dataset(
        {
            "separation": (("statistic", "bound"), bounds),
            "separation_chance": ("statistic", chance),
            "separation_q": ("statistic", q),
        }
    )


def _within_bounds(values: xr.DataArray) -> xr.DataArray:
    """Intervals cut to the bounds of their metrics, which `summarise` does not know of a variable for many."""
    mean = values.sel(bound="mean", drop=True)
    least, largest = np.minimum(values["least"], mean), np.maximum(values["largest"], mean)
    return values.clip(least, largest).transpose(*values.dims).assign_attrs(values.attrs)


def summary_of(rows: pd.DataFrame, nulls: Sequence[str]) -> xr.Dataset:
    """Means with intervals by kind and over all videos; dims statistic, kind, null, bound.

    Parameters
    ----------
    rows
        Rows of the study; those of videos that could not be read have no `setting`.
    nulls
        The null models.
    """
    rows = rows[rows["setting"].notna()]
    table = statistics_of(rows)
    measured = by_video(rows, table["statistic"].tolist(), nulls)
    kinds = sorted(set(measured["kind"].values.tolist()))
    parts = [summarise(measured.isel(video=np.flatnonzero(measured["kind"].values == kind))) for kind in kinds]
    parts.append(parts[0] if len(kinds) == 1 else summarise(measured))
    summary = xr.concat(parts, xr.Variable("kind", [*kinds, "all"]), combine_attrs="drop_conflicts")
    facts = {name: ("statistic", table[name].to_numpy()) for name in table.columns if name != "statistic"}
    summary = summary.merge(separation(measured)).assign_coords(facts)
    for name in ("value", "null_mean"):
        summary[name] = _within_bounds(summary[name])
    return summary.assign_attrs(
        value="the metric's summary of a video: its mean over frames, transitions and tokens",
        z="(value - mean of the draws) / their standard deviation, per video; undefined where draws are all equal",
        null_mean="mean of the draws of the null model, per video",
        difference="value - null_mean, paired by video",
        extreme=f"share of videos with p <= {LEVEL} (two-sided, uncorrected)",
        separation=str(separation.__doc__).partition("\n\n")[2].partition("\n\n    Source")[0],
        separation_resamples=RESAMPLES,
    )
