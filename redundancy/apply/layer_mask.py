"""Attention masks of decoder layers that no longer have every column of the prompt.

A mask comes as the text model made it: None (causal, nothing padded), `[B, keys]` (flash attention, 0 at padding), or
`[B, 1, queries, keys]`, boolean (sdpa) or additive (eager).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from redundancy.models.hooks import LayerColumns


def prompt_mask(
    mask: Shaped[Tensor, "..."] | None, left: LayerColumns, dtype: torch.dtype, *, implementation: str
) -> Shaped[Tensor, "..."] | None:
    """The mask of a prefill at the columns that are left.

    Padding attends to itself alone, so that no row is empty.

    Parameters
    ----------
    mask
        Of the whole prompt.
    dtype
        Of the states, for an additive mask.
    implementation
        Of the attention: what form of mask it takes where none was needed before.
    """
    column, valid = left.column, left.valid
    mask = mask if mask is None else mask.to(column.device)  # layers may be on several devices
    if mask is None and bool(valid.all()):
        return None
    S = column.shape[1]
    if mask is None and "flash" in implementation:
        return valid.long()
    if mask is not None and mask.dim() == 2:
        return mask.gather(1, column) * valid
    own = torch.eye(S, dtype=torch.bool, device=column.device)
    seen = valid[:, None, None, :] & valid[:, None, :, None] | own
    if mask is None:
        seen = seen & torch.ones_like(own).tril()
        return seen if implementation == "sdpa" else _additive(seen, dtype)
    short = _keys(mask.expand(len(column), -1, -1, -1).gather(2, _index(column[:, None, :, None], mask, 3)), column)
    if mask.dtype == torch.bool:
        return short & seen | _only(own, ~valid)
    lowest = torch.finfo(mask.dtype).min
    return short.masked_fill(~seen, lowest).masked_fill(_only(own, ~valid), 0)


def step_mask(
    mask: Shaped[Tensor, "..."] | None, left: LayerColumns, *, length: int, generated: int, whole: bool, flash: bool
) -> Shaped[Tensor, "..."] | None:
    """The mask of a decoding step: columns of the prompt that are left, then everything generated.

    Parameters
    ----------
    mask
        As layer 0 takes it, for `length` columns of the prompt and what was generated.
    left
        What this layer has of the prompt.
    length, generated
        Columns of the prompt in layer 0, and tokens after it, this step's included.
    whole
        True if no column of `left` is padding.
    flash
        True if the attention takes 2-D masks.
    """
    if mask is None and whole:
        return None
    B = len(left.column)
    mask = mask if mask is None else mask.to(left.column.device)  # layers may be on several devices
    new = torch.arange(length, length + generated, device=left.column.device).expand(B, -1)
    column = torch.cat([left.column, new], 1)
    valid = torch.cat([left.valid, torch.ones_like(new, dtype=torch.bool)], 1)
    if mask is None:
        return valid.long() if flash else valid[:, None, None, :]
    if mask.dim() == 2:
        return mask.gather(1, column) * valid
    short = _keys(mask.expand(B, -1, -1, -1), column)
    if mask.dtype == torch.bool:
        return short & valid[:, None, None, :]
    return short.masked_fill(~valid[:, None, None, :], torch.finfo(mask.dtype).min)


def _keys(mask: Tensor, column: Tensor) -> Tensor:
    return mask.gather(3, _index(column[:, None, None, :], mask, 2))


def _index(column: Tensor, mask: Tensor, other: int) -> Tensor:
    """Columns `[B, 1, S, 1]` or `[B, 1, 1, S]` repeated along heads and the other axis of a mask."""
    shape = [-1, mask.shape[1], -1, -1]
    shape[other] = mask.shape[other]
    return column.expand(shape)


def _only(own: Tensor, dead: Bool[Tensor, "batch short"]) -> Tensor:
    """True where a dead column looks at itself."""
    return own & dead[:, None, :, None]


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros_like(seen, dtype=dtype).masked_fill(~seen, torch.finfo(dtype).min)
