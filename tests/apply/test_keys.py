"""A method that compares by the tower's keys decides alike on a capture and inside `prune`, which records them."""

from __future__ import annotations

import pytest
import torch

import redundancy as rd
from redundancy.apply import prune
from redundancy.models import VideoLLM
from redundancy.pruning import VisionZip
from tests.tiny_models import make_clip

QUESTION = "What happens?"


def test_keys_are_recorded_where_the_method_reads_them(family_model: VideoLLM) -> None:
    clip, method = make_clip(6, seed=4), VisionZip(retention=0.5, metric="keys")
    capture = rd.capture(family_model, clip, QUESTION, keys=True)
    outside = method(rd.VideoTokens.from_capture(capture))
    with prune(family_model, method) as pruned:
        family_model.generate(clip, QUESTION, max_new_tokens=1)
    inside = pruned.reductions[0]
    assert inside.stages["metric"] == outside.stages["metric"] == "keys"
    for name in ("anchor", "source", "target", "weight"):
        assert torch.equal(getattr(outside, name), getattr(inside, name))


def test_keys_at_hand_change_nothing_by_features(family_model: VideoLLM) -> None:
    clip, method = make_clip(6, seed=4), VisionZip(retention=0.5)
    plain, with_keys = (
        method(rd.VideoTokens.from_capture(rd.capture(family_model, clip, QUESTION, keys=keys)))
        for keys in (False, True)
    )
    assert torch.equal(plain.source, with_keys.source)
    assert torch.equal(plain.target, with_keys.target)


def test_a_capture_without_keys_says_how_to_get_them(family_model: VideoLLM) -> None:
    tokens = rd.VideoTokens.from_capture(rd.capture(family_model, make_clip(4), QUESTION))
    with pytest.raises(ValueError, match=r"carry no keys of the tower\. Capture them with keys=True"):
        VisionZip(metric="keys")(tokens)
