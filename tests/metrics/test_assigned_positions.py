"""The ids that metrics take renumbered outputs to have are those that the pruned model really gets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import redundancy as rd
from redundancy.evaluation.decisions import suited
from redundancy.metrics.kernels.placement import assigned_positions, last_number
from redundancy.models import VideoLLM
from redundancy.pruning import DyCoke, HoliTom, PruneVid
from redundancy.recording.tokens import record_prompt
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid, VideoTokens
from tests.family_fixtures import family_model, family_name, tiny_folder
from tests.tiny_models import make_clip

__all__ = ["family_model", "family_name", "tiny_folder"]

QUESTION = "which digit happens first in the video ?"
METHODS = [HoliTom(retention=r) for r in (0.1, 0.5)] + [DyCoke(), DyCoke(K=0.95), PruneVid(cluster_ratio=0.2)]


def late_frames(tokens: VideoTokens) -> Reduction:
    """Some tokens of the last frames alone: the text of frames that are gone stays."""
    T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
    return Reduction.from_selection(torch.arange((T - 2) * N + 1, T * N, 2), grid=tokens.grid, newline="kept rows")


@pytest.mark.parametrize("frames", [6, 24])
def test_ids_are_those_of_the_pruned_model(family_model: VideoLLM, frames: int) -> None:
    inputs = family_model.prepare(make_clip(frames), QUESTION)
    whole = record_prompt(family_model, inputs)
    (tokens,), (end,) = whole.tokens, whole.ends
    assert tokens.positions is not None
    decided = [suited(m, tokens)[0](tokens) for m in METHODS] + [late_frames(tokens)]
    for reduction in decided:
        for placement in ("anchor", "centroid", "renumbered"):
            placed = replace(reduction, placement=placement)
            with rd.prune(family_model, placed):
                pruned = record_prompt(family_model, inputs)
            got = pruned.reduced[0]["positions"].values
            expected = assigned_positions(placed, tokens.positions).T.numpy()
            np.testing.assert_array_equal(expected, got, err_msg=f"{reduction.method}, {placement}")
            last = last_number(placed, tokens.positions, end.last_position, text_after=end.text_after)
            assert last == pruned.reduced[0].attrs["last_position"], (reduction.method, placement)


def test_newlines_are_counted_where_they_stand_alone() -> None:
    """A policy for newlines moves nothing on a family without them."""
    tokens = torch.arange(24).view(1, 4, 6)
    kept = {
        policy: Reduction.from_selection(
            torch.arange(0, 24, 2), grid=TokenGrid(4, 2, 3), placement="renumbered", newline=policy
        )
        for policy in ("none", "kept rows", "all")
    }
    for reduction in kept.values():
        assert assigned_positions(reduction, tokens)[:, 0].tolist() == list(range(12))


def test_measure_on_qwen3_counts_the_timestamps() -> None:
    model = rd.load_model("tiny-qwen3-vl")
    capture = rd.capture(model, rd.load_video("data/clips/clip_000.mp4", frames=32), "how many scenes ?")
    tokens = VideoTokens.from_capture(capture)
    method: Any = suited(HoliTom(retention=0.1), tokens)[0]
    measured = rd.measure(capture, method(tokens), ["alignment", "position_displacement", "distance_to_text"])
    assert float(measured["alignment_all_mean"]) == pytest.approx(0.657, abs=1e-3)
    assert float(measured["position_displacement_time_mean"]) == pytest.approx(19.4, abs=0.05)
