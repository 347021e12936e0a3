"""The study of lost attention: known answers, what stands beside them, and the figure from stored results alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from studies.conditions import conditions_of

import redundancy as rd
from redundancy.pruning.methods.controls import UniformTokens
from redundancy.recording import open_dataset
from redundancy.sources import VideoSource, list_videos
from redundancy.tokens import VideoTokens
from studies import attention_lost
from studies.attention_lost import ALL, PREDICTION, Asked, Options, ask, lost_rows, prediction_rows, questions_of

SMALL = Options(
    methods=("fastvid", "vcast", "random_tokens", "average_pool"), retentions=(0.5, 0.25), seeds=2, limit=2, frames=16
)
UNIFORM = conditions_of(("uniform_tokens",), (0.25,))[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "attention_lost"
    attention_lost.main(replace(SMALL, out=out))
    return out


@pytest.fixture
def tokens() -> VideoTokens:
    random = torch.Generator().manual_seed(0)
    features = torch.randn(3, 16, 8, generator=random)
    salience = torch.rand(3, 16, generator=random)
    return VideoTokens.from_features(features, rows=4, cols=4, salience={"received": salience})


def asked_of(attention: torch.Tensor, skill: str = "digit") -> Asked:
    """One layer and one query."""
    rows = attention[None, None].expand(2, 1, -1, -1)
    return Asked(skill, "?", rows, attention.sum()[None])


def test_even_attention_is_lost_as_by_chance(tokens: VideoTokens):
    rows = lost_rows(tokens, [asked_of(torch.full((3, 16), 0.01))], UNIFORM, seeds=1)
    assert [r["layer"] for r in rows] == ["0", ALL]
    for row in rows:
        assert row["attention_lost"] == pytest.approx(0.75)
        assert row["least"] == pytest.approx(0.75)
        assert row["excess"] == pytest.approx(0, abs=1e-6)  # sums of float32 shares
        assert np.isnan(row["reached"])  # no choice is better than another


def test_the_best_choice_loses_the_least(tokens: VideoTokens):
    kept = UniformTokens(0.25)(tokens).anchor
    attention = torch.full((48,), 0.001)
    attention[kept] = 0.05
    row = lost_rows(tokens, [asked_of(attention.view(3, 16))], UNIFORM, seeds=1)[0]
    lost = 36 * 0.001 / (36 * 0.001 + 12 * 0.05)
    assert row["attention_lost"] == pytest.approx(lost, rel=1e-5)
    assert row["least"] == pytest.approx(lost, rel=1e-5)
    assert row["reached"] == pytest.approx(1, rel=1e-5)
    others = torch.full((48,), 0.05)
    others[kept] = 0.001
    row = lost_rows(tokens, [asked_of(others.view(3, 16))], UNIFORM, seeds=1)[0]
    assert row["excess"] > 0
    assert row["reached"] < 0


def test_what_predicts_attention(tokens: VideoTokens):
    same = asked_of(tokens.salience["received"] / 100)
    rising = asked_of(torch.arange(48.0).view(3, 16) / 10_000, "when")
    rows = pd.DataFrame(prediction_rows(tokens, [same, rising])).set_index(["skill", "layer", "source"])
    agreement, auc = rows["salience_attention_agreement"], rows["salience_auc"]
    for layer in ("0", ALL):
        assert agreement["digit", layer, "received"] == pytest.approx(1)
        assert auc["digit", layer, "received"] == pytest.approx(1)
        assert agreement["when", layer, "order"] == pytest.approx(1)
        # of two questions the other one is all there is
        assert agreement["digit", layer, "other questions"] == pytest.approx(agreement["digit", layer, "order"])
    quarter = tokens.salience["received"].topk(4, dim=1).values.sum() / tokens.salience["received"].sum()
    assert rows["held"]["digit", "0", "received"] == pytest.approx(quarter.item(), rel=1e-5)
    last = np.arange(48.0).reshape(3, 16)[:, 12:].sum() / np.arange(48.0).sum()
    assert rows["held"]["when", "0", "order"] == pytest.approx(last, rel=1e-5)
    alone = pd.DataFrame(prediction_rows(tokens, [same]))
    assert "other questions" not in set(alone["source"])


def test_questions_are_the_clips_own():
    source = list_videos(limit=1)[0]
    assert source.record is not None
    own = {q.skill: q.text for q in source.record.questions}
    asked = questions_of(source, Options())
    assert asked == [(s, own[s]) for s in ("digit", "when", "where") if s in own]
    users = VideoSource(source.path, "mine")
    assert questions_of(users, Options(prompt="what ?")) == [("prompt", "what ?")]
    assert questions_of(source, Options(skills=("none",), prompt="what ?")) == [("prompt", "what ?")]


@pytest.mark.parametrize("rows", ["last", "question"])
def test_attention_is_the_captured_one(rows: str):
    model = rd.load_model("tiny-llava-onevision")
    clip = list_videos(limit=1)[0].load(model, frames=8)
    tokens, asked = ask(model, clip, [("digit", "which digit flash ?"), ("when", "when digit flash ?")], rows=rows)
    assert tokens.grid.frames == 8
    for one in asked:
        capture = rd.capture(model, clip, prompt=one.text, attention_rows=rows)
        direct = capture["attention"].values
        assert np.array_equal(one.attention[:-1].numpy(), direct)
        assert np.allclose(one.attention[-1].numpy(), direct.sum(0), rtol=1e-6)
        share = direct.sum((-2, -1)).mean(1)  # rows sum to 1, so this is the video's share
        assert np.allclose(one.mass.numpy(), share, atol=1e-5)  # float32 rows of 264 keys
        assert one.attention.shape[1] == (1 if rows == "last" else len(capture["query"]))


def test_summary_is_the_mean_over_clips(finished: Path):
    summary = open_dataset(finished / "summary.zarr").load()
    rows = pd.read_parquet(finished / "rows.parquet")
    lost = rows[(rows["setting"] == "random_tokens(0.25)") & (rows["layer"] == ALL)]
    assert (lost.groupby("video").size() == 2 * 3).all()  # draws and questions
    at = summary["value"].sel(setting="random_tokens(0.25)", layer=ALL, statistic="mean")
    assert float(at.sel(measure="attention_lost")) == pytest.approx(
        lost.groupby("video")["attention_lost"].mean().mean()
    )
    assert float(at.sel(measure="expected")) == pytest.approx(37 / 49)  # 12 of 49 tokens a frame are kept
    excess = float(at.sel(measure="attention_lost")) - 37 / 49
    assert float(at.sel(measure="excess")) == pytest.approx(excess, abs=1e-6)
    skill = lost[lost["skill"] == "when"].groupby("video")["attention_lost"].mean().mean()
    shown = summary["by_skill"].sel(setting="random_tokens(0.25)", skill="when", statistic="mean")
    assert float(shown) == pytest.approx(skill)
    assert summary["layer"].values.tolist() == ["0", "1", "2", "3", ALL]
    assert np.isnan(summary["requested"].sel(setting="average_pool"))
    assert float(summary["achieved"].sel(setting="average_pool")) == pytest.approx(16 / 49)
    assert len(summary.attrs["weights_sha256"]) == 64


def test_no_choice_beats_the_best_one(finished: Path):
    rows = pd.read_parquet(finished / "rows.parquet")
    lost = rows[rows["setting"] != PREDICTION]
    assert (lost["attention_lost"] >= lost["least"] - 1e-6).all()
    assert (lost["attention_lost_sources"] <= lost["attention_lost"] + 1e-6).all()
    assert (lost["reached"] <= 1 + 1e-5).all()
    selected = lost[~lost["merges"].astype(bool)]
    assert (selected["attention_lost"] == selected["attention_lost_sources"]).all()


def test_prediction_is_held_against_order(finished: Path):
    summary = open_dataset(finished / "summary.zarr").load()
    rows = pd.read_parquet(finished / "rows.parquet")
    told = rows[(rows["setting"] == PREDICTION) & (rows["layer"] == "2")]
    means = told.groupby(["source", "video"])["salience_auc"].mean()
    cell = {"layer": "2", "prediction": "salience_auc", "statistic": "mean"}
    shown = summary["above_order"].sel(source="received", **cell)
    assert float(shown) == pytest.approx((means["received"] - means["order"]).mean())
    kinds = dict(zip(map(str, summary["source"].values), map(str, summary["source_kind"].values), strict=True))
    assert kinds["order"] == kinds["other questions"] == "reference"
    assert kinds["pooling_head"] == kinds["received"] == kinds["norm"] == "salience"


def test_stored_results_are_used_and_redrawn(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    attention_lost.main(replace(SMALL, out=finished))
    assert "Nothing to compute" in capsys.readouterr().out
    monkeypatch.setattr("redundancy.models.load.load_model", None)
    drawn = finished / "attention_lost.svg"
    before = drawn.read_bytes()
    drawn.unlink()
    assert drawn in attention_lost.draw(finished)
    assert drawn.read_bytes() == before


def test_the_users_own_video_is_asked_the_prompt(tmp_path: Path):
    video = list_videos(limit=1)[0].path
    options = replace(SMALL, videos=(video,), methods=("vcast",), retentions=(0.5,), prompt="which digit flash ?")
    summary = attention_lost.main(replace(options, out=tmp_path))
    assert summary["skill"].values.tolist() == ["prompt"]
    assert "other questions" not in summary["source"].values


def test_every_family(family_name: str, tiny_folder: Callable[[str], Path], tmp_path: Path):
    few = replace(SMALL, methods=("fastvid", "random_tokens"), retentions=(0.25,), limit=1, seeds=1)
    few = replace(few, skills=("digit", "when"), rows="question", model=str(tiny_folder(family_name)), out=tmp_path)
    summary = attention_lost.main(few)
    at = summary["value"].sel(measure="attention_lost", statistic="mean")
    assert ((at >= 0) & (at <= 1)).all()
    assert (tmp_path / "attention_lost.png").stat().st_size > 10_000


def test_options_that_cannot_be():
    with pytest.raises(ValueError, match="rows='all' given"):
        Options(rows="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seeds must be at least 1"):
        Options(seeds=0)
