"""Position drift and coverage by hand, and what a reduction is held against."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

import redundancy as rd
from redundancy.evaluation.decisions import anchors_alone
from redundancy.evaluation.drift import COVERAGE, DRIFT, drift_measures, variants_of
from redundancy.evaluation.session import VideoSession
from redundancy.metrics import coverage
from redundancy.metrics.coverage import reconstruction_gap
from redundancy.pruning.methods.controls import AveragePool, UniformTokens
from redundancy.pruning.methods.fastvid import FastVID
from redundancy.pruning.methods.holitom import HoliTom
from redundancy.sources import list_videos

PROMPT = "which digit flash ?"


@pytest.fixture(scope="module")
def session() -> Iterator[VideoSession]:
    model = rd.load_model("tiny-llava-onevision")
    with VideoSession(model, list_videos(limit=1)[0].load(model, frames=16), prompt=PROMPT) as video:
        yield video


def test_the_last_position_is_that_of_the_prompt(session: VideoSession):
    model = rd.load_model("tiny-llava-onevision")
    clip = list_videos(limit=1)[0].load(model, frames=16)
    length = model.prepare(clip, PROMPT).tensors["input_ids"].shape[1]
    assert session.prompt_end.last_position == length - 1  # one index counts everything
    capture = rd.capture(model, clip, prompt=PROMPT, attention_rows="last")
    assert session.prompt_end.last_position == int(capture["query"][-1])


def test_pruning_is_the_merger_that_drops(session: VideoSession):
    tokens = session.tokens
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


def test_the_gap_is_that_of_the_metric(session: VideoSession):
    tokens = session.tokens
    for method in (FastVID(retention=0.25), AveragePool(), UniformTokens(0.5)):
        reduction = method(tokens)
        expected = reconstruction_gap(tokens.features, reduction).item()
        assert drift_measures(session, reduction, COVERAGE)["reconstruction_gap"] == pytest.approx(expected, rel=1e-6)


def test_average_pooling_by_hand(session: VideoSession):
    """The mean of a 2 x 2 block stands half a cell down and right of its first cell; 7 x 7 leave partial blocks."""
    tokens = session.tokens
    row = drift_measures(session, AveragePool()(tokens), DRIFT)
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


def test_renumbering_by_hand(session: VideoSession):
    """Twelve of 49 tokens a frame, numbered on: the k-th output moves from its own id to k."""
    tokens, end = session.tokens, session.prompt_end
    variants = {name: r for name, _, r in variants_of(session, UniformTokens(0.25)(tokens), seeds=1)}
    assert set(variants) == {"own", "at_anchors", "renumbered", "random"}  # nothing is merged
    assert variants["random"].kept == variants["own"].kept
    kept, there = (drift_measures(session, variants[v], DRIFT) for v in ("at_anchors", "renumbered"))
    assert (kept["alignment"], kept["moved_ids"], kept["distance_ratio"]) == pytest.approx((1, 0, 1))
    anchor = variants["own"].anchor.double()
    assert there["moved_ids"] == pytest.approx((anchor - torch.arange(192)).mean().item())
    last = end.last_position
    old, new = last - (1 + anchor), (last - 592) - (1 + torch.arange(192).double())
    assert there["distance_ratio"] == pytest.approx((new / old).mean().item(), rel=1e-6)
    assert there["alignment"] < 0.9
    assert np.isnan(there["moved_cells"])


def test_measures_are_those_of_the_metrics(session: VideoSession) -> None:
    reduction = FastVID(retention=0.25)(session.tokens)
    row = drift_measures(session, reduction)
    assert list(row) == [*DRIFT, *COVERAGE]
    measured = session.measure(reduction, ["alignment", "time_warp", "largest_gap", "nearest_distance"])
    assert row["alignment"] == pytest.approx(float(measured["alignment_all"].mean()), rel=1e-6)
    assert row["time_warp"] == pytest.approx(float(abs(measured["time_warp"]).mean()), rel=1e-6)
    turns = coverage.turn_coverage(reduction, session.tokens.frame_features_from("mean").float())
    assert row["turn_coverage"] == float(turns)  # of the trajectory as it is
    assert row["largest_gap"] == float(measured["largest_gap_seconds"])
    assert row["nearest_distance"] == float(measured["nearest_distance"])
    with pytest.raises(ValueError, match=r"names \['moved'\] given, expected some of"):
        drift_measures(session, reduction, ["moved"])
