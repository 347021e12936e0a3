"""What is read inside the tower is recorded on its one run, and found by everything that comes later."""

from __future__ import annotations

import pytest
import torch
import xarray as xr

from redundancy.apply import prune
from redundancy.models import VideoLLM
from redundancy.pruning import HoliTom
from redundancy.recording import tokens_of_prompt
from redundancy.recording.encode import encode
from tests.tiny_models import make_clip

CLIPS = [make_clip(seed=1), make_clip(seed=2)]


@pytest.mark.parametrize("keys", [False, True])
def test_recordings_behind_the_tower_are_those_of_plain_runs(family_model: VideoLLM, keys: bool):
    inputs = family_model.prepare(CLIPS, ["which runs ?", "what happens in the video ?"])
    plain = tokens_of_prompt(family_model, inputs, keys=keys)
    found = tokens_of_prompt(family_model, encode(family_model, inputs), keys=keys)
    for one, other in zip(found, plain, strict=True):
        xr.testing.assert_identical(one.to_xarray(), other.to_xarray())
        assert ("keys" in one.extra) == keys


def test_methods_find_their_salience(family_model: VideoLLM):
    inputs = family_model.prepare(CLIPS[0], "what ?")
    with prune(family_model, HoliTom(salience="received")):
        expected = family_model.prefill(inputs).logits
    encoded = encode(family_model, inputs)
    with prune(family_model, HoliTom(salience="received")):
        assert torch.equal(family_model.prefill(encoded).logits, expected)


def test_what_was_not_recorded_is_refused(family_model: VideoLLM):
    inputs, mean = family_model.prepare(CLIPS[0], "what ?"), {"frame_features": ["mean"]}
    nothing = encode(family_model, inputs, salience=())
    assert tokens_of_prompt(family_model, nothing, salience=["norm"], **mean)
    with pytest.raises(RuntimeError, match=r"'received'.* asked for and not recorded"):
        tokens_of_prompt(family_model, nothing, salience=["received"], **mean)
    layer = 1 if family_model.family.name == "qwen2_5_vl" else 0  # one that sees whole frames
    with pytest.raises(RuntimeError, match=r"'received'.* asked for and not recorded"):
        tokens_of_prompt(family_model, encode(family_model, inputs), salience=["received"], salience_layer=layer)
