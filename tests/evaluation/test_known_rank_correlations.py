"""Rank correlations whose value is known, and that nothing else is read into them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from jaxtyping import Float
from scipy.stats import spearmanr

from redundancy.evaluation.statistics.aggregate import STATISTIC
from redundancy.evaluation.statistics.intervals import is_marked, mean_interval
from redundancy.evaluation.statistics.rank_correlation import (
    LEVELS,
    _statistic,
    rank_correlation,
    rank_correlations,
    units_of,
)
from studies import metric_prediction

VIDEOS = 12
CONDITIONS = [f"c{i:02d}" for i in range(14)]
REQUESTED = np.repeat([1.0, 0.5, 0.25, np.nan], [4, 4, 4, 2])
ASKED = dict(zip(CONDITIONS, REQUESTED.tolist(), strict=True))
NAMES = ["achieved", "alignment_all", "cells_covered", "turn_coverage", "attention_lost"]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=30))
def test_spearman_is_scipys_with_ties(pairs: list[tuple[int, int]]):
    x, y = np.array(pairs, dtype=float).T
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan(rank_correlation(x, y))
    else:
        assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_spearman_is_scipys_on_numbers_without_ties():
    draw = np.random.default_rng(0)
    for count in (3, 10, 100):
        x, y = draw.normal(size=(2, count))
        assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_spearman_by_hand():
    x = np.array([1.0, 2.0, 2.0, 10.0])  # ranks 1, 2.5, 2.5, 4
    assert rank_correlation(x, np.array([1.0, 2.0, 3.0, 4.0])) == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert rank_correlation(x, np.exp(x)) == pytest.approx(1)
    assert rank_correlation(x, -(x**3)) == pytest.approx(-1)


def test_spearman_leaves_out_what_is_unknown():
    x, y = np.array([1.0, np.nan, 2.0, 3.0, 9.0]), np.array([1.0, 7.0, 2.0, 3.0, np.nan])
    assert rank_correlation(x, y) == pytest.approx(1)
    assert np.isnan(rank_correlation(x[:3], y[:3]))  # two are left
    assert np.isnan(rank_correlation(x, np.full(5, 0.3)))
    assert np.isnan(rank_correlation(np.full(5, np.nan), y))


# correlations of units whose answer is known -------------------------------------------------------------------------


def units(accuracy: Float[np.ndarray, "..."], **predictors: Float[np.ndarray, "..."]) -> pd.DataFrame:
    """`[video, condition]` each, as rows; predictors that are not given are unknown."""
    shape = (VIDEOS, len(REQUESTED))
    table = {name: np.broadcast_to(predictors.get(name, np.nan), shape).ravel() for name in NAMES}
    videos = np.repeat([f"v{i:02d}" for i in range(VIDEOS)], len(CONDITIONS))
    correct = np.broadcast_to(accuracy, shape).ravel()
    return pd.DataFrame({"video": videos, "condition": CONDITIONS * VIDEOS, "skill": "s", "correct": correct, **table})


def correlations(rows: pd.DataFrame, *, resamples: int, seed: int = 0) -> xr.DataArray:
    return rank_correlations(rows, ASKED, measures=NAMES, resamples=resamples, seed=seed)


def value(found: xr.DataArray, measure: str, level: str, statistic: str = "estimate") -> float:
    return float(found.sel(measure=measure, level=level, skill="all", statistic=statistic))


@pytest.fixture(scope="module")
def accuracy() -> Float[np.ndarray, "videos settings"]:
    """Settings of every retention in their own order, the same in every clip but for its difficulty."""
    order = np.array([3, 1, 2, 0, 7, 5, 4, 6, 9, 11, 8, 10, 13, 12]) / 20
    return order + np.linspace(0, 0.3, VIDEOS)[:, None]


def test_a_monotone_predictor_is_perfect_and_a_reversed_one_is_its_opposite(
    accuracy: Float[np.ndarray, "videos settings"],
):
    found = correlations(
        units(accuracy, attention_lost=-np.exp(5 * accuracy), cells_covered=accuracy**3, turn_coverage=np.array(0.5)),
        resamples=50,
    )
    for level in LEVELS:
        for statistic in ("estimate", "low", "high"):
            assert value(found, "cells_covered", level, statistic) == pytest.approx(1)
            assert value(found, "attention_lost", level, statistic) == pytest.approx(-1)
            assert np.isnan(value(found, "turn_coverage", level, statistic))  # constant: ranks nothing
            assert np.isnan(value(found, "alignment_all", level, statistic))  # unknown
        assert value(found, "cells_covered", level, "n") == VIDEOS


def test_equal_retention_removes_what_is_only_the_retention(accuracy: Float[np.ndarray, "videos settings"]):
    retention = np.where(np.isnan(REQUESTED), 0.25, REQUESTED)
    answered = retention + accuracy / 100  # what counts is the retention, and a little the method
    found = correlations(units(answered, achieved=retention, alignment_all=retention + accuracy / 100), resamples=50)
    assert value(found, "achieved", LEVELS[0]) > 0.9
    assert value(found, "achieved", LEVELS[2]) > 0.9
    assert np.isnan(value(found, "achieved", LEVELS[1]))
    assert value(found, "alignment_all", LEVELS[1]) == pytest.approx(1)


def test_equal_retention_is_the_mean_over_retentions_below_1(accuracy: Float[np.ndarray, "videos settings"]):
    x = np.arange(14.0)
    y = np.where(REQUESTED == 0.5, x, np.where(REQUESTED == 0.25, -x, 5 * np.sin(x)))
    found = correlations(units(np.broadcast_to(y, (VIDEOS, 14)), achieved=x), resamples=5)
    assert value(found, "achieved", "equal retention") == pytest.approx(0)  # +1 at 0.5, -1 at 0.25
    reversed_at_1 = np.where((REQUESTED == 1) | np.isnan(REQUESTED), -x, x)
    found = correlations(units(np.broadcast_to(reversed_at_1, (VIDEOS, 14)), achieved=x), resamples=5)
    assert value(found, "achieved", "equal retention") == pytest.approx(1)
    assert value(found, "achieved", "all settings") < 1


def test_within_clips_ranks_the_settings_of_each_clip():
    """In some clips the predictor is right, in the others wrong; their means over clips say nothing of that."""
    x = np.arange(14.0)
    sign = np.where(np.arange(VIDEOS) < 7, 1, -1)[:, None]
    found = correlations(units(sign * x, achieved=x), resamples=999)
    assert value(found, "achieved", "within clips") == pytest.approx((7 - 5) / 12)
    assert value(found, "achieved", "all settings") == pytest.approx(1)
    for clip, expected in ((0, 1), (11, -1)):  # every level, of the clips drawn alone
        drawn = np.array([clip, clip])
        made = units_of(units(sign * x, achieved=x), ASKED, measures=NAMES)
        alone = [_statistic(level, made, NAMES.index("achieved"), 0)(drawn) for level in LEVELS]
        assert alone == pytest.approx([expected] * 3)
    low, high = (value(found, "achieved", "within clips", s) for s in ("low", "high"))
    exact = mean_interval(sign[:, 0].astype(float), bounds=(-1, 1))  # a mean of clips, of which there are few
    assert (low, high) == pytest.approx((exact.low, exact.high))


def test_noise_predicts_nothing_and_the_intervals_say_so():
    draw = np.random.default_rng(0)
    covered = np.zeros(len(LEVELS))
    for _ in range(40):
        noise, answered = draw.normal(size=(2, VIDEOS, 14))
        found = correlations(units(answered, achieved=noise), resamples=40)
        covered += [value(found, "achieved", at, "low") < 0 < value(found, "achieved", at, "high") for at in LEVELS]
    assert (covered >= 32).all()  # 95% of 40 are 38; intervals of 12 clips are a little short


def test_means_that_differ_by_rounding_alone_are_ties():
    """The same accuracies in the clips in another order have the same mean, whatever the order of the sum."""
    draw = np.random.default_rng(0)
    shares = np.array([1, 2, 3, 4, 5, 6, 1, 3, 5, 7, 9, 11]) / np.repeat([7, 8], 6)
    level = np.repeat([0.0, 0.1, 0.0], [3, 3, 8])  # eleven settings are as good as each other, three are better
    y = np.stack([draw.permutation(shares) for _ in level], axis=1) + level
    assert len(set(y[:, level == 0].sum(0))) > 1  # float sums do differ
    x = np.arange(14.0)
    found = correlations(units(y, achieved=x), resamples=5)
    assert value(found, "achieved", "all settings") == pytest.approx(spearmanr(x, level).statistic)


def test_an_interval_needs_clips_that_tell_settings_apart():
    """One clip alone tells settings apart: a third of the resamples lack it, so that nothing is known of the spread."""
    x = np.arange(14.0)
    y = np.zeros((VIDEOS, 14))
    y[0] = x
    found = correlations(units(y, achieved=x), resamples=100)
    assert value(found, "achieved", "all settings") == pytest.approx(1)
    assert np.isnan(value(found, "achieved", "all settings", "low"))
    assert not is_marked(*found.sel(measure="achieved", level="all settings", skill="all").values[1:])


def test_the_same_seed_gives_the_same_intervals(accuracy: Float[np.ndarray, "videos settings"]):
    noisy = units(accuracy, achieved=accuracy + np.random.default_rng(0).normal(0, 0.2, accuracy.shape))
    assert correlations(noisy, resamples=20).identical(correlations(noisy, resamples=20))
    other = correlations(noisy, resamples=20, seed=1)
    assert not other.identical(correlations(noisy, resamples=20))
    assert value(other, "achieved", LEVELS[0]) == value(correlations(noisy, resamples=20), "achieved", LEVELS[0])


@pytest.mark.parametrize(("videos", "marked"), [(7, False), (8, True), (40, True)])
def test_few_videos_mark_nothing(videos: int, marked: bool) -> None:
    cell = np.broadcast_to([0.5, 0.1, 0.9, videos], (3, 1, 2, 4))
    coords = {"level": list(LEVELS), "measure": ["kl"], "skill": ["all", "when"]}
    found = xr.DataArray(cell, dims=("level", "measure", "skill", "statistic"), coords=coords)
    found = found.assign_coords(statistic=list(STATISTIC)).to_dataset(name="correlation")
    last = list(metric_prediction.tables(found))[-1].text(found).splitlines()[-1].split()
    assert last == ["kl", "+0.50", "[+0.10,", "+0.90]", "+0.50" + "*" * marked]


def test_units_average_seeds_and_questions() -> None:
    def row(video: str, condition: str, seed: int, skill: str, correct: float, measured: float) -> dict[str, object]:
        known = {"video": video, "condition": condition, "seed": seed, "skill": skill, "correct": correct}
        return known | dict.fromkeys(NAMES, measured)

    rows = pd.DataFrame(
        [
            row("b", "s", 0, "digit", 1.0, 1.0),
            row("b", "s", 0, "where", 0.0, 1.0),
            row("b", "s", 1, "digit", 0.0, 3.0),
            row("b", "s", 1, "where", 0.0, 3.0),
            row("b", "t", -1, "digit", 1.0, 5.0),
            row("b", "t", -1, "where", 1.0, 5.0),
            row("a", "s", 0, "where", 1.0, 7.0),
            row("a", "left out", 0, "where", 1.0, 7.0),
        ]
    )
    made = units_of(rows, {"t": np.nan, "s": 0.5}, measures=NAMES)
    assert (made.videos, made.skills) == (("a", "b"), ("all", "digit", "where"))
    np.testing.assert_array_equal(made.predictors, np.broadcast_to([[np.nan, 7.0], [5.0, 2.0]], (len(NAMES), 2, 2)))
    np.testing.assert_array_equal(made.outcome[0], [[np.nan, 1.0], [1.0, 0.25]])
    np.testing.assert_array_equal(made.outcome[1], [[np.nan, np.nan], [1.0, 0.5]])
    np.testing.assert_array_equal(made.outcome[2], [[np.nan, 1.0], [1.0, 0.0]])
    np.testing.assert_array_equal(made.requested, [np.nan, 0.5])
