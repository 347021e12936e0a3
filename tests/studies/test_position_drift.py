"""The study of position drift: its comparisons, its controls, and the figures from stored results alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import redundancy as rd
from redundancy.metrics.coverage import reconstruction_gap
from redundancy.pruning.methods.controls import AveragePool, UniformTokens
from redundancy.pruning.methods.fastvid import FastVID
from redundancy.pruning.methods.holitom import HoliTom
from redundancy.recording import open_dataset
from redundancy.recording.call_tokens import PromptEnd
from redundancy.sources import list_videos
from redundancy.tokens import VideoTokens
from studies import position_drift
from studies.position_drift import Bench, Options, anchors_alone, tokens_and_end, variants_of

SMALL = Options(
    methods=("fastvid", "holitom", "random_tokens", "average_pool"), retentions=(0.5, 0.25), seeds=2, limit=2, frames=16
)
PROMPT = "which digit flash ?"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "position_drift"
    position_drift.main(replace(SMALL, out=out))
    return out


@pytest.fixture(scope="module")
def measured() -> tuple[VideoTokens, PromptEnd]:
    model = rd.load_model("tiny-llava-onevision")
    return tokens_and_end(model, list_videos(limit=1)[0].load(model, frames=16), PROMPT)


def test_the_last_position_is_that_of_the_prompt(measured: tuple[VideoTokens, PromptEnd]):
    model = rd.load_model("tiny-llava-onevision")
    clip = list_videos(limit=1)[0].load(model, frames=16)
    length = model.prepare(clip, PROMPT).tensors["input_ids"].shape[1]
    assert measured[1].last_position == length - 1  # one index counts everything
    capture = rd.capture(model, clip, prompt=PROMPT, attention_rows="last")
    assert measured[1].last_position == int(capture["query"][-1])


def test_pruning_is_the_merger_that_drops(measured: tuple[VideoTokens, PromptEnd]):
    tokens, _ = measured
    merging, dropping = (FastVID(retention=0.25, merger=m)(tokens) for m in ("anchor_centric", "drop"))
    alone = anchors_alone(merging)
    assert not merging.is_selection
    assert torch.equal(alone.anchor, dropping.anchor)
    assert torch.equal(alone.apply(tokens.features), dropping.apply(tokens.features))
    assert not torch.equal(merging.apply(tokens.features), dropping.apply(tokens.features))
    # HoliTom's "drop" still averages a static place over its window; alone is its first frame
    holitom = anchors_alone(HoliTom(retention=0.25)(tokens))
    assert holitom.placement == "renumbered"
    assert torch.equal(holitom.apply(tokens.features), tokens.features.flatten(0, 1)[holitom.anchor])


def test_the_gap_is_that_of_the_metric(measured: tuple[VideoTokens, PromptEnd]):
    tokens, end = measured
    bench = Bench(tokens, end)
    for method in (FastVID(retention=0.25), AveragePool(), UniformTokens(0.5)):
        reduction = method(tokens)
        expected = reconstruction_gap(tokens.features, reduction).item()
        assert bench.coverage(reduction)["reconstruction_gap"] == pytest.approx(expected, rel=1e-6)


def test_average_pooling_by_hand(measured: tuple[VideoTokens, PromptEnd]):
    """The mean of a 2 x 2 block stands half a cell down and right of its first cell; 7 x 7 leave partial blocks."""
    tokens, end = measured
    row = Bench(tokens, end).drift(AveragePool()(tokens))
    assert row["moved_cells"] == pytest.approx((9 * np.sqrt(0.5) + 6 * 0.5) / 16)
    assert row["moved_seconds"] == 0
    assert row["moved_ids"] == pytest.approx((9 * (0 + 1 + 7 + 8) / 4 + 3 * 7 / 2 + 3 * 1 / 2) / 16)  # rows of seven
    assert row["distance_ratio"] == pytest.approx(1)
    assert tokens.rotary is not None
    frequencies = tokens.rotary.inverse_frequency[:, None].double()
    turned = [
        torch.polar(torch.ones(1, dtype=torch.float64), frequencies * torch.tensor(offsets)).mean(1)
        for offsets, times in (([0, 1, 7, 8], 9), ([0, 7], 3), ([0, 1], 3), ([0], 1))
        for _ in range(times)
    ]
    assert row["alignment"] == pytest.approx(torch.stack(turned).real.mean().item(), rel=1e-6)
    assert row["coherence"] == pytest.approx(torch.stack(turned).abs().mean().item(), rel=1e-6)


def test_renumbering_by_hand(measured: tuple[VideoTokens, PromptEnd]):
    """Twelve of 49 tokens a frame, numbered on: the k-th output moves from its own id to k."""
    tokens, end = measured
    variants = {name: r for name, _, r in variants_of(UniformTokens(0.25)(tokens), tokens, seeds=1)}
    assert set(variants) == {"own", "at_anchors", "renumbered", "random"}  # nothing is merged
    assert variants["random"].kept == variants["own"].kept
    bench = Bench(tokens, end)
    kept, there = bench.drift(variants["at_anchors"]), bench.drift(variants["renumbered"])
    assert (kept["alignment"], kept["moved_ids"], kept["distance_ratio"]) == pytest.approx((1, 0, 1))
    anchor = variants["own"].anchor.double()
    assert there["moved_ids"] == pytest.approx((anchor - torch.arange(192)).mean().item())
    last = end.last_position
    old, new = last - (1 + anchor), (last - 592) - (1 + torch.arange(192).double())
    assert there["distance_ratio"] == pytest.approx((new / old).mean().item(), rel=1e-6)
    assert there["alignment"] < 0.9
    assert np.isnan(there["moved_cells"])


def test_rows_are_complete(finished: Path):
    rows = pd.read_parquet(finished / "rows.parquet")
    counts = rows.groupby(["setting", "video", "variant"]).size()
    assert set(counts.xs("random", level="variant").loc["fastvid(0.25)"]) == {2}
    assert set(counts.xs("own", level="variant").loc["random_tokens(0.25)"]) == {2}
    assert "anchors_alone" not in set(rows[rows["setting"] == "random_tokens(0.25)"]["variant"])
    own = rows[rows["variant"] == "own"].set_index(["setting", "video"])
    assert (own.loc["holitom(0.25)", "placement"] == "renumbered").all()
    assert own.loc["holitom(0.25)", "moved_cells"].isna().all()
    assert own.loc["fastvid(0.25)", "moved_cells"].notna().all()


def test_summary_is_the_mean_over_clips(finished: Path):
    summary, rows = open_dataset(finished / "summary.zarr").load(), pd.read_parquet(finished / "rows.parquet")
    means = rows.groupby(["variant", "setting", "video"])[["reconstruction_error", "alignment"]].mean()
    at = {"setting": "fastvid(0.25)", "statistic": "mean"}
    own, alone = means.loc["own", "fastvid(0.25)"], means.loc["anchors_alone", "fastvid(0.25)"]
    shown = summary["value"].sel(variant="own", measure="reconstruction_error", **at)
    assert float(shown) == pytest.approx(own["reconstruction_error"].mean())
    merging = summary["merging"].sel(measure="reconstruction_error", **at)
    assert float(merging) == pytest.approx((own - alone)["reconstruction_error"].mean())
    random = means.loc["random", "fastvid(0.25)"]["reconstruction_error"]
    against = summary["against_random"].sel(measure="reconstruction_error", **at)
    assert float(against) == pytest.approx((own["reconstruction_error"] - random).mean())
    moved = means.loc["renumbered", "fastvid(0.25)"] - means.loc["at_anchors", "fastvid(0.25)"]
    renumbering = summary["renumbering"].sel(measure="alignment", **at)
    assert float(renumbering) == pytest.approx(moved["alignment"].mean())
    assert np.isnan(summary["merging"].sel(setting="random_tokens(0.25)")).all()
    assert summary["merges"].sel(setting="average_pool")
    assert not summary["merges"].sel(setting="random_tokens(0.5)")
    assert np.isnan(summary["requested"].sel(setting="average_pool"))
    assert float(summary["achieved"].sel(setting="holitom(0.5)")) < 0.4  # far from what was requested, and said
    assert len(summary.attrs["weights_sha256"]) == 64


def test_stored_results_are_used_and_redrawn(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    position_drift.main(replace(SMALL, out=finished))
    assert "Nothing to compute" in capsys.readouterr().out
    monkeypatch.setattr("redundancy.models.load.load_model", None)
    drawn = [finished / "position_drift.svg", finished / "position_drift_coverage.svg"]
    before = [file.read_bytes() for file in drawn]
    for file in drawn:
        file.unlink()
    assert set(drawn) <= set(position_drift.draw(finished))
    assert [file.read_bytes() for file in drawn] == before


def test_a_new_method_computes_only_its_own_rows(finished: Path, monkeypatch: pytest.MonkeyPatch):
    asked: list[str] = []
    decide = position_drift.decisions

    def noted(condition, tokens, *, seeds):
        asked.append(condition.label)
        return decide(condition, tokens, seeds=seeds)

    monkeypatch.setattr(position_drift, "decisions", noted)
    position_drift.main(replace(SMALL, methods=(*SMALL.methods, "uniform_tokens"), out=finished))
    assert set(asked) == {"uniform_tokens(0.5)", "uniform_tokens(0.25)"}


def test_every_family(family_name: str, tiny_folder: Callable[[str], Path], tmp_path: Path):
    few = replace(SMALL, methods=("fastvid", "vidcom2"), retentions=(0.25,), limit=1, seeds=1)
    few = replace(few, model=str(tiny_folder(family_name)), out=tmp_path)
    value = position_drift.main(few)["value"].sel(statistic="mean", setting="fastvid(0.25)")
    assert float(value.sel(variant="own", measure="alignment")) <= 1
    assert float(value.sel(variant="renumbered", measure="alignment")) <= 1
    assert np.isfinite(value.sel(variant="own", measure="reconstruction_gap"))
    distance = value.sel(variant="at_anchors", measure="distance_ratio")
    assert np.isnan(distance) if family_name == "qwen2_5_vl" else float(distance) == pytest.approx(1)


def test_no_readable_video_is_said(tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no video could be measured"):
        position_drift.main(replace(SMALL, videos=(broken,), out=tmp_path / "out"))
