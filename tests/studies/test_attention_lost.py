"""The study of lost attention: the questions asked, means over clips, and salience beside the order of tokens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from redundancy.recording import open_dataset
from redundancy.sources import VideoSource, list_videos
from studies.attention_lost import ALL, PREDICTION, STUDY, Options

SMALL = Options(
    methods=("fastvid", "vcast", "random_tokens", "average_pool"), retentions=(0.5, 0.25), seeds=2, limit=2, frames=16
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "attention_lost"
    STUDY.run(replace(SMALL, out=out))
    return out


@pytest.fixture
def summary(finished: Path) -> xr.Dataset:
    return open_dataset(finished / "summary.zarr").load()


@pytest.fixture
def rows(finished: Path) -> pd.DataFrame:
    return pd.read_parquet(finished / "rows.parquet")


def test_questions_are_the_clips_own() -> None:
    source = list_videos(limit=1)[0]
    own = {q.skill: q.text for q in source.questions}
    asked = [(q.skill, q.text) for q in STUDY.questions(source, Options())]
    assert asked == [(s, own[s]) for s in ("digit", "when", "where") if s in own]
    users = VideoSource(source.path, "mine")
    for given, options in ((users, Options(prompt="what ?")), (source, Options(skills=("none",), prompt="what ?"))):
        assert [(q.skill, q.text) for q in STUDY.questions(given, options)] == [("prompt", "what ?")]


def test_summary_is_the_mean_over_clips(summary: xr.Dataset, rows: pd.DataFrame) -> None:
    lost = rows[(rows["condition"] == "random_tokens(0.25)") & (rows["layer"] == ALL)]
    assert (lost.groupby("video").size() == 2 * 3).all()  # seeds and questions
    at = summary["value"].sel(condition="random_tokens(0.25)", layer=ALL, statistic="estimate")
    mean = lost.groupby("video")["attention_lost"].mean().mean()
    assert float(at.sel(measure="attention_lost")) == pytest.approx(mean)
    assert float(at.sel(measure="expected")) == pytest.approx(37 / 49)  # 12 of 49 tokens a frame are kept
    assert float(at.sel(measure="excess")) == pytest.approx(mean - 37 / 49, abs=1e-6)
    skill = lost[lost["skill"] == "when"].groupby("video")["attention_lost"].mean().mean()
    shown = summary["by_skill"].sel(condition="random_tokens(0.25)", skill="when", statistic="estimate")
    assert float(shown.sel(measure="attention_lost")) == pytest.approx(skill)
    assert summary["layer"].values.tolist() == ["0", "1", "2", "3", ALL]
    assert np.isnan(summary["requested"].sel(condition="average_pool"))
    assert float(summary["achieved"].sel(condition="average_pool")) == pytest.approx(16 / 49)
    assert PREDICTION.label not in summary["condition"].values


def test_no_choice_beats_the_best_one(rows: pd.DataFrame) -> None:
    lost = rows[rows["condition"] != PREDICTION.label]
    assert (lost["attention_lost"] >= lost["least"] - 1e-6).all()
    assert (lost["attention_lost_sources"] <= lost["attention_lost"] + 1e-6).all()
    assert (lost["reached"] <= 1 + 1e-5).all()
    selected = lost[~lost["merges"].astype(bool)]
    assert (selected["attention_lost"] == selected["attention_lost_sources"]).all()


def test_prediction_is_held_against_order(summary: xr.Dataset, rows: pd.DataFrame) -> None:
    told = rows[(rows["condition"] == PREDICTION.label) & (rows["layer"] == "2")]
    means = told.groupby(["source", "video"])["salience_auc"].mean()
    shown = summary["above_order"].sel(source="received", layer="2", measure="salience_auc", statistic="estimate")
    assert float(shown) == pytest.approx((means["received"] - means["order"]).mean())
    kinds = dict(zip(map(str, summary["source"].values), map(str, summary["source_kind"].values), strict=True))
    assert kinds["order"] == kinds["other questions"] == "reference"
    assert kinds["pooling_head"] == kinds["received"] == kinds["norm"] == "salience"


def test_the_users_own_video_is_asked_the_prompt(tmp_path: Path) -> None:
    video = list_videos(limit=1)[0].path
    options = replace(SMALL, videos=(video,), methods=("vcast",), retentions=(0.5,), prompt="which digit flash ?")
    summary = STUDY.run(replace(options, out=tmp_path))
    assert summary["skill"].values.tolist() == ["prompt"]
    assert "other questions" not in summary["source"].values


def test_options_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="rows='all' given"):
        Options(rows="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seeds must be at least 1"):
        Options(seeds=0)
