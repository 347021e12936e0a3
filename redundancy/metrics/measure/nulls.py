"""What a metric would be if there were no redundancy of one kind: null models of tokens, and a score against them.

Which nulls make sense for a metric is one of its facts (`Metric.nulls`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.registry import NULLS

DRAWS = 99
ROUNDING = 1e-12  # of float64 beside the values


def shuffle_frames(
    tokens: Float[Tensor, "frames tokens channels"], *, seed: int
) -> Float[Tensor, "frames tokens channels"]:
    """The same frames in a random order: what is left of a metric is not owed to time.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    seed
        Of the order; the same on every device.

    Returns
    -------
    `[T, N, D]`, every frame bit for bit.
    """
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(seed))
    return tokens[order.to(tokens.device)]


def shuffle_tokens(
    tokens: Float[Tensor, "frames tokens channels"], *, seed: int
) -> Float[Tensor, "frames tokens channels"]:
    """The same tokens at random places of their own frame, each frame by itself: what is left is not owed to places.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    seed
        Of the permutations; the same on every device.

    Returns
    -------
    `[T, N, D]`, every token bit for bit, in its frame.
    """
    T, N, _ = tokens.shape
    keys = torch.rand(T, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    frame = torch.arange(T, device=tokens.device)[:, None]
    return tokens[frame, keys.argsort(1).to(tokens.device)]


def gaussian(tokens: Float[Tensor, "frames tokens channels"], *, seed: int) -> Float[Tensor, "frames tokens channels"]:
    """Normal tokens of the same mean and covariance, independent over places and frames.

    `x = mean + G (tokens - mean) / sqrt(T N - 1)` with standard normal G: given the tokens, the covariance of a row is
    exactly their sample covariance, and no D x D matrix is built. G is drawn and multiplied frame by frame, a draw
    costs 2 (T N)^2 D operations. At T N = 6272, D = 3584 these are 2.8e11: 3 s on a processor core, so 5 minutes for 99
    draws. G is drawn on the processor, so that a seed gives the same draw everywhere.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    seed
        Of G.

    Returns
    -------
    `[T, N, D]` float32; NaN for a single token, which has no covariance.
    """
    T, N, D = tokens.shape
    mean = tokens.mean((0, 1), dtype=torch.float64).float()
    scaled = (tokens.float() - mean).reshape(T * N, D) / torch.tensor(T * N - 1.0).sqrt()  # 0 / 0 is NaN: one token
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.empty(T, N, D, device=tokens.device)
    for frame in drawn:
        torch.addmm(mean, torch.randn(N, T * N, generator=generator).to(tokens.device), scaled, out=frame)
    return drawn


NULL_MODELS: dict[str, Callable[..., Tensor]] = dict(
    zip(NULLS, (shuffle_frames, shuffle_tokens, gaussian), strict=True)
)


class NullScore(NamedTuple):
    """Where an observed value stands among draws of a null model.

    `mean` and `sd` are those of the draws, `z = (observed - mean) / sd`, `p` is two-sided and `draws` the number of
    defined draws.
    """

    mean: Float[Tensor, "*shape"]
    sd: Float[Tensor, "*shape"]
    z: Float[Tensor, "*shape"]
    p: Float[Tensor, "*shape"]
    draws: Float[Tensor, "*shape"]


def null_score(observed: Float[Tensor, "*shape"], draws: Float[Tensor, "draws *shape"]) -> NullScore:
    """Standardised distance of a value from the mean of a null, and the two-sided p of a Monte Carlo test.

    `p = (1 + #{|draw - middle| >= |observed - middle|}) / (B + 1)`, the middle being the mean of all B + 1 values, the
    observed one among them: under the null all of them are alike, so that p <= alpha has a probability of alpha where
    alpha (B + 1) is a whole number. The least p is 1 / (B + 1). Draws that are NaN are left out of B.

    Parameters
    ----------
    observed
        A metric's values on the video, any shape.
    draws
        `[B, ...]` the same on B draws.

    Returns
    -------
    Per element five float32: mean, sd (with B - 1), z, p and the number of defined draws. Where the observed value or
    all draws are undefined z and p are NaN; z also where the draws are all equal, or fewer than two.

    Raises
    ------
    ValueError
        If there are no draws, or they are of another shape.

    Source: p after Phipson and Smyth 2010 (doi:10.2202/1544-6115.1585).
    """
    if not len(draws):
        raise ValueError("0 draws given, expected at least 1")
    if draws.shape[1:] != observed.shape:
        raise ValueError(f"draws of shape {tuple(draws.shape)} given, expected (draws, *{tuple(observed.shape)})")
    value, null = observed.double(), draws.double()
    number = (~null.isnan()).sum(0)
    mean = null.nanmean(0)
    squares = (null - mean).square().nansum(0)
    constant = null.nan_to_num(nan=torch.inf).amin(0) == null.nan_to_num(nan=-torch.inf).amax(0)
    sd = torch.where(constant, 0, squares / (number - 1)).sqrt()
    sd = torch.where(number > 1, sd, torch.nan)
    middle = (null.nansum(0) + value) / (number + 1)
    distance = (value - middle).abs()
    # equal distances on both sides of the middle, and equal values, differ by rounding
    extreme = ((null - middle).abs() >= distance - ROUNDING * (distance + middle.abs())).sum(0)
    defined = ~value.isnan() & (number > 0)
    p = torch.where(defined, (1 + extreme) / (number + 1), torch.nan)
    z = torch.where(sd > 0, (value - mean) / sd, torch.nan)
    return NullScore(mean.float(), sd.float(), z.float(), p.float(), number.float())
