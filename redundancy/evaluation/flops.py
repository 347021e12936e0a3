"""FLOPs of the language model on the tokens of a video, as the papers count them.

The two published formulas differ: FastVID's shares keys and values among heads and has the three matrices of a gated
feed-forward layer, HoliTom's has full keys and values and two matrices. Both count a multiply-add as one and leave out
the vision tower, text, norms and the vocabulary. Numbers of the two are not to be compared with each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Tokens = int | float | Sequence[int | float]


@dataclass(frozen=True)
class DecoderShape:
    """What the formulas need of a language model.

    Parameters
    ----------
    layers
        Number of decoder layers.
    width
        Channels of the hidden states; the formulas take queries to be as wide.
    ffn_width
        Channels inside the feed-forward layer.
    key_value_heads, head_width
        Heads that keys and values have, and channels of each.
    """

    layers: int
    width: int
    ffn_width: int
    key_value_heads: int
    head_width: int

    @classmethod
    def from_config(cls, config: Any) -> DecoderShape:
        """Shape of a text model, from its configuration in transformers.

        Source: own.
        """
        heads = config.num_attention_heads
        return cls(
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            ffn_width=config.intermediate_size,
            key_value_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_width=getattr(config, "head_dim", None) or config.hidden_size // heads,
        )


QWEN2_7B = DecoderShape(layers=28, width=3584, ffn_width=18944, key_value_heads=4, head_width=128)
QWEN2_72B = DecoderShape(layers=80, width=8192, ffn_width=29568, key_value_heads=8, head_width=128)


def tokens_per_layer(tokens: int | float, shape: DecoderShape, *, layer: int, kept: int | float) -> list[float]:
    """Tokens in each layer when the layers from `layer` on see only the share `kept` of them.

    Raises
    ------
    ValueError
        If there is no such layer, or the share is not in [0, 1].

    Source: own; the schedule of FastV and of HoliTom's inner merging.
    """
    if not 0 <= layer <= shape.layers:
        raise ValueError(f"layer={layer} given, expected 0..{shape.layers}")
    if not 0 <= kept <= 1:
        raise ValueError(f"kept={kept} given, expected a share in [0, 1]")
    return [float(tokens)] * layer + [float(tokens * kept)] * (shape.layers - layer)


def fastvid_flops(tokens: Tokens, shape: DecoderShape) -> float:
    """FLOPs of prefilling n tokens: per layer `2 n D^2 + 2 n D h d + 2 n^2 D + 3 n D D'`.

    D is the width, D' that of the feed-forward layer, h d that of keys and values.

    Parameters
    ----------
    tokens
        n: one number, or one per layer; means over videos may be fractions.
    shape
        Of the language model.

    Returns
    -------
    FLOPs, a multiply-add counted as one.

    Raises
    ------
    ValueError
        If there is not one number per layer.

    Source: FastVID (arXiv:2503.11187), appendix A.2.
    """
    D, ffn, shared = shape.width, shape.ffn_width, shape.key_value_heads * shape.head_width
    return _over_layers(lambda n: 2 * n * D**2 + 2 * n * D * shared + 2 * n**2 * D + 3 * n * D * ffn, tokens, shape)


def holitom_flops(tokens: Tokens, shape: DecoderShape) -> float:
    """FLOPs of prefilling n tokens: per layer `4 n d^2 + 2 n^2 d + 2 n d m`.

    d is the width, m that of the feed-forward layer.

    Parameters
    ----------
    tokens
        n: one number, or one per layer; means over videos may be fractions.
    shape
        Of the language model.

    Returns
    -------
    FLOPs, a multiply-add counted as one.

    Raises
    ------
    ValueError
        If there is not one number per layer.

    Source: HoliTom (arXiv:2505.21334), the authors' answer in issue 2 of their code.
    """
    d, m = shape.width, shape.ffn_width
    return _over_layers(lambda n: 4 * n * d**2 + 2 * n**2 * d + 2 * n * d * m, tokens, shape)


def holitom_decode_flops(tokens: Tokens, shape: DecoderShape, *, answer: int = 100) -> float:
    """FLOPs of decoding R tokens after n: per layer `R ((4 d^2 + 2 d m) + 2 (d n + d (R + 1) / 2))`.

    Parameters
    ----------
    tokens
        n: one number, or one per layer.
    shape
        Of the language model.
    answer
        R, the number of tokens of the answer.

    Returns
    -------
    FLOPs, a multiply-add counted as one. The published TFLOPs are those of the prefill alone.

    Raises
    ------
    ValueError
        If there is not one number per layer.

    Source: HoliTom (arXiv:2505.21334), the authors' answer in issue 2 of their code.
    """
    d, m, R = shape.width, shape.ffn_width, answer
    return _over_layers(lambda n: R * ((4 * d**2 + 2 * d * m) + 2 * (d * n + d * (R + 1) / 2)), tokens, shape)


def _over_layers(flops: Callable[[float], float], tokens: Tokens, shape: DecoderShape) -> float:
    """Sum over layers of the FLOPs at their number of tokens."""
    if isinstance(tokens, int | float):
        return shape.layers * float(flops(tokens))
    if len(tokens) != shape.layers:
        raise ValueError(f"tokens of {len(tokens)} layers given, expected one number or {shape.layers}")
    return float(sum(flops(n) for n in tokens))
