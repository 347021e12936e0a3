"""How many directions the tokens of one frame span."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.kernels.gram import (
    singular_values,
)
from redundancy.metrics.registry import metric


class Ranks(NamedTuple):
    """Soft numbers of independent directions of each frame's tokens, `[T]` each."""

    effective_rank: Float[Tensor, "frames"]
    stable_rank: Float[Tensor, "frames"]


@metric(
    dims={"effective_rank": ("frame",), "stable_rank": ("frame",)},
    unit="1",
    bounds=(1, math.inf),
    higher="less redundant: the tokens of the frame span more directions, more evenly",
    source="Roy and Vetterli 2007; stable rank: Rudelson and Vershynin 2007",
    known=("identical tokens: 1", "orthonormal tokens: N"),
    nulls=("gaussian",),
    undefined="in frames of zero tokens",
    scale=0,
    frame_order="equivariant",
    token_order="invariant",
    block="frame",
)
def effective_rank(tokens: Float[Tensor, "frames tokens channels"]) -> Ranks:
    """Number of directions that the tokens of a frame span, each counted by its singular value.

    `effective_rank = exp(-sum p ln p)` with `p = sigma / sum sigma`; `stable_rank = sum sigma^2 / max sigma^2`.

    Parameters
    ----------
    tokens
        `[T, N, D]`, not centred.

    Returns
    -------
    `[T]` each, float32, at most min(N, D).
    """
    sigma = singular_values(tokens)
    entropy = torch.special.entr(sigma / sigma.sum(-1, keepdim=True)).sum(-1)
    return Ranks(entropy.exp().float(), (sigma.square().sum(-1) / sigma[:, 0].square()).float())


@metric(
    dims=("frame",),
    unit="1",
    bounds=(0, 1),
    higher="more redundant: the tokens of the frame span few directions",
    source="own, from Roy and Vetterli 2007",
    known=("identical tokens: 1", "orthonormal tokens: 0"),
    nulls=("gaussian",),
    undefined="in frames of zero tokens, and for one token or one channel",
    scale=0,
    frame_order="equivariant",
    token_order="invariant",
    block="frame",
)
def visual_redundancy(tokens: Float[Tensor, "frames tokens channels"]) -> Float[Tensor, "frames"]:
    """Share of the directions that a frame's tokens could span and do not, `(M - effective_rank) / (M - 1)`.

    Parameters
    ----------
    tokens
        `[T, N, D]`; M = min(N, D).

    Returns
    -------
    `[T]` float32.
    """
    most = min(tokens.shape[1:])
    missing = most - effective_rank(tokens).effective_rank
    return missing / (most - 1) if most > 1 else missing * torch.nan
