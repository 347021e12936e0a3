"""Intervals of labelled results against closed forms, and paired differences of two conditions."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from redundancy.evaluation.statistics.intervals import mean_interval
from redundancy.evaluation.statistics.join import join_summaries
from redundancy.evaluation.statistics.summary import compare, summarise, table


def results(values: np.ndarray, *dims: str, **attrs: object) -> xr.Dataset:
    names = [f"clip_{i}" for i in range(len(values))]
    array = xr.DataArray(values, dims=("video", *dims), attrs={"units": "1", "range": "0..1"})
    return xr.Dataset({"metric": array}, coords={"video": names}, attrs=attrs)


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).normal(3.0, 2.0, (20, 300))


def at(found: xr.Dataset, name: str = "metric") -> xr.DataArray:
    """The statistics of one number."""
    return found["value"].sel(measure=name).squeeze("condition")


def test_width_and_coverage_of_the_interval_are_those_of_the_closed_form(noise: np.ndarray) -> None:
    """A percentile interval of a mean is that of Student's t, with the normal's quantile and the sd of 1/n."""
    found = summarise(results(noise, "repeat"))["value"].squeeze("condition")
    low, high = found.sel(statistic="low").values, found.sel(statistic="high").values
    half = stats.norm.ppf(0.975) * noise.std(0) / np.sqrt(20)
    np.testing.assert_allclose(found.sel(statistic="estimate"), noise.mean(0))
    # quantiles of 9,999 resamples have 2% noise, shared by all repeats
    assert ((high - low) / (2 * half)).mean() == pytest.approx(1, abs=0.02)
    expected = 2 * stats.t.cdf(stats.norm.ppf(0.975) * np.sqrt(19 / 20), 19) - 1
    covered = ((low <= 3) & (high >= 3)).mean()
    assert covered == pytest.approx(expected, abs=3 * np.sqrt(expected * (1 - expected) / 300))  # three s.e.


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_each_element_is_its_mean_interval(noise: np.ndarray, method: str) -> None:
    keyword = {"confidence": 0.9, "method": method, "seed": 5}
    for dim, names in (("tau", [f"metric(tau={i})" for i in range(3)]), ("frame", None)):
        found = summarise(results(noise[:, :3], dim), **keyword)
        for i in range(3):
            one = found["metric"].isel(frame=i, condition=0) if names is None else at(found, names[i])
            assert one.values.tolist() == list(mean_interval(noise[:, i], **keyword))
            assert one.sel(statistic="n") == 20


def test_higher_confidence_is_wider_and_bca_follows_the_skew() -> None:
    dataset = results(np.random.default_rng(1).exponential(size=25))
    narrow, wide = (at(summarise(dataset, confidence=c)) for c in (0.5, 0.99))
    low, high = {"statistic": "low"}, {"statistic": "high"}
    assert wide.sel(low) < narrow.sel(low) < narrow.sel(high) < wide.sel(high)
    assert (at(summarise(dataset, method="BCa")) > at(summarise(dataset))).sel(statistic=["low", "high"]).all()


def test_undefined_videos_are_left_out_and_counted() -> None:
    values = np.array([[1.0, np.nan, np.nan], [3.0, 4.0, np.nan]])
    found = summarise(results(values, "frame"))["metric"].squeeze("condition")
    assert found.sel(statistic="n").values.tolist() == [2, 1, 0]
    np.testing.assert_array_equal(found.sel(statistic="estimate"), [2, 4, np.nan])
    np.testing.assert_array_equal(found.sel(frame=1), [4, 4, 4, 1])


def test_labels_and_attributes_are_kept() -> None:
    dataset = results(np.random.default_rng(2).normal(size=(5, 2)), "tau", model="tiny").assign_coords(tau=[0.5, 0.8])
    dataset["correct"] = ("video", [True, True, False, True, False])
    dataset["per_frame"] = (("video", "frame", "top"), np.ones((5, 3, 1)))
    dataset["threshold"] = ("tau", [1, 2])
    found = summarise(dataset, seed=7)
    assert set(found.data_vars) == {"value", "per_frame"}
    assert found["value"].dims == ("condition", "measure", "statistic")
    assert found["per_frame"].dims == ("condition", "frame", "top", "statistic")
    assert found["statistic"].values.tolist() == ["estimate", "low", "high", "n"]
    assert found["measure"].values.tolist() == ["metric(tau=0.5)", "metric(tau=0.8)", "correct"]
    assert at(found, "correct").sel(statistic="estimate") == pytest.approx(0.6)
    assert found["units"].values.tolist() == ["1", "1", "1"]
    assert found["long_name"].values[-1] == "questions answered rightly"
    assert found["value"].attrs == {"interval": "95% intervals: Student's t over videos"}
    assert found.attrs == {
        "model": "tiny",
        "over": "video",
        "confidence": 0.95,
        "bootstrap": "percentile",
        "resamples": 9999,
        "seed": 7,
        "left_out": ["threshold: no dim video"],
    }
    assert summarise(dataset, seed=7).identical(found)
    assert not summarise(dataset, seed=8).identical(found)


def test_pairing_removes_what_differs_between_videos() -> None:
    rng = np.random.default_rng(3)
    video = rng.normal(0, 10, 40)
    first, second = results(video + 1 + rng.normal(0, 0.1, 40)), results(video)
    found = at(compare(first, second.isel(video=slice(None, None, -1))))  # another order of the same videos
    np.testing.assert_allclose(found, mean_interval(first.metric.values - second.metric.values))
    assert 0.9 < found.sel(statistic="low") < found.sel(statistic="high") < 1.1
    assert found.sel(statistic="n") == 40


def test_a_dataset_does_not_differ_from_itself(noise: np.ndarray) -> None:
    dataset = results(noise[:, :2], "tau")
    assert (compare(dataset, dataset)["value"].sel(statistic=["estimate", "low", "high"]) == 0).all()


def test_pairs_with_an_undefined_half_are_left_out() -> None:
    found = at(compare(results(np.array([1.0, np.nan, 5.0])), results(np.array([np.nan, 2.0, 3.0]))))
    assert found.sel(statistic="n") == 1
    assert found.sel(statistic="estimate") == 2


def test_small_integers_do_not_wrap() -> None:
    found = compare(results(np.array([1, 2], dtype=np.uint8)), results(np.array([3, 4], dtype=np.uint8)))
    assert at(found).values.tolist() == [-2, -2, -2, 2]


def test_attributes_of_a_difference() -> None:
    values = np.arange(3.0)
    found = compare(results(values, model="tiny", pruner="FastVID"), results(values, model="tiny", pruner="VCast", n=1))
    assert found["value"].attrs == {"interval": "95% intervals: Student's t over videos"}
    expected = {"model": "tiny", "pruner_first": "FastVID", "pruner_second": "VCast", "n_second": 1, "seed": 0}
    assert expected | {"difference": "first - second, paired"} == {
        k: v for k, v in found.attrs.items() if k in expected or k == "difference"
    }


def test_the_condition_of_a_difference() -> None:
    values = np.arange(3.0)
    first = results(values, method="FastVID", requested=0.25, achieved=0.2)
    found = compare(first, results(values, method="VisionZip", requested=0.25, achieved=0.3))
    assert found["condition"].item() == "FastVID(0.25) - VisionZip(0.25)"
    assert found["method"].item() == "FastVID - VisionZip"
    assert found["requested"].item() == 0.25
    assert np.isnan(found["achieved"].item())
    assert compare(first, first, condition="x")["condition"].item() == "x"


def test_a_difference_is_cut_to_the_bounds_of_both() -> None:
    first, second = results(np.array([0.0, 1, 1])), results(np.array([2.0, 0, 0]))
    second.metric.attrs["range"] = "0..2"
    assert at(compare(first, second)).values.tolist() == [0, -2, 1, 3]


def test_an_interval_is_named_by_the_fewest_and_the_most_videos() -> None:
    values = np.random.default_rng(6).normal(size=(25, 2))
    values[5:, 1] = np.nan
    assert "where fewer than 20 enter" in summarise(results(values, "frame")).metric.attrs["interval"]


def one_video(scalar: float, frames: int = 4, **attrs: object) -> xr.Dataset:
    """As `measure` returns it for one video."""
    dataset = xr.Dataset({"speed": ("frame", np.full(frames, scalar)), "speed_mean": scalar}, attrs=attrs)
    dataset["share"] = ("tau", [scalar, scalar / 2])
    return dataset.assign_coords(tau=[0.5, 0.9], frame_time=("frame", np.arange(frames) * scalar))


def test_a_list_of_videos() -> None:
    clips = [one_video(v, clip_source=f"/a/{v}.mp4", clip_sha256=str(v), model="tiny") for v in (1.0, 2.0)]
    found = summarise(clips)
    assert found["measure"].values.tolist() == ["speed_mean", "share(tau=0.5)", "share(tau=0.9)"]
    assert found["value"].sel(statistic="estimate").values.tolist() == [[1.5, 1.5, 0.75]]
    assert found["speed"].sel(statistic="estimate").values.tolist() == [[1.5] * 4]
    assert found.attrs["left_out"] == []
    assert found.attrs["model"] == "tiny"
    told = json.loads(found.attrs["provenance"])
    assert [t["video"] for t in told] == ["1.0.mp4", "2.0.mp4"]
    assert [t["clip_sha256"] for t in told] == ["1.0", "2.0"]
    named = summarise({"a": clips[0], "b": clips[1]})
    assert named["value"].equals(found["value"])
    assert [t["video"] for t in json.loads(named.attrs["provenance"])] == ["a", "b"]
    assert [t["video"] for t in json.loads(summarise([one_video(1), one_video(2)]).attrs["provenance"])] == [
        "video_0",
        "video_1",
    ]


def test_what_videos_do_not_share_is_left_out_and_said() -> None:
    more = one_video(3).assign(extra=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = summarise([one_video(1, frames=4), one_video(2, frames=3), more])
    assert set(found.data_vars) == {"value"}
    assert "speed_mean" in found["measure"].values
    assert found.attrs["left_out"] == [
        "speed: sizes differ: {'frame': 4} and {'frame': 3}",
        "extra: in 1 of 3 videos",
    ]


def test_clips_of_one_name_stay_apart() -> None:
    folders = [one_video(v, clip_source=f"/{v}/a.mp4") for v in (1, 2)]
    twice = [one_video(v, clip_source="/1/a.mp4") for v in (1, 2)]
    for given, names in ((folders, ["/1/a.mp4", "/2/a.mp4"]), (twice, ["a.mp4", "a.mp4 (2)"])):
        assert [t["video"] for t in json.loads(summarise(given).attrs["provenance"])] == names


def test_conditions_are_told_by_what_measure_says() -> None:
    about = {"method": "FastVID", "requested": 0.25, "method_settings": "{}", "token_grid": "4x7x7"}
    found = summarise([one_video(v, achieved=v / 10, **about) for v in (1, 2)])
    labels = {name: found[name].item() for name in ("condition", "method", "method_kind", "requested")}
    expected = {"condition": "FastVID(0.25)", "method": "FastVID", "method_kind": "method", "requested": 0.25}
    assert labels == expected
    assert found["achieved"].item() == pytest.approx(0.15)
    full = summarise([one_video(1, token_grid="4x7x7"), one_video(2, token_grid="5x7x7")])
    assert (full["condition"].item(), full["method_kind"].item()) == ("all tokens", "full")
    with pytest.raises(ValueError, match=r"several conditions given, method is FastVID and DyCoke.*join_summaries"):
        summarise([one_video(1, method="FastVID"), one_video(2, method="DyCoke")])


def two_summaries(*measures: str) -> list[xr.Dataset]:
    return [
        summarise([xr.Dataset({name: float(v), "both": v + 1.0}) for v in (1, 2)], condition=name) for name in measures
    ]


def test_summaries_join_by_condition() -> None:
    one = summarise(results(np.arange(3.0)), condition="a")
    other = summarise(results(np.arange(3.0) + 1), condition="b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        joined = xr.concat([one, other], "condition")
    assert joined["condition"].values.tolist() == ["a", "b"]
    assert joined["value"].sel(statistic="estimate").values.ravel().tolist() == [1, 2]
    mine = join_summaries([one, other])
    assert mine["value"].equals(joined["value"])


def test_summaries_of_other_measures_join() -> None:
    joined = join_summaries(two_summaries("p", "q"))
    assert joined["measure"].values.tolist() == ["p", "both", "q"]
    assert joined["value"].sel(condition="p", measure="q").isnull().all()
    assert joined["long_name"].values.tolist() == ["p", "both", "q"]
    assert len(table(joined)) == 6
    # one condition in two studies
    same = [s.assign_coords(condition=["x"]) for s in two_summaries("p", "q")]
    assert not np.isnan(join_summaries(same)["value"]).any()
    with pytest.raises(ValueError, match="other values given for the same condition and measure"):
        join_summaries([same[0], same[0].assign(value=same[0]["value"] + 1)])
    with pytest.raises(ValueError, match="expected the same"):
        join_summaries(
            [same[0], same[1].assign_coords(method=("condition", ["m"])).assign_coords(units=("measure", ["s", "s"]))]
        )
    with pytest.raises(ValueError, match="no summary given"):
        join_summaries([])


def test_the_table_of_a_summary() -> None:
    about = {"method": "FastVID", "requested": 0.25, "achieved": 0.2}
    found = summarise([one_video(v, **about) for v in (1.0, 2.0)])
    rows = table(found, digits=1)
    assert rows.columns.tolist() == [
        *("condition", "method", "requested", "achieved", "measure", "estimate", "low", "high", "n", "text")
    ]
    assert rows["measure"].tolist() == ["speed_mean", "share(tau=0.5)", "share(tau=0.9)"]
    assert rows["n"].tolist() == [2, 2, 2]
    assert rows["text"][0] == "1.5 [-4.9, 7.9]"
    assert table(found, "speed")["frame"].tolist() == [0, 1, 2, 3]
    undefined = summarise(results(np.array([np.nan, np.nan])))
    assert table(undefined)["text"].tolist() == ["-"]
    with pytest.raises(ValueError, match=r"variable='absent' given, expected one .*\['value', 'speed'\]"):
        table(found, "absent")


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
