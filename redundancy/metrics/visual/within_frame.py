"""How much the tokens of one frame resemble each other.

Everything is computed in float32 from whatever dtype comes in, in blocks of frames. A zero vector has no direction: it
is left out of everything that cosines make.
"""

from __future__ import annotations

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
)
from redundancy.metrics.registry import metric
from redundancy.tokens import TokenGrid


class WithinFrame(NamedTuple):
    """Cosines of the tokens of each frame with each other: their mean `[T]` and quantiles `[T, quantile]`."""

    within_frame_similarity: Float[Tensor, "frames"]
    within_frame_quantile: Float[Tensor, "frames quantiles"]


@metric(
    dims={"within_frame_similarity": ("frame",), "within_frame_quantile": ("frame", "quantile")},
    unit="1",
    bounds=(-1, 1),
    higher="more redundant: the tokens of the frame look alike",
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
    `within_frame_similarity` `[T]`, at least -1 / (N - 1), and `within_frame_quantile` `[T, quantile]`, float32.

    Raises
    ------
    ValueError
        If a quantile is not in 0..1.

    Examples
    --------
    >>> within_frame_similarity(torch.eye(3)[None]).within_frame_similarity
    tensor([0.])
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
    `[T, tau]` float32, at most 1 - 1 / N; N counts tokens that are not zero.

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
    `[T]` float32, 0 in expectation where places are shuffled.

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
