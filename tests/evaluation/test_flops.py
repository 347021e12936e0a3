"""Both formulas against every number that the papers print."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import Qwen2Config
from transformers.models.qwen3_vl_moe.configuration_qwen3_vl_moe import Qwen3VLMoeTextConfig
from transformers.models.qwen3_vl_moe.modeling_qwen3_vl_moe import Qwen3VLMoeTextModel

from redundancy.evaluation.cost.flops import (
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


EXPERTS = {
    "num_hidden_layers": 5,
    "hidden_size": 32,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 11,
    "num_experts": 6,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 20,
}
MIXTURES: dict[str, tuple[dict[str, Any], int | tuple[int, ...]]] = {
    "all sparse": ({}, 40),
    "every second layer": ({"decoder_sparse_step": 2}, (96, 40, 96, 40, 96)),
    "dense layers by number": ({"mlp_only_layers": [0, 3]}, (96, 40, 40, 96, 40)),
    "both": ({"decoder_sparse_step": 2, "mlp_only_layers": [3]}, (96, 40, 96, 96, 96)),
    "no experts": ({"num_experts": 0}, 96),
    "one expert per token": ({"num_experts_per_tok": 1}, 20),
}


def passed(layer: torch.nn.Module, config: Any) -> float:
    """Channels of a decoder layer's feed-forward part that a token passes, counted by its parameters."""
    experts = getattr(layer.mlp, "experts", None)
    if experts is None:
        return sum(p.numel() for p in layer.mlp.parameters()) / (3 * config.hidden_size)
    share = config.num_experts_per_tok / config.num_experts
    return sum(p.numel() for p in experts.parameters()) * share / (3 * config.hidden_size)


@pytest.mark.parametrize("mixture", MIXTURES)
def test_a_mixture_of_experts_counts_those_that_a_token_visits(mixture):
    settings, expected = MIXTURES[mixture]
    config = Qwen3VLMoeTextConfig(**EXPERTS | settings)
    shape = DecoderShape.from_config(config)
    assert shape.ffn_width == expected
    with torch.device("meta"):  # the layers that are there: an oracle for the rule
        layers = Qwen3VLMoeTextModel(config).layers
    assert shape.ffn_widths == tuple(passed(layer, config) for layer in layers)


def test_flops_of_layers_of_different_width_are_summed_layer_by_layer():
    widths, tokens = (96, 40, 96, 40, 96), [50, 50, 20, 20, 20]
    mixed = DecoderShape(5, 32, widths, 2, 8)
    for function in (fastvid_flops, holitom_flops, holitom_decode_flops):
        parts = [function(n, DecoderShape(1, 32, m, 2, 8)) for n, m in zip(tokens, widths, strict=True)]
        assert function(tokens, mixed) == pytest.approx(sum(parts))
        assert function(50, DecoderShape(5, 32, (40,) * 5, 2, 8)) == function(50, DecoderShape(5, 32, 40, 2, 8))


def test_shapes_of_other_mixtures():
    """Qwen3-VL-30B-A3B; Qwen3.5-35B-A3B with its shared expert; DeepSeek's names, the first layer dense."""
    published = EXPERTS | {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768}
    assert DecoderShape.from_config(Qwen3VLMoeTextConfig(**published)).ffn_width == 6144
    shared = {"num_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 512}
    shared |= {"shared_expert_intermediate_size": 512}
    assert DecoderShape.from_config(SimpleNamespace(**EXPERTS | shared)).ffn_width == 9 * 512
    others = {k: v for k, v in EXPERTS.items() if k != "num_experts"} | {"n_routed_experts": 6, "n_shared_experts": 1}
    first_dense = SimpleNamespace(**others, first_k_dense_replace=1)
    assert DecoderShape.from_config(first_dense).ffn_width == (96, 60, 60, 60, 60)
    listed = SimpleNamespace(**EXPERTS, mlp_layer_types=["dense", "sparse", "dense", "sparse", "sparse"])
    assert DecoderShape.from_config(listed).ffn_width == (96, 40, 96, 40, 40)


def test_what_is_refused():
    with pytest.raises(ValueError, match="num_experts_per_tok=None and moe_intermediate_size=20 given, expected both"):
        DecoderShape.from_config(SimpleNamespace(**{**EXPERTS, "num_experts_per_tok": None}))
    with pytest.raises(ValueError, match="ffn_width of 2 layers given, expected one number or 3"):
        DecoderShape(3, 32, (40, 40), 2, 8)
    with pytest.raises(ValueError, match="tokens of 2 layers given, expected one number or 28"):
        fastvid_flops([1, 2], QWEN2_7B)
    with pytest.raises(ValueError, match=r"layer=29 given, expected 0\.\.28"):
        tokens_per_layer(5, QWEN2_7B, layer=29, kept=0.5)
    with pytest.raises(ValueError, match=r"kept=1\.5 given, expected a share in \[0, 1\]"):
        tokens_per_layer(5, QWEN2_7B, layer=2, kept=1.5)


def test_layers_without_full_attention_are_refused():
    config = Qwen2Config(num_hidden_layers=2, layer_types=["full_attention", "sliding_attention"], sliding_window=4)
    with pytest.raises(ValueError, match="with layers of sliding_attention given, expected full attention"):
        DecoderShape.from_config(config)
