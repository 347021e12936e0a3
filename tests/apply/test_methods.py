"""Every method of the table inside `generate()` of every family."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch

import redundancy as rd
from redundancy.apply import prune
from redundancy.models import VideoLLM
from redundancy.pruning import METHODS
from redundancy.pruning.base import Method
from redundancy.recording import available_salience
from tests.apply.test_outer import OTHER, QUESTION, compare, generate
from tests.tiny_models import make_clip

WITH_RATE = [name for name, entry in METHODS.items() if "retention" in {f.name for f in fields(entry.method)}]


def fitted(name: str, model: VideoLLM) -> Method:
    """The default instance, reading salience that the family gives where its own source is missing."""
    method = METHODS[name].method
    needed = method.needs(model.family.layout).salience
    if needed is not None and needed not in available_salience(model):
        method = replace(method, salience="received")
    if method.needs(model.family.layout).frame_features == "pooling_head" and model.pooling_head is None:
        method = replace(method, features="mean")
    return method


@pytest.mark.parametrize("name", METHODS)
def test_pruned_decoding_equals_the_reference(family_model: VideoLLM, name: str):
    inputs = family_model.prepare([make_clip(10, seed=1), make_clip(10, seed=2)], [QUESTION, OTHER])
    compare(family_model, inputs, fitted(name, family_model))


@pytest.mark.parametrize("name", WITH_RATE)
def test_retention_one_changes_nothing(family_model: VideoLLM, name: str):
    inputs = family_model.prepare(make_clip(10), QUESTION)
    method = replace(fitted(name, family_model), retention=1.0)
    before = generate(family_model, inputs)
    with prune(family_model, method) as pruned:
        inside = generate(family_model, inputs)
    assert pruned.reductions[0].achieved == 1.0
    assert torch.equal(before.sequences, inside.sequences)


@pytest.mark.parametrize("name", METHODS)
def test_deciding_on_a_capture_and_inside_generate_is_the_same(family_model: VideoLLM, name: str):
    clip, method = make_clip(10, seed=4), fitted(name, family_model)
    outside = method(rd.VideoTokens.from_capture(rd.capture(family_model, clip, QUESTION)))
    with prune(family_model, method) as pruned:
        family_model.generate(clip, QUESTION, max_new_tokens=1)
    inside = pruned.reductions[0]
    assert torch.equal(outside.anchor, inside.anchor)
    assert torch.equal(outside.source, inside.source)
    assert torch.equal(outside.weight, inside.weight)
