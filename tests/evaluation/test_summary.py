"""Intervals of labelled results against closed forms, and paired differences of two conditions."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from redundancy.evaluation.statistics.intervals import mean_interval
from redundancy.evaluation.statistics.summary import compare, summarise


def results(values: np.ndarray, *dims: str, **attrs: object) -> xr.Dataset:
    names = [f"clip_{i}" for i in range(len(values))]
    array = xr.DataArray(values, dims=("video", *dims), attrs={"units": "1", "range": "0..1"})
    return xr.Dataset({"metric": array}, coords={"video": names}, attrs=attrs)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 2.0, (20, 300))


def test_width_and_coverage_of_the_interval_are_those_of_the_closed_form(noise: np.ndarray) -> None:
    """A percentile interval of a mean is that of Student's t, with the normal's quantile and the sd of 1/n."""
    found = summarise(results(noise, "repeat")).metric
    low, high = found.sel(bound="low").values, found.sel(bound="high").values
    half = stats.norm.ppf(0.975) * noise.std(0) / np.sqrt(20)
    np.testing.assert_allclose(found.sel(bound="mean"), noise.mean(0))
    # quantiles of 9,999 resamples have 2% noise, shared by all repeats
    assert ((high - low) / (2 * half)).mean() == pytest.approx(1, abs=0.02)
    expected = 2 * stats.t.cdf(stats.norm.ppf(0.975) * np.sqrt(19 / 20), 19) - 1
    covered = ((low <= 3) & (high >= 3)).mean()
    assert covered == pytest.approx(expected, abs=3 * np.sqrt(expected * (1 - expected) / 300))  # three s.e.


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_each_element_is_its_mean_interval(noise: np.ndarray, method: str) -> None:
    found = summarise(results(noise[:, :3], "tau"), confidence=0.9, method=method, seed=5)
    for i in range(3):
        mean, low, high, videos = mean_interval(noise[:, i], confidence=0.9, method=method, seed=5)
        assert found.metric.isel(tau=i).values.tolist() == [mean, low, high]
        assert found.metric_videos.values[i] == videos == 20


def test_higher_confidence_is_wider_and_bca_follows_the_skew() -> None:
    dataset = results(np.random.default_rng(1).exponential(size=25))
    narrow, wide = (summarise(dataset, confidence=c).metric for c in (0.5, 0.99))
    assert wide.sel(bound="low") < narrow.sel(bound="low") < narrow.sel(bound="high") < wide.sel(bound="high")
    assert (summarise(dataset, method="BCa").metric > summarise(dataset).metric).sel(bound=["low", "high"]).all()


def test_undefined_videos_are_left_out_and_counted() -> None:
    values = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]])
    found = summarise(results(values, "frame"))
    assert found.metric_videos.values.tolist() == [2, 1, 0]
    np.testing.assert_array_equal(found.metric.sel(bound="mean"), [2, 4, np.nan])
    np.testing.assert_array_equal(found.metric.sel(frame=1), [4, 4, 4])


def test_labels_and_attributes_are_kept() -> None:
    dataset = results(np.random.default_rng(2).normal(size=(5, 2)), "tau", model="tiny").assign_coords(tau=[0.5, 0.8])
    dataset["correct"] = ("video", [True, True, False, True, False])
    dataset["threshold"] = ("tau", [1, 2])
    found = summarise(dataset, seed=7)
    assert set(found.data_vars) == {"metric", "metric_videos", "correct", "correct_videos", "threshold"}
    assert found.metric.dims == ("tau", "bound")
    assert found.bound.values.tolist() == ["mean", "low", "high"]
    assert found.tau.values.tolist() == [0.5, 0.8]
    assert found.correct.sel(bound="mean") == pytest.approx(0.6)
    assert found.threshold.identical(dataset.threshold)
    assert found.metric.attrs == dataset.metric.attrs | {"interval": "95% intervals: Student's t over videos"}
    assert found.attrs == {
        "model": "tiny",
        "over": "video",
        "confidence": 0.95,
        "method": "percentile",
        "resamples": 9999,
        "seed": 7,
    }
    assert summarise(dataset, seed=7).identical(found)
    assert not summarise(dataset, seed=8).identical(found)


def test_pairing_removes_what_differs_between_videos() -> None:
    rng = np.random.default_rng(3)
    video = rng.normal(0, 10, 40)
    first, second = results(video + 1 + rng.normal(0, 0.1, 40)), results(video)
    found = compare(first, second.isel(video=slice(None, None, -1)))  # another order of the same videos
    np.testing.assert_allclose(found.metric, mean_interval(first.metric.values - second.metric.values)[:3])
    assert 0.9 < found.metric.sel(bound="low") < found.metric.sel(bound="high") < 1.1
    assert found.metric_videos == 40


def test_a_dataset_does_not_differ_from_itself(noise: np.ndarray) -> None:
    dataset = results(noise[:, :2], "tau")
    assert (compare(dataset, dataset).metric == 0).all()


def test_pairs_with_an_undefined_half_are_left_out() -> None:
    found = compare(results(np.array([1.0, np.nan, 5.0])), results(np.array([np.nan, 2.0, 3.0])))
    assert found.metric_videos == 1
    assert found.metric.sel(bound="mean") == 2


def test_small_integers_do_not_wrap() -> None:
    found = compare(results(np.array([1, 2], dtype=np.uint8)), results(np.array([3, 4], dtype=np.uint8)))
    assert found.metric.values.tolist() == [-2, -2, -2]


def test_attributes_of_a_difference() -> None:
    values = np.arange(3.0)
    found = compare(results(values, model="tiny", pruner="FastVID"), results(values, model="tiny", pruner="VCast", n=1))
    assert found.metric.attrs == {
        "units": "1",
        "difference": "first - second",
        "interval": "95% intervals: Student's t over videos",
    }
    expected = {"model": "tiny", "pruner_first": "FastVID", "pruner_second": "VCast", "n_second": 1, "seed": 0}
    assert expected.items() <= found.attrs.items()


def test_a_difference_is_cut_to_the_bounds_of_both() -> None:
    first, second = results(np.array([0.0, 1, 1])), results(np.array([2.0, 0, 0]))
    second.metric.attrs["range"] = "0..2"
    assert compare(first, second).metric.values.tolist() == [0, -2, 1]


def test_an_interval_is_named_by_the_fewest_and_the_most_videos() -> None:
    values = np.random.default_rng(6).normal(size=(25, 2))
    values[5:, 1] = np.nan
    assert "where fewer than 20 enter" in summarise(results(values, "frame")).metric.attrs["interval"]


def other_names(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.assign_coords(video=["clip_0", "clip_1", "clip_9"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_names, r"\['clip_2', 'clip_9'\] are in one alone"),
        (lambda d: d.isel(video=[0, 1]), r"\['clip_2'\] are in one alone"),
        (lambda d: d.isel(video=[0, 1, 2, 2]), "given twice"),
        (lambda d: d.drop_vars("video"), "no coordinate 'video' given"),
        (lambda d: d.rename(metric="other"), r"variables \['metric'\] and \['other'\] given"),
        (lambda d: d.isel(tau=0, drop=True), "dims .* given, expected the same"),
        (lambda d: d.assign_coords(tau=[0.5, 0.9]), "cannot align"),
        (lambda d: d.assign(metric=d.metric.assign_attrs(units="s")), "units '1' and 's' given, expected the same"),
    ],
)
def test_unpaired_results_are_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    dataset = results(np.ones((3, 2)), "tau").assign_coords(tau=[0.5, 0.8])
    for pair in ((dataset, change(dataset)),):
        with pytest.raises(ValueError, match=message):
            compare(*pair)


@pytest.mark.parametrize(
    ("dataset", "keyword", "message"),
    [
        (results(np.ones(3)), {"over": "clip"}, "no variable with the dim 'clip' given"),
        (results(np.array(["a", "b"])), {}, "'metric' of type <U1 given, expected numbers"),
        (results(np.array([1, np.inf])), {}, "'metric' holds an infinite value"),
        (results(np.ones(3)), {"confidence": 1.5}, "confidence=1.5 given"),
    ],
)
def test_what_cannot_be_summarised_is_refused(dataset: xr.Dataset, keyword: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        summarise(dataset, **keyword)
