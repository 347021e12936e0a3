"""Metrics of videos beside their null models: rows of each video, and their means by kind of video."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from redundancy.evaluation.statistics.aggregate import aggregate, widened, with_all
from redundancy.evaluation.statistics.intervals import MARKED, UNBOUNDED
from redundancy.evaluation.statistics.measures import Measure
from redundancy.evaluation.statistics.separation import separation
from redundancy.metrics.registry import NULLS, Metric
from redundancy.metrics.table import METRICS

LEVEL = 0.05
SCORES = ("null_mean", "null_sd", "z", "p")
OUTPUT_UNITS = {  # of further outputs of a metric, whose facts give the unit of the main one
    "displacement": "cells",
    "run_length_seconds": "s",
    "speed_per_second": "feature units per second",
}
# of a metric with values of a parameter: the one that figures and printed tables show
SHOWN_AT = {"lag": "1", "tau": "0.9", "top": "0.1", "quantile": "0.95", "scaling": "unit"}


def metric_rows(metric: Metric, measured: xr.Dataset) -> Iterator[dict[str, Any]]:
    """One video's summary of each output of a metric at each value of a parameter, with its scores against nulls.

    Parameters
    ----------
    measured
        What `measure` returned, with `null=...`; outputs that it lacks are NaN.

    Returns
    -------
    Rows of `statistic` (the output with its parameters, `static_fraction(tau=0.9)`), `output`, `parameter`, `value`,
    and by null model `null_mean_NULL`, `null_sd_NULL`, `z_NULL` and `p_NULL`: the same columns for every metric.
    """
    nothing = float("nan")
    blank = {f"{score}_{null}": nothing for null in NULLS for score in SCORES}
    for output in metric.dims:
        if output not in measured:
            yield {"statistic": output, "output": output, "parameter": "", "value": nothing, **blank}
            continue
        values = measured[f"{output}_mean"] if f"{output}_mean" in measured else measured[output]
        scored = output == metric.name and f"{output}_z" in measured
        for index in product(*(range(size) for size in values.shape)):
            at = dict(zip(values.dims, index, strict=True))
            labels = {d: values[d].values[i] if d in values.coords else i for d, i in at.items()}
            told = ", ".join(f"{d}={v}" if isinstance(v, str) else f"{d}={v:g}" for d, v in labels.items())
            scores = {
                f"{score}_{null}": float(measured[f"{metric.name}_{score}"].sel(null=null).isel(at))
                for null in (measured["null"].values if scored else ())
                if null in metric.nulls
                for score in SCORES
            }
            row = {"statistic": f"{output}({told})" if told else output, "output": output, "parameter": told}
            yield {**row, "value": float(values.isel(at)), **blank, **scores}


def measures_of_rows(rows: pd.DataFrame) -> dict[str, Measure]:
    """Every statistic in the order of the table of metrics, with its unit and bounds.

    Parameters
    ----------
    rows
        Of `metric_rows`, with the metric's name as `condition`.
    """
    told = rows[["statistic", "condition", "output"]].drop_duplicates("statistic")
    told = told.sort_values("condition", key=lambda names: names.map(list(METRICS).index), kind="stable")
    found = {}
    for name, metric, output in told.itertuples(index=False):
        facts, own = METRICS[metric], output == metric
        main = facts.unit.partition(";")[0].partition(", or")[0]
        unit = main if own else OUTPUT_UNITS.get(output, "1")
        found[name] = Measure(name, name, unit, facts.higher if own else "", facts.bounds if own else UNBOUNDED)
    return found


def profile(rows: pd.DataFrame, *, nulls: Sequence[str]) -> xr.Dataset:
    """Means with intervals by kind of video and over all, beside those of the nulls, and what tells kinds apart.

    Parameters
    ----------
    rows
        Of `metric_rows`, with `video`, its `kind`, and the metric's name as `condition`.
    nulls
        Null models to report.

    Returns
    -------
    Dims `kind` (with "all"), `null`, `measure` and `statistic`. Variables `value`, `null_mean`, `z`, `difference` and
    `extreme`, which attributes explain, and those of `separation`. Coordinates of `measure`: `metric`, its `group` and
    `source`, and `shown`: whether it is a metric's main output at the usual value of its parameters.
    """
    about = measures_of_rows(rows)
    loose, shares = ({n: replace(m, bounds=b) for n, m in about.items()} for b in (UNBOUNDED, (0.0, 1.0)))
    own = widened(rows, names="statistic", by=("video", "kind"))
    kinds = [*sorted(set(own["kind"])), "all"]
    made = {"value": aggregate(with_all(own, "kind"), over={"kind": kinds}, measures=about)}
    for name in ("null_mean", "z", "difference", "extreme"):
        each = [_against(rows, null, name).assign(null=null) for null in nulls]
        measures = {"null_mean": about, "extreme": shares}.get(name, loose)
        made[name] = aggregate(
            with_all(pd.concat(each), "kind"), over={"kind": kinds, "null": list(nulls)}, measures=measures
        )
    return (
        xr.Dataset(made)
        .merge(separation(own, measures=about), compat="equals")
        .assign_coords({name: ("measure", values) for name, values in _facts(rows, about).items()})
        .assign_attrs(
            value="the metric's summary of a video: its mean over frames, transitions and tokens",
            z="(value - mean of the draws) / their standard deviation, per video; undefined where draws are all equal",
            null_mean="mean of the draws of the null model, per video",
            difference="value - null_mean, paired by video",
            extreme=f"share of videos with p <= {LEVEL} (two-sided, uncorrected)",
        )
    )


def told_apart(summary: xr.Dataset) -> list[str]:
    """Shown measures that tell the kinds of videos apart, the clearest first; it takes 8 videos to say so."""
    enough = summary["value"].sel(kind="all", statistic="n") >= MARKED
    clear = summary["shown"].astype(bool) & (summary["separation_q"] < LEVEL) & enough
    found = summary["separation"].sel(statistic="estimate").isel(measure=clear.values)
    return [str(found["measure"].values[i]) for i in np.argsort(-found.values, kind="stable")]


def _against(rows: pd.DataFrame, null: str, name: str) -> pd.DataFrame:
    """One row per video with a score of each statistic against a null model."""
    if name == "difference":
        values = rows["value"] - rows[f"null_mean_{null}"]
    elif name == "extreme":  # p is float32: 1 / 20 is not below 0.05 in float64
        values = (rows[f"p_{null}"] < LEVEL + 1e-6).where(rows[f"p_{null}"].notna())
    else:
        values = rows[f"{name}_{null}"]
    return widened(rows.assign(value=values.astype(float)), names="statistic", by=("video", "kind"))


def _facts(rows: pd.DataFrame, about: Mapping[str, Measure]) -> dict[str, list[Any]]:
    """Coordinates of the measures."""
    of = rows.drop_duplicates("statistic").set_index("statistic").loc[list(about)]
    shown = [
        output == metric and all(v == SHOWN_AT.get(n) for n, v in (p.split("=") for p in told.split(", ") if p))
        for metric, output, told in zip(of["condition"], of["output"], of["parameter"], strict=True)
    ]
    metrics = [METRICS[name] for name in of["condition"]]
    groups, sources = [m.group for m in metrics], [m.source for m in metrics]
    return {"shown": shown, "group": groups, "metric": of["condition"].tolist(), "source": sources}
