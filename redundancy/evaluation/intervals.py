"""Means with intervals over videos, and paired differences."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int64
from scipy.stats import bootstrap

RESAMPLES = 9_999


class Interval(NamedTuple):
    """A mean with its interval.

    `videos` is the number of values that entered: NaN (undefined for a video) is left out.
    """

    mean: float
    low: float
    high: float
    videos: int


def mean_interval(
    values: Float[np.ndarray, "videos"],
    *,
    confidence: float = 0.95,
    method: Literal["percentile", "BCa"] = "percentile",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean over videos with a bootstrap interval; NaN values are left out.

    With one value, or equal ones, the interval is that value; with none everything is NaN.

    Source: own; scipy.stats.bootstrap over videos.
    """
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[~np.isnan(kept)]
    if len(kept) == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    mean = float(kept.mean())
    if np.ptp(kept) == 0:
        return Interval(mean, mean, mean, len(kept))
    interval = bootstrap(
        (kept,),
        np.mean,
        confidence_level=confidence,
        method=method,
        n_resamples=resamples,
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(interval.low), float(interval.high), len(kept))


def group_mean_interval(values: Float[np.ndarray, "videos groups"], *, seed: int = 0) -> Interval:
    """Mean over groups of their means over videos, with a bootstrap interval over videos.

    Parameters
    ----------
    values
        One value for each video and group, for example a skill; NaN where a video has none.
    seed
        Of the resampling.

    Source: own; scipy.stats.bootstrap over videos.
    """
    given = np.asarray(values, dtype=np.float64)
    given = given[~np.isnan(given).all(axis=1)]
    everything = np.arange(len(given))

    def mean(videos: Int64[np.ndarray, "*resamples videos"], axis: int = -1) -> Float[np.ndarray, "*resamples"]:
        drawn = given[videos]
        asked = ~np.isnan(drawn)
        number = asked.sum(axis=-2)  # 0: a resample without videos of that group averages the others
        total = np.where(asked, drawn, 0).sum(axis=-2)
        means = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
        return np.asarray(np.nanmean(means, axis=-1))

    if len(given) < 2:
        middle = float(mean(everything)) if len(given) else np.nan
        return Interval(middle, middle, middle, len(given))
    interval = bootstrap(
        (everything,),
        mean,
        method="percentile",
        n_resamples=RESAMPLES,
        batch=100,  # of resamples at once, for memory
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(mean(everything)), float(interval.low), float(interval.high), len(given))


def paired_difference(first: Float[np.ndarray, "_"], second: Float[np.ndarray, "_"], *, seed: int = 0) -> Interval:
    """Mean of `first - second` on the same videos, with a bootstrap interval over videos.

    Raises
    ------
    ValueError
        If the two do not hold one value per video each.

    Source: own; scipy.stats.bootstrap over videos.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"paired values are expected, given {first.shape} and {second.shape}")
    return mean_interval(first - second, seed=seed)
