"""Aggregation of rows against numbers that each study's own summary gave before there was one for all, and by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from redundancy.evaluation.statistics.aggregate import (
    aggregate,
    column_contrast,
    condition_coords,
    contrast,
    widened,
    with_all,
)
from redundancy.evaluation.statistics.intervals import mean_interval, paired_difference
from redundancy.evaluation.statistics.measures import Measure, measure_of

EXACT = {"rtol": 0, "atol": 1e-12}  # the same sums in the same order


def drift_rows(videos: int) -> pd.DataFrame:
    """As of `studies.position_drift`: variants, of which one is drawn."""
    rng = np.random.default_rng(1)
    rows = []
    for condition in ("fastvid(0.5)", "dycoke"):
        for video in range(videos):
            for variant in ("own", "anchors_alone", "random"):
                for seed in range(3 if variant == "random" else 1):
                    undefined = rng.random() < 0.1
                    values = {"alignment": float("nan") if undefined else rng.random(), "kl": rng.random()}
                    about = {"condition": condition, "video": f"v{video:02d}", "variant": variant, "seed": seed}
                    rows.append(about | values)
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


def segment_rows(videos: int) -> pd.DataFrame:
    """As of `studies.ablate_segments`: a setting and draws of its control, some of which keep another number."""
    rng = np.random.default_rng(2)
    rows = []
    for video in range(videos):
        about: dict[str, Any] = {"condition": "dyseg(c=4)", "video": f"v{video:02d}"}
        values = {"contrast": rng.random(), "error_0.1": rng.random(), "tokens_error_0.1": rng.random()}
        rows.append(about | {"control": False, "kept_0.1": 20 + video % 2} | values)
        for _ in range(4):
            values = {"contrast": rng.random(), "error_0.1": rng.random()}
            rows.append(about | {"control": True, "kept_0.1": 20 + int(rng.integers(0, 2))} | values)
    return pd.DataFrame(rows)


def question_rows() -> pd.DataFrame:
    """As of `studies.retention_curve`: clips differ in their questions."""
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "condition": "fastvid(0.5)",
            "method": "fastvid",
            "method_kind": "method",
            "requested": 0.5,
            "video": f"v{video}",
            "skill": skill,
            "seed": seed,
            "correct": float(rng.random() < 0.6),
            "achieved": 0.25 + 0.1 * video,
        }
        for video in range(5)
        for skill in "ab"[: 1 + video % 2]
        for seed in range(2)
    )


# by number of videos: random of fastvid(0.5), own of dycoke, own minus random of fastvid(0.5); alignment, kl
DRIFT = {
    6: [
        [
            [0.47093780796063717, 0.2948016368980034, 0.6470739790232709, 6],
            [0.4700469062272378, 0.34739989197342047, 0.5926939204810552, 6],
        ],
        [
            [0.5082486220143493, 0.2691399546084778, 0.7473572894202207, 6],
            [0.5721415741718089, 0.25679463132121927, 0.8874885170223985, 6],
        ],
        [
            [-0.016260288130127726, -0.42432548925338576, 0.39180491299313036, 6],
            [-0.2057956524505367, -0.5486664954181985, 0.1370751905171251, 6],
        ],
    ],
    22: [
        [
            [0.4635335089986949, 0.397106987050128, 0.5245261796280348, 22],
            [0.45786827167293614, 0.40124368655734105, 0.5121155686634734, 22],
        ],
        [
            [0.5522751597478179, 0.43845383883991673, 0.6659001221470802, 21],
            [0.5549923424271341, 0.441695570995591, 0.6697033213135384, 22],
        ],
        [
            [0.011095111649065886, -0.12819010566576827, 0.15864881517169724, 22],
            [-0.04673179001775984, -0.17663189431719448, 0.07984047010850186, 22],
        ],
    ],
}
# own minus random cuts (contrast; error, where as many tokens are kept), own minus random tokens (error)
SEGMENTS = {
    6: [
        [0.118960601788349, -0.09132594516038828, 0.32924714873708627, 6],
        [0.006425953886303885, -0.505378072026105, 0.5182299797987127, 6],
        [0.03964250578681564, -0.44088923764631793, 0.5201742492199493, 6],
    ],
    22: [
        [0.08829043055280235, -0.059342760472335845, 0.23229836364397197, 22],
        [-0.08223626767916893, -0.23679147884157317, 0.0851935570338183, 21],
        [-0.015913385246976455, -0.1951357137562817, 0.16139479300456058, 22],
    ],
}


@pytest.mark.parametrize("videos", [6, 22])  # Student's t, and the bootstrap
def test_means_and_contrasts_are_those_of_position_drift(videos: int) -> None:
    rows = drift_rows(videos)
    over = {"condition": ["fastvid(0.5)", "dycoke"]}
    value = aggregate(rows, over={"variant": ["own", "random"], **over}, measures=["alignment", "kl"])
    against = contrast(rows, dim="variant", plus="own", minus="random", over=over, measures=["alignment", "kl"])
    np.testing.assert_allclose(value.sel(variant="random", condition="fastvid(0.5)"), DRIFT[videos][0], **EXACT)
    np.testing.assert_allclose(value.sel(variant="own", condition="dycoke"), DRIFT[videos][1], **EXACT)
    np.testing.assert_allclose(against.sel(condition="fastvid(0.5)"), DRIFT[videos][2], **EXACT)
    assert value.dims == ("variant", "condition", "measure", "statistic")
    assert against.dims == ("condition", "measure", "statistic")


@pytest.mark.parametrize("videos", [6, 22])
def test_controls_enter_where_as_many_tokens_are_kept_as_in_ablate_segments(videos: int) -> None:
    rows = segment_rows(videos)
    measures = [Measure("contrast", "-"), Measure("error_0.1", "-")]
    paired = contrast(
        rows, dim="control", plus=False, minus=True, measures=measures, equal={"error_0.1": "kept_0.1"}
    ).squeeze()
    np.testing.assert_allclose(paired, SEGMENTS[videos][:2], **EXACT)
    beside = column_contrast(rows[~rows["control"]], {"error_0.1": "tokens_error_0.1"}, measures=measures).squeeze()
    np.testing.assert_allclose(beside.sel(measure="error_0.1"), SEGMENTS[videos][2], **EXACT)
    assert np.isnan(beside.sel(measure="contrast")).all()


def test_questions_and_seeds_of_a_video_are_averaged_as_in_retention_curve() -> None:
    rows = question_rows()
    found = aggregate(rows, measures=["correct"]).squeeze()
    np.testing.assert_allclose(found, [0.9, 0.7299781548354362, 1, 5], **EXACT)
    skill = aggregate(rows, over=("condition", "skill"), measures=["correct"]).squeeze()
    np.testing.assert_allclose(skill, [[0.8, 0.45995630967087225, 1, 5], [1, 1, 1, 2]], **EXACT)
    both = aggregate(with_all(rows, "skill"), over=("skill",), measures=["correct"]).squeeze()
    np.testing.assert_array_equal(both.sel(skill=["a", "b"]), skill)
    np.testing.assert_array_equal(both.sel(skill="all"), found)


def test_each_level_minus_one() -> None:
    rows = drift_rows(6)
    found = contrast(rows, dim="variant", minus="random", measures=["kl"], on=["kl"])
    assert found.dims == ("variant", "condition", "measure", "statistic")
    assert np.isnan(found.sel(variant="random")).all()
    of_own = rows[(rows["condition"] == "dycoke") & (rows["variant"] == "own")].groupby("video")["kl"].mean()
    of_random = rows[(rows["condition"] == "dycoke") & (rows["variant"] == "random")].groupby("video")["kl"].mean()
    expected = paired_difference(of_own.to_numpy(), of_random.to_numpy(), bounds=measure_of("kl").bounds)
    np.testing.assert_allclose(found.sel(variant="own", condition="dycoke").squeeze(), expected, **EXACT)


def test_what_is_absent_is_nan_and_what_is_undefined_has_no_videos() -> None:
    rows = pd.DataFrame({"condition": "a", "video": ["x", "y"], "kl": [1.0, 2.0], "chance": np.nan})
    found = aggregate(rows, over={"condition": ["a", "b"]}, measures=["kl", "chance"])
    assert np.isnan(found.sel(condition="b")).all()
    np.testing.assert_array_equal(found.sel(condition="a", measure="chance"), [np.nan, np.nan, np.nan, 0])
    np.testing.assert_array_equal(
        found.sel(condition="a", measure="kl"), mean_interval(np.array([1.0, 2.0]), bounds=(0, np.inf))
    )


def test_rows_of_videos_that_failed_are_left_out() -> None:
    rows = pd.DataFrame({"condition": ["a", None], "video": ["x", "y"], "kl": [1.0, np.nan]})
    assert aggregate(rows, measures=["kl"]).squeeze().values.tolist() == [1, 1, 1, 1]


def test_labels() -> None:
    found = aggregate(question_rows(), measures={"correct": "right"})
    assert found["statistic"].values.tolist() == ["estimate", "low", "high", "n"]
    assert found["long_name"].item() == "right"
    known = aggregate(question_rows(), measures=["achieved"])
    assert (known["long_name"].item(), known["units"].item()) == ("share of video tokens kept", "1")


def test_coordinates_of_conditions() -> None:
    rows = question_rows()
    coords = condition_coords(rows)
    made = xr.Dataset({"value": aggregate(rows, measures=["correct"])}, coords=coords)
    assert made["method"].item() == "fastvid"
    assert made["method_kind"].item() == "method"
    assert made["requested"].item() == 0.5
    assert made["achieved"].item() == pytest.approx(0.45)  # over videos, though these differ in questions
    with pytest.raises(ValueError, match="several values of 'skill' in condition 'fastvid"):
        condition_coords(rows, factors=["skill"])
    with pytest.raises(ValueError, match=r"conditions \['b'\] without rows given"):
        condition_coords(rows, conditions=["b"])


def test_rows_in_long_form() -> None:
    long = pd.DataFrame({"video": [*"xxyy"], "statistic": [*"baab"], "value": [1.0, 2, 3, 4]})
    wide = widened(long, names="statistic", by=["video"])
    assert wide.to_dict("list") == {"video": ["x", "y"], "b": [1, 4], "a": [2, 3]}
    with pytest.raises(ValueError, match="'statistic' is given twice"):
        widened(pd.concat([long, long]), names="statistic", by=["video"])


def test_facts_of_metrics_and_of_answers() -> None:
    assert measure_of("temporal_redundancy").unit == "1"
    assert measure_of("temporal_redundancy").higher
    assert measure_of("agreement").bounds == (0, 1)
    assert measure_of("mine") == Measure("mine", "mine")


ROWS = pd.DataFrame({"condition": "a", "video": ["x", "x"], "variant": ["p", "q"], "n": [1, 2], "kl": [1.0, 2.0]})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aggregate(ROWS, measures=["absent"]), r"without the columns \['absent'\] given"),
        (lambda: aggregate(ROWS, over=("skill",), measures=["kl"]), r"without the columns \['skill'\] given"),
        (lambda: aggregate(ROWS, measures=[]), "expected at least one"),
        (lambda: aggregate(ROWS, measures=["kl", "kl"]), "each once"),
        (lambda: aggregate(ROWS, measures="kl"), "expected several"),
        (lambda: aggregate(ROWS, over="condition", measures=["kl"]), "expected names of columns"),
        (lambda: aggregate(ROWS[:0], measures=["kl"]), "no row given"),
        (lambda: aggregate(ROWS.assign(kl=np.inf), measures=["kl"]), "none infinite"),
        (lambda: contrast(ROWS, dim="variant", minus="r", measures=["kl"]), r"variant=\['r'\] given, expected some of"),
        (lambda: contrast(ROWS, dim="variant", minus="q", on=["n"], measures=["kl"]), r"contrast of \['n'\] given"),
        (
            lambda: contrast(
                pd.concat([ROWS, ROWS.assign(n=3)]), dim="variant", plus="p", minus="q", measures=["kl"], equal="n"
            ),
            "several values of 'n' for one video",
        ),
        (lambda: with_all(ROWS, "condition", "a"), "condition='a' is there already"),
        (lambda: Measure("a", "a", bounds=(1, 0)), "expected a name and ascending bounds"),
    ],
)
def test_what_cannot_be_aggregated_is_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
