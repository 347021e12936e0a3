"""How much the tokens of one frame resemble each other, and where salience concentrates.

Everything is computed in float32 from whatever dtype comes in, in blocks of frames. A zero vector has no direction: it
is left out of everything that cosines make.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.kernels.gram import (
    ROUNDING,
    component_labels,
    cosines,
    frame_blocks,
    of_pairs,
    quantiles,
    singular_values,
)
from redundancy.metrics.kernels.peaks import frame_peaks
from redundancy.metrics.registry import metric
from redundancy.tokens import TokenGrid

NORMAL_MAD = 1.4826  # the standard deviation of a normal distribution over its median absolute deviation
PEAKS = "FastVID (arXiv:2503.11187), section 3.3, after Rodriguez and Laio 2014"


class WithinFrame(NamedTuple):
    """Cosines of the tokens of each frame with each other: their mean `[T]` and quantiles `[T, quantile]`."""

    within_frame_similarity: Float[Tensor, "frames"]
    within_frame_quantile: Float[Tensor, "frames quantiles"]


class Ranks(NamedTuple):
    """Soft numbers of independent directions of each frame's tokens, `[T]` each."""

    effective_rank: Float[Tensor, "frames"]
    stable_rank: Float[Tensor, "frames"]


@metric(
    dims={"within_frame_similarity": ("frame",), "within_frame_quantile": ("frame", "quantile")},
    unit="1",
    bounds=(-1, 1),
    higher="more redundant: the tokens of the frame look alike",
    source="own",
    known=("identical tokens: 1", "orthogonal tokens: 0", "k directions in turn, N tokens: (N / k - 1) / (N - 1)"),
    nulls=("gaussian",),
    undefined="in frames with fewer than two tokens that are not zero",
    scale=0,
    frame_order="equivariant",
    token_order="invariant",
    block="frame",
)
def within_frame_similarity(
    tokens: Float[Tensor, "frames tokens channels"],
    *,
    quantile: Sequence[int | float] = (0.05, 0.25, 0.5, 0.75, 0.95),
) -> WithinFrame:
    """Mean and quantiles of the cosine of two different tokens of a frame.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    quantile
        In 0..1, linear between the cosines.

    Returns
    -------
    `within_frame_similarity` `[T]` in [-1 / (N - 1), 1] and `within_frame_quantile` `[T, quantile]`, float32; NaN in
    frames with fewer than two tokens that are not zero.

    Raises
    ------
    ValueError
        If a quantile is not in 0..1.
    """
    means, values = [], []
    for block in frame_blocks(tokens):
        pairs = of_pairs(cosines(block))
        means.append(pairs.nanmean(-1))
        values.append(quantiles(pairs, quantile))
    return WithinFrame(torch.cat(means), torch.cat(values))


@metric(
    dims=("frame", "tau"),
    unit="1",
    bounds=(0, 1),
    higher="more redundant: more tokens are a near copy of another, or linked to it by near copies",
    source="own",
    known=("k distinct directions: 1 - k / N", "orthogonal tokens: 0"),
    nulls=("gaussian",),
    undefined="in frames of zero tokens",
    scale=0,
    frame_order="equivariant",
    token_order="invariant",
    block="frame",
)
def duplicate_fraction(
    tokens: Float[Tensor, "frames tokens channels"],
    *,
    tau: Sequence[int | float] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
) -> Float[Tensor, "frames taus"]:
    """Share of tokens that a frame could do without if alike tokens were one, `1 - C / N`.

    C counts the connected components of the graph that links two tokens of a frame where their cosine is at least tau,
    rounding of float32 (1e-6) aside, so that tau = 1 finds copies.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    tau
        Cosines in -1..1.

    Returns
    -------
    `[T, tau]` float32 in [0, 1 - 1 / N]; N counts tokens that are not zero, and without any it is NaN.

    Raises
    ------
    ValueError
        If a tau is not in -1..1.
    """
    if not all(-1 <= t <= 1 for t in tau):
        raise ValueError(f"tau={tuple(tau)} given, expected cosines in -1..1")
    least = torch.tensor([t - ROUNDING for t in tau], device=tokens.device)[:, None, None]
    place = torch.arange(tokens.shape[1], device=tokens.device)

    def of(block: Tensor) -> Tensor:
        cosine = cosines(block)
        directed = (~cosine.diagonal(dim1=-2, dim2=-1).isnan())[:, None]
        first = component_labels(cosine[:, None] >= least) == place
        return 1 - (first & directed).sum(-1).float() / directed.sum(-1)

    return torch.cat([of(block) for block in frame_blocks(tokens, width=tokens.shape[1] * len(tau))])


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
    `[T]` each, float32 in [1, min(N, D)]; NaN in frames of zero tokens.

    Source: Roy and Vetterli 2007; stable rank: Rudelson and Vershynin 2007.
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
    `[T]` float32 in [0, 1]; NaN in frames of zero tokens, and for M = 1.

    Source: own, from Roy and Vetterli 2007.
    """
    most = min(tokens.shape[1:])
    missing = most - effective_rank(tokens).effective_rank
    return missing / (most - 1) if most > 1 else missing * torch.nan


@metric(
    dims=("frame", "token"),
    unit="1",
    bounds=(0, 1),
    higher="the token lies closer to its nearest neighbours",
    source=PEAKS,
    known=("identical tokens: 1", "two tokens at distance d, k = 2: exp(-d^2 / 2)"),
    frame_order="equivariant",
    token_order="equivariant",
    block="frame",
)
def density(tokens: Float[Tensor, "frames tokens channels"], *, k: int = 4) -> Float[Tensor, "frames tokens"]:
    """Local density of each token in its frame, `exp(-mean squared distance to its k nearest)`; see `density_peaks`.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    k
        Neighbours, the token itself included.

    Returns
    -------
    `[T, N]` float32 in (0, 1].

    Raises
    ------
    ValueError
        If k is below 1.

    Source: FastVID (arXiv:2503.11187), section 3.3.
    """
    return frame_peaks(tokens, k=k)[0]


@metric(
    dims=("frame", "token"),
    unit="feature units / sqrt(D)",
    bounds=(0, math.inf),
    higher="the token lies farther from any denser one",
    source=PEAKS,
    known=("identical tokens: 0", "the densest token: the largest distance in the frame"),
    frame_order="equivariant",
    token_order="equivariant",
    block="frame",
)
def parent_distance(tokens: Float[Tensor, "frames tokens channels"], *, k: int = 4) -> Float[Tensor, "frames tokens"]:
    """Distance of each token to the nearest denser one of its frame, in units of `sqrt(D)`; see `density_peaks`.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    k
        Neighbours of the density, the token itself included.

    Returns
    -------
    `[T, N]` float32; for the densest tokens the largest distance of the frame.

    Raises
    ------
    ValueError
        If k is below 1.

    Source: FastVID (arXiv:2503.11187), section 3.3.
    """
    return frame_peaks(tokens, k=k)[1]


@metric(
    dims=("frame", "token"),
    unit="feature units / sqrt(D)",
    bounds=(0, math.inf),
    higher="the token is more of a cluster's centre",
    source=PEAKS,
    known=("identical tokens: 0", "a dense token far from denser ones: the product of both"),
    frame_order="equivariant",
    token_order="equivariant",
    block="frame",
)
def density_score(tokens: Float[Tensor, "frames tokens channels"], *, k: int = 4) -> Float[Tensor, "frames tokens"]:
    """Density times parent distance: high at the centre of each cluster of a frame; see `density_peaks`.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    k
        Neighbours of the density, the token itself included.

    Returns
    -------
    `[T, N]` float32.

    Raises
    ------
    ValueError
        If k is below 1.

    Source: FastVID (arXiv:2503.11187), section 3.3.
    """
    return frame_peaks(tokens, k=k)[2]


def _neighbours(grid: TokenGrid, device: torch.device) -> tuple[Tensor, Tensor]:
    """Places of each two cells that share an edge."""
    place = torch.arange(grid.rows * grid.cols, device=device).view(grid.rows, grid.cols)
    first = torch.cat([place[:, :-1].flatten(), place[:-1].flatten()])
    return first, torch.cat([place[:, 1:].flatten(), place[1:].flatten()])


@metric(
    dims=("frame",),
    unit="1",
    bounds=(-2, 2),
    higher="more redundant: neighbours look alike more than any two tokens do",
    source="own",
    known=("two flat halves of 4 cells in a row: 1/3", "2 x 2 chessboard: -1/3", "identical tokens: 0"),
    nulls=("shuffle_tokens", "gaussian"),
    undefined="in frames without two neighbours that are not zero",
    scale=0,
    frame_order="equivariant",
    block="frame",
)
def spatial_smoothness(tokens: Float[Tensor, "frames tokens channels"], grid: TokenGrid) -> Float[Tensor, "frames"]:
    """Mean cosine of the 4-neighbours of the grid minus that of all pairs of tokens of the frame.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    grid
        Its N = rows * cols.

    Returns
    -------
    `[T]` float32 in [-2, 2], 0 in expectation where places are shuffled; NaN in frames without two neighbours that are
    not zero.

    Raises
    ------
    ValueError
        If the grid does not fit.
    """
    N = tokens.shape[1]
    if grid.tokens_per_frame != N:
        raise ValueError(f"grid={grid} given, expected one of {N} tokens per frame")
    first, second = _neighbours(grid, tokens.device)

    def of(block: Tensor) -> Tensor:
        cosine = cosines(block)
        return cosine[:, first, second].nanmean(-1) - of_pairs(cosine).nanmean(-1)

    return torch.cat([of(block) for block in frame_blocks(tokens)])
