"""The study of agreement: all pairs, controls against other seeds of themselves, means over clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import redundancy as rd
from redundancy.metrics.agreement import anchor_jaccard
from redundancy.pruning.methods.controls import RandomOf2x2, RandomTokens
from redundancy.recording import open_dataset
from redundancy.sources import list_videos
from studies.method_agreement import STUDY, Options

SMALL = Options(
    methods=("fastvid", "vcast", "random_tokens", "average_pool", "first_of_2x2", "random_of_2x2"),
    retentions=(0.5, 0.25),
    seeds=2,
    limit=2,
    frames=16,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "method_agreement"
    STUDY.run(replace(SMALL, out=out))
    return out


@pytest.fixture
def rows(finished: Path) -> pd.DataFrame:
    return pd.read_parquet(finished / "rows.parquet")


def test_pairs_are_complete(rows: pd.DataFrame) -> None:
    pairs = SMALL.pairs()
    assert len(pairs) == 2 * (15 + 2)  # two random controls are also held against themselves
    assert set(rows["condition"]) == {p.label for p in pairs}
    drawn = rows["condition"].str.contains("random")
    assert (rows[drawn].groupby(["condition", "video"]).size() == 2).all()
    assert (rows[~drawn].groupby(["condition", "video"]).size() == 1).all()
    assert (rows["seed"] >= 0).eq(drawn).all()


def test_controls_that_draw_are_held_against_other_seeds(rows: pd.DataFrame) -> None:
    rows = rows.set_index(["condition", "seed", "video"])
    model, source = rd.load_model("tiny-llava-onevision"), list_videos(limit=1)[0]
    tokens = rd.video_tokens(model, source.load(model, frames=16))
    for other, name in ((RandomOf2x2(seed=1), "random_of_2x2"), (RandomTokens(0.25, seed=1), "random_tokens")):
        expected = anchor_jaccard(RandomTokens(0.25, seed=0)(tokens), other(tokens)).item()
        row = rows.loc[f"random_tokens & {name}(0.25)", 0, source.name]
        assert row["anchor_jaccard"] == pytest.approx(expected)


def test_summary_is_the_mean_over_clips(finished: Path, rows: pd.DataFrame) -> None:
    summary = open_dataset(finished / "summary.zarr").load()
    mean = summary["value"].sel(statistic="estimate")
    for measure in ("anchor_jaccard", "source_excess"):
        own = rows[rows["condition"] == "fastvid & vcast(0.25)"].groupby("video")[measure].mean()
        assert float(mean.sel(measure=measure, condition="fastvid & vcast(0.25)")) == pytest.approx(own.mean())
    pooled = mean.sel(condition="fastvid & average_pool(0.5)")
    assert float(pooled.sel(measure="achieved_second")) == pytest.approx(16 / 49)  # of 2 x 2, whatever was requested
    assert float(pooled.sel(measure="achieved_first")) > 0.4
    blocks = mean.sel(condition="average_pool & first_of_2x2(0.25)")
    assert float(blocks.sel(measure="anchor_jaccard")) == 1
    assert float(blocks.sel(measure="source_jaccard")) == pytest.approx(16 / 49)
    assert float(summary["value"].sel(statistic="n").max()) == 2
    assert 0 < float(mean.sel(measure="anchor_jaccard", condition="random_tokens & random_tokens(0.25)")) < 0.3
