"""Ranks with ties, and what is made of them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Float64, Num
from torch import Tensor


def average_rank(values: Num[Tensor, "*rows points"]) -> Float64[Tensor, "*rows points"]:
    """Rank of each value in its row, 1 for the lowest; equal values share the mean of their ranks.

    As scipy.stats.rankdata does with method="average".
    """
    given = values.contiguous()
    ordered = given.sort(-1).values
    below, up_to = torch.searchsorted(ordered, given), torch.searchsorted(ordered, given, right=True)
    return (below + up_to + 1).double() / 2


def spearman(first: Num[Tensor, "*rows points"], second: Num[Tensor, "*others points"]) -> Float[Tensor, "*both"]:
    """Spearman's rank correlation of rows of values: Pearson's of their average ranks.

    Parameters
    ----------
    first, second
        Values along the last dimension; leading dimensions are broadcast.

    Returns
    -------
    float32 in [-1, 1]; NaN where one of the two is constant.

    Source: Spearman 1904.
    """
    return spearman64(first, second).float()


def spearman64(first: Num[Tensor, "*rows points"], second: Num[Tensor, "*others points"]) -> Float64[Tensor, "*both"]:
    """`spearman` in float64."""
    middle = (first.shape[-1] + 1) / 2
    a, b = average_rank(first) - middle, average_rank(second) - middle
    size = a.square().sum(-1).sqrt() * b.square().sum(-1).sqrt()
    return (a * b).sum(-1) / size


def top_count(share: int | float, count: int) -> int:
    """Size of the top `share` of `count` points: `ceil(share * count)`, at least 1.

    Raises
    ------
    ValueError
        If the share is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"top={share} given, expected a share in (0, 1]")
    return max(1, math.ceil(share * count - 1e-9))  # 0.07 * 100 is 7.000000000000001 in binary
