"""How far a measure tells kinds of videos apart: the share of the variance of ranks that lies between kinds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float
from scipy import stats

from redundancy.evaluation.statistics.aggregate import Measures, measure_coords
from redundancy.evaluation.statistics.measures import measures_of

RESAMPLES = 999


def rank_separation(*groups: Float[np.ndarray, "*batch _"], axis: int = -1) -> Float[np.ndarray, "*batch"]:
    """Share of the variance of ranks that lies between groups, epsilon squared.

    H / (n - 1) with H the statistic of Kruskal and Wallis, corrected for ties; NaN where all values are equal. Groups
    with the same ranks have 0; k groups of n / k values that do not overlap have (1 - 1 / k^2) / (1 - 1 / n^2), which
    is the most there can be without ties.

    >>> rank_separation(np.array([1.0, 2.0]), np.array([3.0, 4.0])).item()
    0.8

    Source: Kruskal and Wallis 1952; epsilon squared as in Tomczak and Tomczak 2014.
    """
    ranks = stats.rankdata(np.concatenate(groups, axis=axis), axis=axis)
    mean = ranks.mean(axis=axis, keepdims=True)
    edges = np.cumsum([group.shape[axis] for group in groups])[:-1]
    parts = np.split(ranks, edges, axis=axis)
    between = sum(part.shape[axis] * (part.mean(axis=axis) - mean.squeeze(axis)) ** 2 for part in parts)
    total = ((ranks - mean) ** 2).sum(axis=axis)
    return np.asarray(between / np.where(total > 0, total, np.nan))


def separation(rows: pd.DataFrame, *, by: str = "kind", measures: Measures, unit: str = "video") -> xr.Dataset:
    """How far each measure tells the kinds of videos apart, with an interval, what chance gives, and q.

    Kinds with fewer than two defined videos are left out.

    Parameters
    ----------
    rows
        One row per video; of several the mean counts.
    by
        Column with the kind of a video.
    measures
        Columns, as in `aggregate`.
    unit
        Column that names the video.

    Returns
    -------
    `separation` (measure, statistic) is `rank_separation` and its interval a bootstrap within kinds, whose repeated
    values push it upwards (where kinds hardly overlap it may lie above the value); `separation_chance` (measure) is
    what 95% of assignments of kinds by chance stay below; `separation_q` (measure) the p of Kruskal and Wallis,
    adjusted over all measures for a false discovery rate under any dependence.

    Raises
    ------
    ValueError
        If a column is missing, or a video is of two kinds.

    Source: Kruskal and Wallis 1952; Benjamini and Yekutieli 2001.
    """
    about = measures_of(measures)
    names = [m.name for m in about]
    if missing := sorted({by, unit, *names} - set(rows.columns)):
        raise ValueError(f"rows without the columns {missing} given, they have {sorted(map(str, rows.columns))}")
    kinds_of = rows.groupby(unit, sort=False)[by]
    if (kinds_of.transform("first") != rows[by]).any():
        raise ValueError(f"a {unit} with several values of {by!r} given, expected one")
    kinds = kinds_of.first().to_numpy(str)
    means = rows.astype(dict.fromkeys(names, float)).groupby(unit, sort=False)[names].mean()
    cells, chance, p = np.full((len(names), 4), np.nan), np.full(len(names), np.nan), np.full(len(names), np.nan)
    for i, name in enumerate(names):
        groups = _groups(means[name].to_numpy(), kinds)
        number = sum(map(len, groups))
        cells[i, 3] = number
        if len(groups) < 2 or np.ptp(np.concatenate(groups)) == 0:
            continue
        drawn = stats.bootstrap(
            groups, rank_separation, n_resamples=RESAMPLES, method="percentile", rng=np.random.default_rng(0)
        ).confidence_interval
        cells[i, :3] = float(rank_separation(*groups)), drawn.low, drawn.high
        chance[i] = stats.chi2.ppf(0.95, len(groups) - 1) / (number - 1)
        p[i] = stats.kruskal(*groups).pvalue
    data: dict[str, Any] = {
        "separation": (("measure", "statistic"), cells),
        "separation_chance": ("measure", chance),
        "separation_q": ("measure", _adjusted(p)),
    }
    interval = f"95% percentile bootstrap within {by}s, {RESAMPLES} resamples, seed 0"
    made = xr.Dataset(data, coords=measure_coords(about))
    made["separation"].attrs["interval"] = interval
    return made


def _groups(values: Float[np.ndarray, "videos"], kinds: np.ndarray) -> list[Float[np.ndarray, "_"]]:
    """Defined values of each kind that has two."""
    groups = [values[(kinds == kind) & ~np.isnan(values)] for kind in np.unique(kinds)]
    return [group for group in groups if len(group) > 1]


def _adjusted(p: Float[np.ndarray, "measures"]) -> Float[np.ndarray, "measures"]:
    q, known = np.full(len(p), np.nan), ~np.isnan(p)
    if known.any():
        q[known] = stats.false_discovery_control(p[known], method="by")
    return q
