"""The study of segmenters: random cuts beside each, and comparisons at equal numbers of tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from redundancy.recording import open_dataset
from studies.ablate_segments import STUDY, Options, measures_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "ablate_segments"
    STUDY.run(Options(limit=6, seeds=3, frames=16, out=out))
    return out


@pytest.fixture
def summary(finished: Path) -> xr.Dataset:
    return open_dataset(finished / "summary.zarr").load()


@pytest.fixture
def rows(finished: Path) -> pd.DataFrame:
    return pd.read_parquet(finished / "rows.parquet")


def test_random_cuts_have_as_many_segments(rows: pd.DataFrame) -> None:
    assert set(measures_of(Options())) <= set(rows.columns)
    cut = rows[rows["variant"] != "random_tokens"]
    assert cut.groupby(["video", "condition"]).size().eq(4).all()  # one row, and three of random cuts
    assert (cut.groupby(["video", "condition"])["segments"].agg(np.ptp) == 0).all()


def test_summary_is_the_mean_over_clips(summary: xr.Dataset, rows: pd.DataFrame) -> None:
    of = rows[rows["condition"] == "agglomerative(segments=4)"]
    own = of[of["variant"] == "own"].set_index("video")["f1"].sort_index()
    random = of[of["variant"] == "random_cuts"].groupby("video")["f1"].mean().sort_index()
    at = summary.sel(condition="agglomerative(segments=4)", measure="f1")
    assert float(at["value"].sel(statistic="estimate")) == pytest.approx(own.mean())
    assert float(at["difference"].sel(statistic="estimate")) == pytest.approx((own - random).mean())
    assert float(at["random_cuts"].sel(statistic="estimate")) == pytest.approx(random.mean())
    assert float(at["value"].sel(statistic="n")) == 6


def test_scene_cuts_are_found_better_than_by_chance(summary: xr.Dataset) -> None:
    at = summary.sel(condition="static_windows(tau=0.8)", measure="f1")
    assert float(at["difference"].sel(statistic="low")) > 0


def test_fastvid_is_compared_at_equal_numbers_of_tokens(summary: xr.Dataset, rows: pd.DataFrame) -> None:
    of = rows[rows["condition"] == "static_windows(tau=0.8)"]
    drawn, differences = of[of["variant"] == "random_cuts"], []
    for video, row in of[of["variant"] == "own"].set_index("video").sort_index().iterrows():
        of_video = drawn[drawn["video"] == video]
        equal = of_video[of_video["kept_0.25"] == row["kept_0.25"]]["error_0.25"]
        if len(equal):
            differences.append(row["error_0.25"] - equal.mean())
    at = summary["difference"].sel(condition="static_windows(tau=0.8)", measure="error_0.25")
    assert differences
    assert float(at.sel(statistic="estimate")) == pytest.approx(np.mean(differences))
    assert float(at.sel(statistic="n")) == len(differences)
    known = rows[rows["variant"] != "random_tokens"]
    assert (known["kept_0.25"] <= 0.25).all()
    assert (known["error_0.1"] >= known["error_0.25"]).mean() > 0.95


def test_the_model_answers_at_the_least_retention(summary: xr.Dataset, rows: pd.DataFrame) -> None:
    assert "accuracy_0.25" not in measures_of(Options())
    of = rows[rows["condition"] == "dyseg(c=4, tau=0.9)"]
    means = of.groupby(["variant", "video"])["accuracy_0.1"].mean()
    at = summary.sel(condition="dyseg(c=4, tau=0.9)", measure="accuracy_0.1", statistic="estimate")
    assert 0 < float(at["value"]) == pytest.approx(means["own"].mean())
    assert float(at["against_tokens"]) == pytest.approx((means["own"] - means["random_tokens"]).mean())
    assert rows[rows["condition"] == "static_windows(tau=0.8)"]["accuracy_0.1"].isna().all()


def test_segmenters_without_answers_are_a_study_too(tmp_path: Path) -> None:
    few = Options(limit=1, frames=8, seeds=1, segmenters=("static_windows",), thresholds=(0.9,), out=tmp_path)
    summary = STUDY.run(few)
    assert np.isfinite(summary["value"].sel(measure="error_0.25", statistic="estimate")).all()
    assert not (summary["against_tokens"].sel(statistic="n") > 0).any()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"segmenters": ("dyseq",)}, r"segmenters=\['dyseq'\] given, expected each once"),
        ({"retentions": ()}, r"retentions=\[\] given, expected shares"),
        ({"retentions": (1.5,)}, r"retentions=\[1.5\] given"),
        ({"segments": (0,)}, r"segments=\[0\] given, expected numbers of at least 1"),
        ({"answer_seeds": 0}, "answer_seeds must be at least 1"),
    ],
)
def test_wrong_options_are_refused(option: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**option)  # type: ignore[arg-type]
