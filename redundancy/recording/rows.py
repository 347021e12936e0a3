"""Attention rows: the softmax of chosen queries over all keys, as a model computes it, without the square.

Wanted queries are projected again and keys are taken from the cache, so the model keeps its own attention
implementation. Memory grows with rows x keys.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from redundancy.models.cache_name import cache_in


def attention_rows(
    query: Float[Tensor, "batch heads rows channels"],
    key: Float[Tensor, "batch key_heads keys channels"],
    *,
    scale: float,
    columns: Int[Tensor, "rows"],
    mask: Tensor | None = None,
) -> Float[Tensor, "batch heads rows keys"]:
    """Softmax of chosen queries over all keys, float32; heads that share keys are folded instead of repeating them.

    Parameters
    ----------
    query
        Rotated queries of the chosen rows.
    key
        Rotated keys of the whole sequence.
    scale
        Of the products.
    columns
        `[rows]` column of each query in the sequence of the keys; later keys are not seen.
    mask
        None; `[batch, keys]` with 0 at padding; or the rows of a 4-D mask, boolean or additive.

    Returns
    -------
    Rows sum to 1; a row that may see no key is 0.
    """
    B, H, R, d = query.shape
    groups, S = key.shape[1], key.shape[2]
    folded = query.float().reshape(B, groups, (H // groups) * R, d)
    score = (folded @ key.float().transpose(2, 3)).view(B, H, R, S) * scale
    seen = torch.arange(S, device=key.device) <= columns.to(key.device)[:, None]
    score = score.masked_fill(~seen, -torch.inf)
    if mask is not None and mask.dim() == 2:
        score = score.masked_fill(~mask[:, None, None, :S].bool(), -torch.inf)
    elif mask is not None and mask.dtype == torch.bool:
        score = score.masked_fill(~mask[..., :S], -torch.inf)
    elif mask is not None:
        lowest = torch.finfo(mask.dtype).min
        score = torch.where(mask[..., :S] <= lowest, -torch.inf, score + mask[..., :S].float())
    rows: Tensor = score.softmax(-1).nan_to_num(0.0)
    return rows


def layer_rows(
    module: Any,
    hidden: Float[Tensor, "batch length channels"],
    arguments: dict[str, Any],
    *,
    columns: Int[Tensor, "rows"],
) -> Float[Tensor, "batch heads rows keys"]:
    """Attention of chosen columns of one decoder layer, from what its attention module was called with.

    Parameters
    ----------
    module
        Attention module of the layer, after its forward.
    hidden
        States that entered it.
    arguments
        Its keyword arguments: rotary tables, mask, cache.
    columns
        Of the states. Where the cache holds more keys than there are states, these are its last ones.

    Returns
    -------
    Rows over all keys, float32.
    """
    cache, mask = cache_in(arguments), arguments.get("attention_mask")
    query = _project(module.q_proj, getattr(module, "q_norm", None), hidden[:, columns], module.head_dim)
    cos, sin = (table.to(query.device) for table in arguments["position_embeddings"])  # accelerate may move hidden only
    columns, mask = columns.to(query.device), mask if mask is None else mask.to(query.device)
    query = _rotate(query, cos[:, columns], sin[:, columns])
    if cache is not None:
        key = cache.layers[module.layer_idx].keys
    else:
        key = _rotate(_project(module.k_proj, getattr(module, "k_norm", None), hidden, module.head_dim), cos, sin)
    if mask is not None and mask.dim() == 4:
        mask = mask[:, :, columns]
    before = key.shape[2] - hidden.shape[1]
    return attention_rows(query, key, scale=module.scaling, columns=columns + before, mask=mask)


def _project(projection: nn.Module, norm: nn.Module | None, hidden: Tensor, head_dim: int) -> Tensor:
    heads = projection(hidden).unflatten(-1, (-1, head_dim))
    projected: Tensor = heads if norm is None else norm(heads)
    return projected.transpose(1, 2)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]
