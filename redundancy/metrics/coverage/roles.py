"""What becomes of each token of a video in a reduction."""

from __future__ import annotations

import torch
from jaxtyping import Int64
from torch import Tensor

from redundancy.reduction import Reduction

ROLES = ("dropped", "merged", "kept")


def token_roles(reduction: Reduction) -> Int64[Tensor, "frames tokens"]:
    """Whether each token is kept, merged or dropped.

    A token is *kept* where an output stands in its place (it is an anchor), *merged* where it is none and some of it
    goes into an output, *dropped* otherwise. An anchor may take in others: it still counts as kept.

    Parameters
    ----------
    reduction
        Outer, inner or composed. Tokens that were gone before it are dropped; newlines are no tokens.

    Returns
    -------
    `[T, N]` index into `ROLES`.
    """
    T, N = reduction.grid.frames, reduction.grid.tokens_per_frame
    roles = torch.zeros(T * N, dtype=torch.int64, device=reduction.anchor.device)
    moved = reduction.slots[reduction.source[reduction.weight > 0]]
    roles[moved[moved >= 0]] = ROLES.index("merged")
    anchors = reduction.anchor_token
    roles[anchors[anchors >= 0]] = ROLES.index("kept")
    return roles.view(T, N)
