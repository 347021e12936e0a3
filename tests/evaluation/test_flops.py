"""Both formulas against every number that the papers print."""

from __future__ import annotations

import pytest
from transformers import Qwen2Config

from redundancy.evaluation.flops import (
    QWEN2_7B,
    QWEN2_72B,
    DecoderShape,
    fastvid_flops,
    holitom_decode_flops,
    holitom_flops,
    tokens_per_layer,
)

OV = 32 * 196  # LLaVA-OneVision: 32 frames of 196 tokens
VIDEO = 64 * 169  # LLaVA-Video: 64 frames of 169 tokens, without newlines

FASTVID = [
    ("LLaVA-OneVision, whole", OV, 48.82),
    ("25%: 49 per frame", 32 * 49, 10.73),
    ("19.9%: 39 per frame", 32 * 39, 8.46),
    ("14.8%: 29 per frame", 32 * 29, 6.23),
    ("9.7%: 19 per frame", 32 * 19, 4.04),
    ("PruneVID, 635.6 tokens", 635.6, 4.23),
    ("LLaVA-Video, whole with 832 newlines", VIDEO + 832, 103.2),
    ("LLaVA-Video, 42 per frame and 64 newlines", 64 * 42 + 64, 19.5),
    ("LLaVA-Video, 42 per frame and 715.5 newlines", 64 * 42 + 715.5, 24.5),
    ("LLaVA-Video, 16 per frame and 64 newlines", 64 * 16 + 64, 7.3),
    ("LLaVA-Video, 16 per frame and 508.2 newlines", 64 * 16 + 508.2, 10.5),
    ("Qwen2-VL, whole: 13447.1 tokens", 13447.1, 124.0),
]
FASTV = [(0.25, 13.45), (0.2, 11.38), (0.15, 9.35), (0.1, 7.36)]
HOLITOM = [
    ("LLaVA-OneVision, whole", QWEN2_7B, OV, 40.8),
    ("25%: 49 per frame", QWEN2_7B, 32 * 49, 8.7),
    ("20%: 40 per frame", QWEN2_7B, 32 * 40, 7.0),
    ("15%: 30 per frame", QWEN2_7B, 32 * 30, 5.2),
    ("10%: 20 per frame", QWEN2_7B, 32 * 20, 3.4),
    ("72B, whole", QWEN2_72B, OV, 429.3),
    ("72B, 15%", QWEN2_72B, 32 * 30, 59.0),
    ("LLaVA-Video, whole without newlines", QWEN2_7B, VIDEO, 80.2),
]
WITH_INNER_MERGING = [
    (QWEN2_7B, 18, 49, 7.1),
    (QWEN2_7B, 18, 40, 5.8),
    (QWEN2_7B, 18, 30, 4.3),
    (QWEN2_7B, 18, 20, 2.8),
    (QWEN2_72B, 60, 30, 51.6),
]


def printed(flops: float, like: float) -> float:
    """TFLOPs with as many decimals as the paper prints."""
    return round(flops / 1e12, len(str(like).split(".")[1]))


@pytest.mark.parametrize(("setting", "tokens", "published"), FASTVID)
def test_fastvid(setting, tokens, published):
    assert printed(fastvid_flops(tokens, QWEN2_7B), published) == published, setting


@pytest.mark.parametrize(("kept", "published"), FASTV)
def test_fastv_in_the_fastvid_paper(kept, published):
    tokens = tokens_per_layer(OV, QWEN2_7B, layer=2, kept=kept)
    assert printed(fastvid_flops(tokens, QWEN2_7B), published) == published


@pytest.mark.parametrize(("setting", "shape", "tokens", "published"), HOLITOM)
def test_holitom(setting, shape, tokens, published):
    assert printed(holitom_flops(tokens, shape), published) == published, setting


@pytest.mark.parametrize(("shape", "layer", "per_frame", "published"), WITH_INNER_MERGING)
def test_holitom_with_inner_merging(shape, layer, per_frame, published):
    tokens = tokens_per_layer(32 * per_frame, shape, layer=layer, kept=0.5)
    assert printed(holitom_flops(tokens, shape), published) == published


def test_decoding_is_its_steps_one_by_one():
    """Step i projects one token and attends to n + i."""
    n, R, d, m = 100, 7, QWEN2_7B.width, QWEN2_7B.ffn_width
    steps = [QWEN2_7B.layers * (4 * d**2 + 2 * d * m + 2 * d * (n + i)) for i in range(1, R + 1)]
    assert holitom_decode_flops(n, QWEN2_7B, answer=R) == pytest.approx(sum(steps))
    short = tokens_per_layer(n, QWEN2_7B, layer=18, kept=0.5)
    saved = 10 * R * 2 * d * (n / 2)  # ten layers attend to half of the prompt
    assert holitom_decode_flops(short, QWEN2_7B, answer=R) == pytest.approx(sum(steps) - saved)


def test_one_number_is_the_same_in_every_layer():
    for function in (fastvid_flops, holitom_flops, holitom_decode_flops):
        assert function([500] * 28, QWEN2_7B) == pytest.approx(function(500, QWEN2_7B))
        assert function(tokens_per_layer(500, QWEN2_7B, layer=28, kept=0), QWEN2_7B) == function([500.0] * 28, QWEN2_7B)


def test_shape_of_a_configuration():
    config = Qwen2Config(
        num_hidden_layers=28,
        hidden_size=3584,
        intermediate_size=18944,
        num_attention_heads=28,
        num_key_value_heads=4,
    )
    assert DecoderShape.from_config(config) == QWEN2_7B


def test_what_is_refused():
    with pytest.raises(ValueError, match="tokens of 2 layers given, expected one number or 28"):
        fastvid_flops([1, 2], QWEN2_7B)
    with pytest.raises(ValueError, match=r"layer=29 given, expected 0\.\.28"):
        tokens_per_layer(5, QWEN2_7B, layer=29, kept=0.5)
    with pytest.raises(ValueError, match=r"kept=1\.5 given, expected a share in \[0, 1\]"):
        tokens_per_layer(5, QWEN2_7B, layer=2, kept=1.5)
