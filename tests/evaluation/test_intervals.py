"""Intervals against closed forms, and paired differences."""

import numpy as np
import pytest
from scipy import stats

from redundancy.evaluation.statistics.bounds import bounds_of
from redundancy.evaluation.statistics.intervals import (
    FEW,
    group_mean_interval,
    interval_name,
    jackknife_interval,
    mean_interval,
    paired_difference,
)


def test_interval_agrees_with_the_normal_one_on_many_values():
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    mean, low, high, videos = mean_interval(values)
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values))
    assert (mean, videos) == (pytest.approx(values.mean()), 400)
    assert low == pytest.approx(values.mean() - half, abs=0.03)  # a bootstrap's own noise is about half / 50
    assert high == pytest.approx(values.mean() + half, abs=0.03)


def test_undefined_values_are_left_out_and_counted():
    assert mean_interval(np.array([1.0, np.nan, 3.0])).videos == 2
    assert mean_interval(np.array([1.0, np.nan, 3.0])).mean == 2.0
    empty = mean_interval(np.array([np.nan]))
    assert np.isnan(empty.mean)
    assert empty.videos == 0


def test_equal_values_have_an_interval_without_width():
    assert mean_interval(np.full(5, 0.25)) == (0.25, 0.25, 0.25, 5)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_same_seed_same_interval(method):
    values = np.random.default_rng(1).normal(size=30)
    assert mean_interval(values, method=method, seed=3) == mean_interval(values, method=method, seed=3)
    assert mean_interval(values, method=method, seed=3) != mean_interval(values, method=method, seed=4)


def test_pairing_removes_what_differs_between_videos():
    rng = np.random.default_rng(2)
    video = rng.normal(0, 10, 60)
    gain = paired_difference(video + 1 + rng.normal(0, 0.1, 60), video)
    assert gain.low > 0.9
    assert gain.high < 1.1


def test_unpaired_values_are_refused():
    with pytest.raises(ValueError, match="paired values are expected"):
        paired_difference(np.zeros(3), np.zeros(4))


def test_groups_weigh_alike_however_many_videos_they_have():
    values = np.array([[1.0, 0.0], [1.0, np.nan], [0.0, np.nan], [np.nan, np.nan]])
    mean, low, high, videos = group_mean_interval(values, bounds=(0, 1))
    assert mean == pytest.approx((2 / 3 + 0) / 2)
    assert videos == 3  # one has no value at all
    assert 0 <= low < mean < high <= 1


def test_one_group_has_the_interval_of_its_mean():
    values = np.random.default_rng(3).random((40, 1))
    assert group_mean_interval(values) == pytest.approx(mean_interval(values[:, 0]))


def test_the_interval_of_groups_agrees_with_the_normal_one():
    """The variance of a mean of independent means is the mean of their variances, over the number of groups."""
    values = np.random.default_rng(4).normal(2.0, [1.0, 3.0], (500, 2))
    mean, low, high, _ = group_mean_interval(values)
    half = 1.96 * np.sqrt(values.mean(1).var(ddof=1) / 500)
    assert mean == pytest.approx(values.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.02)


def test_a_single_video_has_no_width():
    assert group_mean_interval(np.array([[1.0, 0.0]])) == (0.5, 0.5, 0.5, 1)
    assert np.isnan(group_mean_interval(np.full((2, 3), np.nan)).mean)


# Draws of one video, their true mean, the bounds, and what 95% intervals must cover from 5 videos on.
COVERED = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0, (-np.inf, np.inf), 0.93),
    "shares of 8 questions, .5": (lambda rng, shape: rng.binomial(8, 0.5, shape) / 8, 0.5, (0, 1), 0.92),
    "shares of 8 questions, .75": (lambda rng, shape: rng.binomial(8, 0.75, shape) / 8, 0.75, (0, 1), 0.92),
    # what the docstring says is reached, less three standard errors
    "lognormal": (lambda rng, shape: rng.lognormal(size=shape), np.exp(0.5), (0, np.inf), 0.80),
}


@pytest.mark.parametrize("name", COVERED)
@pytest.mark.parametrize("videos", [5, 8, 12, 19])
def test_intervals_of_few_videos_cover(name, videos):
    draw, mean, bounds, least = COVERED[name]
    found = [mean_interval(row, bounds=bounds) for row in draw(np.random.default_rng(videos), (1500, videos))]
    assert np.mean([i.low <= mean <= i.high for i in found]) >= least


@pytest.mark.parametrize("seed", range(3))
def test_few_videos_have_the_interval_of_students_t(seed):
    values = np.random.default_rng(seed).normal(size=(2, 5 + seed))
    expected = stats.ttest_1samp(values[0], 0).confidence_interval(0.9)
    found = mean_interval(values[0], confidence=0.9, method="BCa")
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    paired = stats.ttest_rel(*values).confidence_interval()
    assert paired_difference(*values)[1:3] == pytest.approx(tuple(paired))
    jackknife = jackknife_interval(lambda videos: float(values[0][videos].mean()), len(values[0]))
    assert jackknife == pytest.approx(mean_interval(values[0]))
    assert group_mean_interval(values.T[:, :1]) == pytest.approx(mean_interval(values[0]))


def test_few_videos_stay_in_bounds():
    high = np.array([0.9, 1.0, 1.0])
    assert mean_interval(high).high > 1
    assert mean_interval(high, bounds=(0, 1)).high == 1
    assert paired_difference(high, -high, bounds=(-1, 1))[1:3] == pytest.approx(
        (*paired_difference(high, -high)[1:2], 2)
    )
    outside = mean_interval(high + 1, bounds=(0, 1))  # bounds that the values break cut nothing off the mean
    assert outside.low <= outside.mean == outside.high


def test_the_interval_is_named():
    assert interval_name(FEW) == "95% intervals: percentile bootstrap over videos"
    assert interval_name(1) == interval_name(0, 1) == "one video alone, of which there is no interval"
    assert interval_name(3, FEW - 1) == "95% intervals: Student's t over videos"
    assert interval_name(3, FEW, confidence=0.9, method="BCa") == (
        "90% intervals: BCa bootstrap over videos, Student's t over videos where fewer than 20 enter"
    )


def test_a_bootstrap_begins_where_it_is_named():
    values = np.random.default_rng(5).normal(size=FEW)
    for count, drawn in ((FEW - 1, False), (FEW, True)):
        found = [mean_interval(values[:count], seed=s) for s in (0, 1)]
        groups = [group_mean_interval(values[:count, None], seed=s) for s in (0, 1)]
        assert (found[0] != found[1], groups[0] != groups[1]) == (drawn, drawn)
        assert ("bootstrap" in interval_name(count)) == drawn


@pytest.mark.parametrize(("values", "confidence"), [([1.0, 2.0], 1.5), ([1.0, 2.0], np.nan), ([1.0, np.inf], 0.95)])
def test_what_has_no_interval_is_refused(values, confidence):
    with pytest.raises(ValueError, match="given, expected"):
        mean_interval(np.array(values), confidence=confidence)


def test_bounds_of_what_is_not_a_metric():
    assert [bounds_of(name) for name in ("f1", "probability", "alignment_all", "kl", "unknown")] == [
        (0, 1),
        (0, 1),
        (-1, 1),
        (0, np.inf),
        (-np.inf, np.inf),
    ]
