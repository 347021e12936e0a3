"""Profiles of made rows by hand: means by kind, scores against null models, and what tells kinds apart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import redundancy as rd
from redundancy.evaluation.statistics.profile import metric_rows, profile, told_apart
from redundancy.metrics.registry import NULLS
from redundancy.metrics.table import METRICS
from redundancy.sources import list_videos


def made_rows(values: dict[str, list[float]]) -> pd.DataFrame:
    """Rows of one metric for kinds of videos; the null's mean is 1, z the value and p 1/20."""
    rows = [
        {
            "video": f"{kind}{i}",
            "kind": kind,
            "condition": "effective_frames",
            "statistic": "effective_frames",
            "output": "effective_frames",
        }
        | {"parameter": "", "value": value, "null_mean_gaussian": 1.0, "z_gaussian": value, "p_gaussian": p}
        for kind, of_kind in values.items()
        for i, (value, p) in enumerate(zip(of_kind, [float(np.float32(0.05)), 0.1, 0.2, 0.3], strict=False))
    ]
    return pd.DataFrame(rows)


def test_profile_of_made_rows() -> None:
    summary = profile(made_rows({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]}), nulls=["gaussian"])
    at = summary.sel(measure="effective_frames").squeeze("null")
    mean = at.sel(statistic="estimate")
    assert mean["value"].sel(kind=["a", "b", "all"]).values.tolist() == [2, 5, 3.5]
    assert mean["difference"].sel(kind=["a", "b", "all"]).values.tolist() == [1, 4, 2.5]
    assert mean["extreme"].sel(kind="a") == pytest.approx(1 / 3)  # 1 / 20 counts as 0.05 in float32 too
    assert at["value"].sel(kind="a", statistic="low") >= 1
    assert at["extreme"].sel(kind="a", statistic=["low", "high"]).values.tolist() == [0, 1]  # of three videos, a share
    assert float(mean["separation"]) == pytest.approx(27 / 35)  # ranks 1..6: between 2 * 3 * 1.5^2, total 17.5
    assert float(at["separation_chance"]) == pytest.approx(3.841 / 5, abs=1e-3)


def test_one_kind_is_not_told_apart() -> None:
    summary = profile(made_rows({"user": [1.0, 2.0, 3.0]}), nulls=["gaussian"])
    assert np.isnan(summary["separation"].sel(statistic="estimate")).all()
    assert told_apart(summary) == []
    assert summary["value"].sel(kind="all").equals(summary["value"].sel(kind="user").assign_coords(kind="all"))


def test_what_is_told_apart_comes_with_its_name() -> None:
    clear = made_rows({"a": [1.0, 2.0, 3.0, 4.0], "b": [50.0, 60.0, 70.0, 80.0], "c": [90.0, 91.0, 92.0, 93.0]})
    assert told_apart(profile(clear, nulls=["gaussian"])) == ["effective_frames"]  # 12 videos
    assert told_apart(profile(clear[clear["value"] < 65], nulls=["gaussian"])) == []  # 6 are too few to say so


def test_missing_statistics_are_undefined() -> None:
    rows = made_rows({"a": [1.0, 2.0]}).iloc[:1]
    other = rows.assign(video="z", parameter="lag=1", statistic="effective_frames(lag=1)", value=7.0)
    summary = profile(pd.concat([rows, other]), nulls=["gaussian"])
    cells = summary["value"].sel(kind="a")
    assert cells.sel(statistic="estimate").values.tolist() == [1, 7]
    assert cells.sel(statistic="n").values.tolist() == [1, 1]
    assert summary["shown"].values.tolist() == [True, True]


def test_rows_are_what_measure_says() -> None:
    source = list_videos(limit=1)[0]
    model = rd.load_model("tiny-llava-onevision")
    tokens = rd.video_tokens(model, source.load(model, frames=16))
    measured = rd.measure(tokens, metrics=["static_fraction"], null="all", draws=3)
    at = pd.DataFrame(metric_rows(METRICS["static_fraction"], measured)).set_index("parameter")
    assert len(at) == 6
    for tau in measured["tau"].values:
        row = at.loc[f"tau={tau:g}"]
        assert row["statistic"] == f"static_fraction(tau={tau:g})"
        assert row["value"] == float(measured["static_fraction"].sel(tau=tau))
        for null in NULLS:
            here = {"tau": tau, "null": null}
            for score in ("z", "p", "null_mean"):
                np.testing.assert_equal(row[f"{score}_{null}"], float(measured[f"static_fraction_{score}"].sel(here)))
    absent = list(metric_rows(METRICS["run_length"], measured))
    assert {row["output"] for row in absent} == set(METRICS["run_length"].dims)
    assert all(np.isnan(row["value"]) for row in absent)
