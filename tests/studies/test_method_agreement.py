"""The study of agreement: exact chance levels, pairs and draws, and the figure from stored results alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from studies.conditions import conditions_of, decisions, has_rate, random_like, suited

import redundancy as rd
from redundancy.metrics.agreement import anchor_jaccard
from redundancy.pruning.methods.controls import RandomOf2x2, RandomTokens
from redundancy.pruning.table import METHODS
from redundancy.recording import open_dataset
from redundancy.reduction import Reduction
from redundancy.sources import list_videos
from redundancy.tokens import TokenGrid
from studies import method_agreement
from studies.method_agreement import Options, compare, expected_jaccard, pairs_of

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
    method_agreement.main(replace(SMALL, out=out))
    return out


def by_enumeration(total: int, first: list[int], second: list[int]) -> float:
    """Mean Jaccard index over all choices, one by one."""
    groups = range(len(first))

    def choices(counts: list[int]) -> list[set[tuple[int, int]]]:
        parts = [[{(g, place) for place in c} for c in combinations(range(total), counts[g])] for g in groups]
        return [set().union(*picked) for picked in product(*parts)]

    return float(np.mean([len(a & b) / len(a | b) for a in choices(first) for b in choices(second)]))


@pytest.mark.parametrize(
    ("total", "first", "second"),
    [(4, [2], [2]), (5, [1], [4]), (6, [3], [2]), (2, [1, 1], [1, 1]), (3, [2, 0], [1, 2]), (3, [1, 2], [2, 2])],
)
def test_chance_is_that_of_all_choices(total: int, first: list[int], second: list[int]):
    given = expected_jaccard(total, np.array(first), np.array(second))
    assert given == pytest.approx(by_enumeration(total, first, second), rel=1e-12)


def test_chance_by_hand():
    assert expected_jaccard(4, np.array([2]), np.array([2])) == pytest.approx(4 / 6 / 3 + 1 / 6)
    assert np.isnan(expected_jaccard(4, np.array([0]), np.array([0])))


def test_one_pair_by_hand():
    """Frames of two places: {0, 1} against {1, 2} share one of three; both hold the whole content of what they keep."""
    grid = TokenGrid(2, 1, 2)
    a, b = (Reduction.from_selection(torch.tensor(index), grid=grid) for index in ([0, 1], [1, 2]))
    row = compare(a, b)
    assert row["anchor_jaccard"] == pytest.approx(1 / 3)
    assert row["source_jaccard"] == pytest.approx(1 / 3)
    assert row["anchor_expected"] == pytest.approx(7 / 18)
    assert row["anchor_excess"] == pytest.approx(1 / 3 - 7 / 18)
    # frame 0: both of its places against one of them, 1 in common; frame 1: none against one; so 1 of 3 for sure
    assert row["anchor_expected_in_frames"] == pytest.approx(1 / 3)
    assert row["anchor_excess_in_frames"] == pytest.approx(0, abs=1e-7)  # the index is float32
    assert (row["achieved"], row["achieved_other"]) == (0.5, 0.5)


def test_every_method_of_the_table_is_a_condition():
    labels = [c.label for c in conditions_of(tuple(METHODS), (0.5, 0.1))]
    assert len(labels) == len(set(labels)) == sum(2 if has_rate(m) else 1 for m in METHODS)
    assert "fastvid(0.1)" in labels
    assert "dycoke" in labels
    for condition in conditions_of(tuple(METHODS), (0.1,)):
        if has_rate(condition.name):
            assert condition.requested == 0.1
            assert condition.method.settings["retention"] == 0.1
        else:
            assert np.isnan(condition.requested)
    with pytest.raises(ValueError, match="expected some of"):
        conditions_of(("fastvit",), (0.1,))


def test_a_source_that_is_not_there_is_replaced_and_named():
    model = rd.load_model("tiny-llava-onevision")
    tokens = rd.video_tokens(model, list_videos(limit=1)[0].load(model, frames=8))
    whole = METHODS["fastvid"].method
    assert suited(whole, tokens) == (whole, "")
    bare = replace(
        tokens,
        salience={"received": tokens.salience["received"]},
        frame_features={"mean": tokens.frame_features["mean"]},
    )
    method, note = suited(whole, bare)
    assert method.settings["salience"] == "received"
    assert method.settings["features"] == "mean"
    assert note == "received in place of pooling_head as salience, mean in place of pooling_head as features"
    with pytest.raises(ValueError, match="expected some of"):
        suited(whole, replace(tokens, salience={}, frame_features={}))


def test_random_controls_keep_the_same_number():
    model = rd.load_model("tiny-llava-onevision")
    tokens = rd.video_tokens(model, list_videos(limit=1)[0].load(model, frames=8))
    for kept in (1, 7, 100):
        held = Reduction.from_selection(torch.arange(kept), grid=tokens.grid)
        draws = [random_like(held, tokens, seed=s) for s in (0, 1)]
        assert [d.kept for d in draws] == [kept, kept]
        assert not torch.equal(draws[0].anchor, draws[1].anchor)
    seeds = [seed for seed, _, _ in decisions(conditions_of(("random_of_2x2",), (0.5,))[0], tokens, seeds=3)]
    assert seeds == [0, 1, 2]


def test_pairs_are_complete(finished: Path):
    pairs = pairs_of(SMALL)
    assert len(pairs) == 2 * (15 + 2)  # two random controls are also held against themselves
    rows = pd.read_parquet(finished / "rows.parquet")
    assert set(rows["setting"]) == {p.label for p in pairs}
    assert (rows.groupby(["setting", "video"]).size().isin([1, 2])).all()
    drawn = rows["setting"].str.contains("random")
    assert (rows[drawn].groupby(["setting", "video"]).size() == 2).all()
    assert (rows["seed"] >= 0).eq(drawn).all()


def test_controls_that_draw_are_held_against_other_draws(finished: Path):
    rows = pd.read_parquet(finished / "rows.parquet").set_index(["setting", "seed", "video"])
    model = rd.load_model("tiny-llava-onevision")
    source = list_videos(limit=1)[0]
    tokens = rd.video_tokens(model, source.load(model, frames=16))
    for other, name in ((RandomOf2x2(seed=1), "random_of_2x2"), (RandomTokens(0.25, seed=1), "random_tokens")):
        expected = anchor_jaccard(RandomTokens(0.25, seed=0)(tokens), other(tokens)).item()
        row = rows.loc[f"random_tokens & {name}(0.25)", 0, source.name]
        assert row["anchor_jaccard"] == pytest.approx(expected)


def test_summary_is_symmetric_and_the_mean_over_clips(finished: Path):
    summary = open_dataset(finished / "summary.zarr").load()
    value, rows = summary["value"], pd.read_parquet(finished / "rows.parquet")
    mean = value.sel(statistic="mean", retention=0.25)
    for measure in ("anchor_jaccard", "source_excess"):
        cell = mean.sel(measure=measure, first="fastvid", second="vcast")
        own = rows[rows["setting"] == "fastvid & vcast(0.25)"].groupby("video")[measure].mean()
        assert float(cell) == pytest.approx(own.mean())
        assert float(mean.sel(measure=measure, first="vcast", second="fastvid")) == float(cell)
    pair = {"first": "average_pool", "second": "fastvid"}
    achieved = float(mean.sel(measure="achieved", **pair))
    assert achieved == pytest.approx(16 / 49)  # blocks of 2 x 2, whatever was requested
    assert float(value.sel(measure="achieved_other", statistic="mean", retention=0.5, **pair)) > 0.4
    pooled = mean.sel(first="average_pool", second="first_of_2x2")
    assert float(pooled.sel(measure="anchor_jaccard")) == 1
    assert float(pooled.sel(measure="source_jaccard")) == pytest.approx(16 / 49)
    assert float(value.sel(statistic="videos").max()) == 2
    assert len(summary.attrs["weights_sha256"]) == 64
    itself = mean.sel(measure="anchor_jaccard")
    assert np.isnan(itself.sel(first="fastvid", second="fastvid"))
    assert 0 < float(itself.sel(first="random_tokens", second="random_tokens")) < 0.3


def test_stored_results_are_used_and_redrawn(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    method_agreement.main(replace(SMALL, out=finished))
    assert "Nothing to compute" in capsys.readouterr().out
    monkeypatch.setattr("redundancy.models.load.load_model", None)
    drawn = finished / "method_agreement.svg"
    before = drawn.read_bytes()
    drawn.unlink()
    assert drawn in method_agreement.draw(finished)
    assert drawn.read_bytes() == before


def test_every_family(family_name: str, tiny_folder: Callable[[str], Path], tmp_path: Path):
    few = replace(SMALL, methods=("fastvid", "holitom", "random_tokens"), retentions=(0.25,), limit=1, seeds=1)
    summary = method_agreement.main(replace(few, model=str(tiny_folder(family_name)), out=tmp_path))
    known = summary["value"].sel(measure="anchor_jaccard", statistic="mean", first="fastvid", second="holitom")
    assert 0 <= float(known.item()) <= 1
    notes = summary.attrs["replaced"]
    assert len(notes) <= 1  # HoliTom's source is there in every family
    assert all(note.startswith("fastvid: ") and "in place of pooling_head" in note for note in notes)


def test_no_readable_video_is_said(tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no video could be measured"):
        method_agreement.main(replace(SMALL, videos=(broken,), out=tmp_path / "out"))
