"""FLOPs of the language model on the tokens of a video, as the papers count them.

The two published formulas differ: FastVID's shares keys and values among heads and has the three matrices of a gated
feed-forward layer, HoliTom's has full keys and values and two matrices. Both count a multiply-add as one and leave out
the vision tower, text, norms and the vocabulary. Numbers of the two are not to be compared with each other.

In a mixture of experts a token visits few of the experts, and the formulas count those that it visits. Its router, one
row of the width per expert, is left out like norms: below 1% of the feed-forward layers of the published Qwen3-VL.
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
        Channels inside the feed-forward layer that a token passes; one number, or one per layer where layers differ. In
        a sparse layer those of all experts that a token visits, shared ones included.
    key_value_heads, head_width
        Heads that keys and values have, and channels of each.
    """

    layers: int
    width: int
    ffn_width: int | tuple[int, ...]
    key_value_heads: int
    head_width: int

    def __post_init__(self) -> None:
        if isinstance(self.ffn_width, tuple) and len(self.ffn_width) != self.layers:
            raise ValueError(f"ffn_width of {len(self.ffn_width)} layers given, expected one number or {self.layers}")

    @property
    def ffn_widths(self) -> tuple[int, ...]:
        """`ffn_width` of every layer."""
        return self.ffn_width if isinstance(self.ffn_width, tuple) else (self.ffn_width,) * self.layers

    @classmethod
    def from_config(cls, config: Any) -> DecoderShape:
        """Shape of a text model, from its configuration in transformers.

        A sparse layer counts `num_experts_per_tok * moe_intermediate_size` channels, and those of shared experts; which
        layers are sparse is read from `decoder_sparse_step`, `mlp_only_layers`, `first_k_dense_replace` or
        `mlp_layer_types`.

        Raises
        ------
        ValueError
            If the configuration has experts and does not say how many a token visits, or how wide they are; if it has
            layers whose attention is not the full one that the formulas count.

        The rules are those of the layers in transformers.
        """
        others = set(getattr(config, "layer_types", None) or ()) - {"full_attention"}
        if others:
            raise ValueError(
                f"a {type(config).__name__} with layers of {', '.join(sorted(others))} given, expected full attention, "
                "which is what the formulas count"
            )
        heads = config.num_attention_heads
        widths = _ffn_widths(config)
        return cls(
            layers=config.num_hidden_layers,
            width=config.hidden_size,
            ffn_width=widths[0] if len(set(widths)) == 1 else widths,
            key_value_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_width=getattr(config, "head_dim", None) or config.hidden_size // heads,
        )


def _ffn_widths(config: Any) -> tuple[int, ...]:
    """Channels of the feed-forward layers that a token passes, per layer."""
    experts = _first(config, "num_experts", "n_routed_experts", "num_local_experts")
    sparse = _sparse_layers(config) if experts else [False] * config.num_hidden_layers
    through = _active_width(config) if any(sparse) else 0
    return tuple(through if here else int(config.intermediate_size) for here in sparse)


def _sparse_layers(config: Any) -> list[bool]:
    """Whether each layer of a mixture of experts has experts."""
    count = config.num_hidden_layers
    types = getattr(config, "mlp_layer_types", None)
    if types is not None:
        return [kind == "sparse" for kind in types]
    step = getattr(config, "decoder_sparse_step", None) or 1
    dense = set(getattr(config, "mlp_only_layers", None) or ())
    dense |= set(range(getattr(config, "first_k_dense_replace", None) or 0))
    return [layer not in dense and (layer + 1) % step == 0 for layer in range(count)]


def _active_width(config: Any) -> int:
    """Channels of the experts that a token visits in a sparse layer, shared ones included."""
    visited = _first(config, "num_experts_per_tok", "num_experts_per_token", "moe_topk")
    width = _first(config, "moe_intermediate_size")
    if visited is None or width is None:
        raise ValueError(
            f"a {type(config).__name__} with experts, num_experts_per_tok={visited} and moe_intermediate_size={width} "
            "given, expected both"
        )
    shared = _first(config, "shared_expert_intermediate_size") or (_first(config, "n_shared_experts") or 0) * width
    return int(visited * width + shared)


def _first(config: Any, *names: str) -> int | None:
    """The first of the fields that the configuration has."""
    return next((int(v) for v in (getattr(config, name, None) for name in names) if v is not None), None)


QWEN2_7B = DecoderShape(layers=28, width=3584, ffn_width=18944, key_value_heads=4, head_width=128)
QWEN2_72B = DecoderShape(layers=80, width=8192, ffn_width=29568, key_value_heads=8, head_width=128)


def tokens_per_layer(tokens: int | float, shape: DecoderShape, *, layer: int, kept: int | float) -> list[float]:
    """Tokens in each layer when the layers from `layer` on see only the share `kept` of them.

    Raises
    ------
    ValueError
        If there is no such layer, or the share is not in [0, 1].
    """
    if not 0 <= layer <= shape.layers:
        raise ValueError(f"layer={layer} given, expected 0..{shape.layers}")
    if not 0 <= kept <= 1:
        raise ValueError(f"kept={kept} given, expected a share in [0, 1]")
    return [float(tokens)] * layer + [float(tokens * kept)] * (shape.layers - layer)


def fastvid_flops(tokens: Tokens, shape: DecoderShape) -> float:
    """FLOPs of prefilling n tokens: per layer `2 n D^2 + 2 n D h d + 2 n^2 D + 3 n D D'`.

    D is the width, D' that of the feed-forward layer (see `DecoderShape.ffn_width`), h d that of keys and values.

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
    D, shared = shape.width, shape.key_value_heads * shape.head_width
    return _over_layers(lambda n, m: 2 * n * D**2 + 2 * n * D * shared + 2 * n**2 * D + 3 * n * D * m, tokens, shape)


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
    d = shape.width
    return _over_layers(lambda n, m: 4 * n * d**2 + 2 * n**2 * d + 2 * n * d * m, tokens, shape)


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
    d, R = shape.width, answer
    return _over_layers(lambda n, m: R * ((4 * d**2 + 2 * d * m) + 2 * (d * n + d * (R + 1) / 2)), tokens, shape)


def _over_layers(flops: Callable[[float, int], float], tokens: Tokens, shape: DecoderShape) -> float:
    """Sum over layers of the FLOPs at their number of tokens and width of the feed-forward layer."""
    each = [tokens] * shape.layers if isinstance(tokens, int | float) else tokens
    if len(each) != shape.layers:
        raise ValueError(f"tokens of {len(each)} layers given, expected one number or {shape.layers}")
    return float(sum(flops(n, m) for n, m in zip(each, shape.ffn_widths, strict=True)))
