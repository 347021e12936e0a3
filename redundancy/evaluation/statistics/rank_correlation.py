"""Which measurement ranks conditions as their answers do: rank correlations with intervals over videos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Float, Int64

from redundancy.evaluation.statistics.aggregate import STATISTIC, Measures, measure_coords, with_all
from redundancy.evaluation.statistics.intervals import interval_name, statistic_interval
from redundancy.evaluation.statistics.measures import Measure, measures_of
from redundancy.metrics.kernels.ranks import spearman64

LEVELS = ("all settings", "equal retention", "within clips")
ALL = "all"


@dataclass(frozen=True)
class Units:
    """One value for each video and condition.

    Parameters
    ----------
    predictors
        `[measure, video, condition]`.
    outcome
        `[skill, video, condition]`, all skills first; NaN where a video has no question of a skill.
    requested
        `[condition]` retention asked for; NaN where the method's rate is fixed.
    """

    predictors: Float[np.ndarray, "measures videos conditions"]
    outcome: Float[np.ndarray, "skills videos conditions"]
    requested: Float[np.ndarray, "conditions"]
    measures: tuple[Measure, ...]
    skills: tuple[str, ...]
    videos: tuple[str, ...]


def rank_correlations(
    rows: pd.DataFrame,
    requested: Mapping[str, float | int],
    *,
    measures: Measures,
    outcome: str = "correct",
    by: str = "skill",
    resamples: int = 999,
    seed: int = 0,
) -> xr.DataArray:
    """Rank correlation of each measure with an outcome over conditions, with intervals over videos.

    Conditions are ranked by the means over videos of both, over all of them, and among those that were asked for the
    same retention (mean over retentions below 1), where the number of tokens cannot be what predicts; and for each
    video by its own values (mean over videos).

    Parameters
    ----------
    rows
        One row per question: columns `condition`, `video`, `by`, the outcome and the measures.
    requested
        Retention by condition, NaN where a rate is fixed: the conditions that are ranked.
    measures
        Columns, as in `aggregate`.
    outcome, by
        Column with what is predicted, and the one that tells questions apart.
    resamples, seed
        Of the videos, see `statistic_interval`.

    Returns
    -------
    Dims: `level` (`LEVELS`), `measure`, the column `by` (all of them first) and `statistic`. There is no interval (NaN)
    where more than 5% of the resamples have no correlation, because too few videos tell conditions apart; `n` is the
    number of videos with such an outcome.

    Raises
    ------
    ValueError
        If a column is missing, or `resamples` is below 1.
    """
    if resamples < 1:
        raise ValueError(f"resamples={resamples} given, expected at least 1")
    units = units_of(rows, requested, measures=measures, outcome=outcome, by=by)
    found = np.full((len(LEVELS), len(units.measures), len(units.skills), len(STATISTIC)), np.nan)
    for i, level in enumerate(LEVELS):
        for p in range(len(units.measures)):
            for s in range(len(units.skills)):
                interval = statistic_interval(
                    _statistic(level, units, p, s), len(units.videos), resamples=resamples, seed=seed, bounds=(-1, 1)
                )
                found[i, p, s] = interval
                found[i, p, s, 3] = (~np.isnan(units.outcome[s])).any(1).sum()
    return xr.DataArray(
        found,
        dims=("level", "measure", by, "statistic"),
        coords={"level": list(LEVELS), by: list(units.skills)} | measure_coords(units.measures),
        name="correlation",
        attrs={"interval": f"{interval_name(len(units.videos))}, {resamples} resamples, seed {seed}"},
    )


def units_of(
    rows: pd.DataFrame,
    requested: Mapping[str, float | int],
    *,
    measures: Measures,
    outcome: str = "correct",
    by: str = "skill",
) -> Units:
    """Rows as arrays; seeds and questions of a video are averaged."""
    about = measures_of(measures)
    names = [m.name for m in about]
    if missing := sorted({"condition", "video", by, outcome, *names} - set(rows.columns)):
        raise ValueError(f"rows without the columns {missing} given, they have {sorted(map(str, rows.columns))}")
    chosen = rows[rows["condition"].isin(list(requested))]
    keys = ["video", "condition"]
    means = chosen.groupby(keys)[names].mean()
    skills = (ALL, *sorted(chosen[by].unique()))
    answered = with_all(chosen, by, ALL).groupby([by, *keys])[outcome].mean()
    videos = tuple(sorted(chosen["video"].unique()))
    grid = pd.MultiIndex.from_product([videos, list(requested)], names=keys)

    def table(values: pd.Series[Any]) -> Float[np.ndarray, "videos conditions"]:
        return values.reindex(grid).to_numpy(float).reshape(len(videos), len(requested))

    return Units(
        np.stack([table(means[name]) for name in names]),
        np.stack([table(answered[skill]) for skill in skills]),
        np.asarray(list(requested.values()), dtype=float),
        tuple(about),
        skills,
        videos,
    )


def rank_correlation(x: Float[np.ndarray, "conditions"], y: Float[np.ndarray, "conditions"]) -> float:
    """Rank correlation of what both define; NaN where fewer than three values or no variation is left.

    Source: Spearman 1904.
    """
    x, y = np.round(x, 12), np.round(y, 12)  # means of the same numbers in another order are ties
    known = ~(np.isnan(x) | np.isnan(y))
    if known.sum() < 3 or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return float("nan")
    return float(spearman64(torch.from_numpy(x[known]), torch.from_numpy(y[known])))


def _statistic(level: str, units: Units, p: int, s: int) -> Callable[[Int64[np.ndarray, "videos"]], float]:
    """The correlation at a level, of the videos of given indices."""
    if level != "within clips":
        return partial(_over_all if level == "all settings" else _at_equal_retention, units, p, s)
    # video by video, so one pass is enough for all resamples
    each = np.array([rank_correlation(x, y) for x, y in zip(units.predictors[p], units.outcome[s], strict=True)])
    return lambda videos: _nanmean(each[videos])


def _over_all(units: Units, p: int, s: int, videos: Int64[np.ndarray, "drawn"]) -> float:
    return rank_correlation(*_means(units, p, s, videos))


def _at_equal_retention(units: Units, p: int, s: int, videos: Int64[np.ndarray, "drawn"]) -> float:
    x, y = _means(units, p, s, videos)
    levels = np.unique(units.requested[units.requested < 1])
    found = [rank_correlation(x[units.requested == r], y[units.requested == r]) for r in levels]
    return _nanmean(np.array(found))


def _means(units: Units, p: int, s: int, videos: Int64[np.ndarray, "drawn"]) -> tuple[Any, Any]:
    """Means over videos of the measure and of the outcome, for each condition."""
    return _column_means(units.predictors[p][videos]), _column_means(units.outcome[s][videos])


def _column_means(values: Float[np.ndarray, "videos conditions"]) -> Float[np.ndarray, "conditions"]:
    count = (~np.isnan(values)).sum(0)
    return np.where(count > 0, np.nansum(values, 0) / np.maximum(count, 1), np.nan)


def _nanmean(values: Float[np.ndarray, "some"]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
