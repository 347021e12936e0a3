"""Rank correlations over conditions: against scipy, and what `studies.metric_prediction` gave."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from redundancy.evaluation.statistics.intervals import jackknife_interval, statistic_interval
from redundancy.evaluation.statistics.rank_correlation import LEVELS, rank_correlation, rank_correlations

REQUESTED = {
    "a(0.5)": 0.5,
    "b(0.5)": 0.5,
    "c(0.5)": 0.5,
    "a(0.25)": 0.25,
    "b(0.25)": 0.25,
    "c(0.25)": 0.25,
    "d": np.nan,
}


def curve_rows(videos: int) -> pd.DataFrame:
    """As of `studies.retention_curve`: videos differ in questions, measures are undefined for some."""
    rng = np.random.default_rng(5)
    rows = []
    for condition in REQUESTED:
        for video in range(videos):
            for skill in "ab"[: 2 - (video % 3 == 0)]:
                for seed in range(2):
                    about = {"condition": condition, "video": f"v{video:02d}", "skill": skill, "seed": seed}
                    undefined = rng.random() < 0.05
                    values = {
                        "error": float("nan") if undefined else rng.random(),
                        "correct": float(rng.random() < 0.6),
                    }
                    rows.append(about | values)
    return pd.DataFrame(rows)


# by number of videos: level, skill, statistic
EXPECTED = {
    6: [
        [
            [-0.054554472558998104, -1.0, 1.0, 6.0],
            [0.16366341767699433, -1.0, 1.0, 6.0],
            [0.1928791874526149, -0.9767339581260644, 1.0, 4.0],
        ],
        [[-0.18301270189221935, -1.0, 1.0, 6.0], [0.0, -1.0, 1.0, 6.0], [-0.43301270189221935, -1.0, 1.0, 4.0]],
        [
            [-0.0806921059870347, -0.17675618164215529, 0.015371969668085891, 6.0],
            [0.23226586829274784, -0.15598308712113682, 0.6205148237066325, 6.0],
            [-0.4444541666802694, -0.8136165955319445, -0.07529173782859416, 4.0],
        ],
    ],
    22: [
        [
            [-0.5357142857142858, -0.641467473439238, 0.5078539252886375, 22.0],
            [-0.4642857142857144, -0.7298009777906553, 0.27227413799772593, 22.0],
            [0.1454785934906616, -0.8267533902209258, 0.8613720984206179, 14.0],
        ],
        [
            [-0.75, -1.0, 0.4499999999999993, 22.0],
            [-0.75, -1.0, 0.4499999999999993, 22.0],
            [0.5, -0.9330127018922194, 0.9330127018922194, 14.0],
        ],
        [
            [0.1053952272448599, -0.04839575722052644, 0.22466622919365525, 22.0],
            [0.023293740025783927, -0.12287822871874515, 0.13989237601142715, 22.0],
            [0.18065709954823125, -0.05248699899063969, 0.36865018421334844, 14.0],
        ],
    ],
}


@pytest.mark.parametrize("videos", [6, 22])
def test_numbers_are_those_of_metric_prediction(videos: int) -> None:
    found = rank_correlations(curve_rows(videos), REQUESTED, measures=["error"], resamples=49)
    assert found.dims == ("level", "measure", "skill", "statistic")
    assert found["skill"].values.tolist() == ["all", "a", "b"]
    np.testing.assert_allclose(found.squeeze("measure"), EXPECTED[videos], rtol=0, atol=1e-12)


def test_one_pair_is_the_rank_correlation_of_scipy() -> None:
    x, y = np.random.default_rng(0).integers(0, 4, (2, 9)).astype(float)
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-14)
    x[2] = np.nan
    assert rank_correlation(x, y) == pytest.approx(stats.spearmanr(np.delete(x, 2), np.delete(y, 2)).statistic)
    assert np.isnan(rank_correlation(np.ones(4), np.arange(4.0)))
    assert np.isnan(rank_correlation(np.arange(2.0), np.arange(2.0)))


def test_a_measure_that_orders_as_answers_do() -> None:
    order = {name: i for i, name in enumerate(REQUESTED)}
    rows = pd.DataFrame(
        {"condition": name, "video": f"v{v}", "skill": "a", "correct": place / 10, "right": place, "wrong": -place}
        for name, place in order.items()
        for v in range(3)
    )
    found = rank_correlations(rows, REQUESTED, measures={"right": "-", "wrong": "-"})
    estimate = found.sel(statistic="estimate", skill="all")
    assert estimate.sel(measure="right").values == pytest.approx([1] * len(LEVELS))
    assert estimate.sel(measure="wrong").values == pytest.approx([-1] * len(LEVELS))
    assert (found.sel(statistic="n") == 3).all()


def test_intervals_of_any_statistic() -> None:
    values = np.random.default_rng(1).normal(size=25)
    found = statistic_interval(lambda videos: float(values[videos].mean()), 25, resamples=2000)
    half = stats.norm.ppf(0.975) * values.std() / 5
    assert found.mean == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * half, rel=0.1)  # quantiles of 2,000 resamples
    few = statistic_interval(lambda videos: float(values[videos].mean()), 7)
    assert few == jackknife_interval(lambda videos: float(values[videos].mean()), 7)
    seldom = statistic_interval(lambda videos: 1.0 if 0 in videos else float("nan"), 25, resamples=200)
    assert seldom.mean == 1  # all together have one
    assert np.isnan([seldom.low, seldom.high]).all()


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(ValueError, match=r"without the columns \['absent'\] given"):
        rank_correlations(curve_rows(3), REQUESTED, measures=["absent"])
    with pytest.raises(ValueError, match="resamples=0 given"):
        rank_correlations(curve_rows(3), REQUESTED, measures=["error"], resamples=0)
