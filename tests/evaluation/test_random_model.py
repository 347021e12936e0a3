"""Models of a stated shape."""

from __future__ import annotations

import math

import pytest
import torch

from redundancy.evaluation.cost.flops import DecoderShape
from redundancy.evaluation.cost.random_model import SHAPES, OneVisionShape, random_model
from redundancy.evaluation.cost.times import video_size
from redundancy.models import load_model
from redundancy.sources import list_videos

SMALL = OneVisionShape(
    text={
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 80,
    },
    vision={
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 72,
        "patch_size": 8,
    },
)


def test_it_has_the_shape_and_answers():
    model = random_model(SMALL, device="cpu")
    inputs = model.prepare(list_videos()[0].load(model, frames=3), "how many scenes ?")
    assert video_size(model, inputs).tokens == 3 * math.ceil(72 / 8 / 2) ** 2
    assert DecoderShape.from_config(model.family.text_model.config) == DecoderShape(2, 32, 48, 2, 8)
    assert model.pooling_head is not None  # FastVID's salience
    assert isinstance(model.generate(inputs, max_new_tokens=2), str)


def test_weights_follow_the_seed_and_leave_the_callers_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (random_model(SMALL, seed=seed, device="cpu").model.state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    name = "model.language_model.layers.0.mlp.up_proj.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])


def test_published_shapes():
    """196 tokens a frame; Qwen2-0.5B: 24 layers of 896, 4,864 inside, 2 heads of 64 for keys and values."""
    config = load_model("tiny-llava-onevision", device="cpu").family.text_model.config
    for shape in SHAPES.values():
        assert math.ceil(shape.vision["image_size"] // shape.vision["patch_size"] / 2) ** 2 == 196
        assert DecoderShape.from_config(type(config)(**shape.text)) == DecoderShape(24, 896, 4864, 2, 64)


def test_unknown_shapes_are_refused():
    with pytest.raises(ValueError, match=r"shape='gpt-5' given, expected one of \['llava-onevision-0.5b'"):
        random_model("gpt-5")
