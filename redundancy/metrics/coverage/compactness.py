"""How well any K tokens could stand for a video: what a reduction's error is to be judged by.

Where a video has more than `sample` tokens, k-means and k-centre run on that many of them, drawn without replacement
by `seed`, alike on every device. The number of centres K stays that of the reduction, so a centre has fewer tokens to
stand for: on a sample both errors are optimistic.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Float64
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch import Tensor

from redundancy.metrics.kernels.outputs import error_of_outputs, video_outputs
from redundancy.metrics.kernels.sample import fixed_sample
from redundancy.metrics.registry import metric
from redundancy.reduction import Reduction

# Squared distances are differences of float64 products: below this share of the squared norms they are rounding.
ROUNDING = 1e-12
UNDEFINED = "where all tokens are zero; where K is not below the size of a sample"


@metric(
    dims=(),
    unit="1",
    bounds=(0, math.inf),
    higher="K tokens cannot stand for the video",
    source="own; Sculley 2010 (doi:10.1145/1772690.1772862)",
    known=("keep-all: 0", "K distinct tokens, each repeated: 0 at K", "two opposite tokens, K = 1: 1"),
    undefined=UNDEFINED,
    scale=0,
    default=False,
)
def kmeans_error(
    tokens: Float[Tensor, "frames tokens channels"], reduction: Reduction, *, seed: int = 0, sample: int = 2000
) -> Float[Tensor, ""]:
    """`reconstruction_error` of as many k-means centres as the reduction has outputs: a good but local optimum.

    Parameters
    ----------
    tokens
        `[T, N, D]` before the reduction.
    seed, sample
        Of k-means and of the sample; the largest number of tokens that is not sampled.

    Returns
    -------
    A scalar; 0 where no more than K tokens differ. Centres are those of scikit-learn's `MiniBatchKMeans`, moved on to
    the local optimum by its `KMeans` (batches are drawn at random and stop around it), both on the CPU.

    Raises
    ------
    ValueError
        If the tokens are not those of the reduction's video, or the sample is below 1.
    """
    points, K = fixed_sample(tokens, seed=seed, sample=sample), len(video_outputs(tokens, reduction))
    if _too_few(points, tokens, K):
        return torch.full_like(points[0, 0], torch.nan)
    distinct = torch.unique(points, dim=0)
    if not K or len(distinct) <= K:
        return error_of_outputs(points, distinct[: min(K, len(distinct))])
    x = points.cpu().numpy()
    start = MiniBatchKMeans(n_clusters=K, random_state=seed, n_init=3).fit(x).cluster_centers_
    centres = KMeans(n_clusters=K, init=start, n_init=1).fit(x).cluster_centers_
    return error_of_outputs(points, torch.from_numpy(centres).to(points))


@metric(
    dims=(),
    unit="1",
    bounds=(0, math.inf),
    higher="K of the tokens cannot stand for the others",
    source="own; Gonzalez 1985 (doi:10.1016/0304-3975(85)90224-5)",
    known=("keep-all: 0", "K distinct tokens, each repeated: 0 at K", "tokens -1, 0, 1, K = 1: 1"),
    undefined=UNDEFINED,
    scale=0,
    default=False,
)
def kcentre_error(
    tokens: Float[Tensor, "frames tokens channels"], reduction: Reduction, *, seed: int = 0, sample: int = 2000
) -> Float[Tensor, ""]:
    """`reconstruction_error` of as many tokens as the reduction has outputs, chosen by greedy k-centre.

    The token nearest to the mean, then again and again the one farthest from those chosen; ties to the lowest index.

    Parameters
    ----------
    tokens
        `[T, N, D]` before the reduction.
    seed, sample
        Of the sample; the largest number of tokens that is not sampled.

    Returns
    -------
    A scalar; 1 where the reduction has no outputs.

    Raises
    ------
    ValueError
        If the tokens are not those of the reduction's video, or the sample is below 1.
    """
    points, K = fixed_sample(tokens, seed=seed, sample=sample), len(video_outputs(tokens, reduction))
    if _too_few(points, tokens, K):
        return torch.full_like(points[0, 0], torch.nan)
    if not K:
        return error_of_outputs(points, points[:0])
    return _kcentre_errors(points)[min(K, len(points)) - 1].float()


@metric(
    dims=(),
    unit="1",
    bounds=(0, 1),
    higher="no K tokens can stand for the video",
    source="own; Eckart and Young 1936 (doi:10.1007/BF02288367)",
    known=("keep-all: 0", "orthonormal tokens: sqrt(1 - K/S)"),
    undefined="where all tokens are zero",
    scale=0,
    default=False,
)
def pca_error(tokens: Float[Tensor, "frames tokens channels"], reduction: Reduction) -> Float[Tensor, ""]:
    """Relative error of the best approximation of rank K, uncentred: a lower bound for any K outputs.

    Parameters
    ----------
    tokens
        `[T, N, D]` before the reduction, all of them: nothing is sampled.

    Returns
    -------
    `sqrt(sum_{i > K} s_i^2 / sum s_i^2)` of the singular values, from the Gram matrix of the smaller side in float64
    (errors below 1e-7 are rounding).

    Raises
    ------
    ValueError
        If the tokens are not those of the reduction's video.
    """
    x, K = tokens.flatten(0, 1).double(), len(video_outputs(tokens, reduction))
    gram = x.T @ x if x.shape[0] > x.shape[1] else x @ x.T
    square = torch.linalg.eigvalsh(gram).clamp(min=0)
    lost: Tensor = square[: max(len(square) - K, 0)].sum() / square.sum()
    return lost.sqrt().float()


@metric(
    dims=(),
    unit="1",
    bounds=(0, math.inf),
    higher="the method's outputs stand for the video worse than k-means centres do",
    known=("tokens -1, 1, 3, 5 with 1 and 5 kept: sqrt(2)",),
    undefined=UNDEFINED + "; where k-means has no error",
    scale=0,
    default=False,
)
def reconstruction_gap(
    tokens: Float[Tensor, "frames tokens channels"], reduction: Reduction, *, seed: int = 0, sample: int = 2000
) -> Float[Tensor, ""]:
    """Error of a reduction's outputs over that of as many k-means centres, both on the same tokens.

    Parameters
    ----------
    tokens
        `[T, N, D]` before the reduction.
    seed, sample
        Of `kmeans_error`; on a sample the reduction's error is that of the sampled tokens.

    Returns
    -------
    A ratio; below 1 where the method beats the local optimum that k-means found.

    Raises
    ------
    ValueError
        If the tokens are not those of the reduction's video, or the sample is below 1.
    """
    best = kmeans_error(tokens, reduction, seed=seed, sample=sample)
    points = fixed_sample(tokens, seed=seed, sample=sample)
    gap: Tensor = error_of_outputs(points, video_outputs(tokens, reduction)) / best.masked_fill(best == 0, torch.nan)
    return gap


@metric(
    dims=("eps",),
    unit="tokens",
    bounds=(1, math.inf),
    higher="less redundant: the video needs more tokens",
    known=("K distinct tokens, each repeated: at most K", "S orthonormal tokens: S"),
    nulls=("gaussian",),
    undefined="where all tokens are zero",
    scale=0,
    default=False,
)
def tokens_needed(
    tokens: Float[Tensor, "frames tokens channels"],
    *,
    eps: tuple[int | float, ...] = (0.05, 0.1, 0.2),
    seed: int = 0,
    sample: int = 2000,
) -> Float[Tensor, "eps"]:
    """Smallest K at which the greedy k-centre error falls below eps: a video's redundancy without any method.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    eps
        Relative errors, above 0.
    seed, sample
        Of the sample; the largest number of tokens that is not sampled. K counts tokens of the sample.

    Returns
    -------
    K for each eps.

    Raises
    ------
    ValueError
        If an eps is not above 0, or the sample is below 1.
    """
    if not all(e > 0 for e in eps):
        raise ValueError(f"eps={eps} given, expected relative errors above 0")
    error = _kcentre_errors(fixed_sample(tokens, seed=seed, sample=sample))
    asked = error.new_tensor(eps)
    needed = (error[None] >= asked[:, None]).sum(1) + 1.0
    return needed.masked_fill(error[-1].isnan(), torch.nan).float()


def _too_few(points: Tensor, tokens: Tensor, K: int) -> bool:
    """True if a sample has no more tokens than there are centres: its error of 0 would say nothing."""
    return len(points) <= K and len(points) < tokens.shape[0] * tokens.shape[1]


def _kcentre_errors(points: Float[Tensor, "points channels"]) -> Float64[Tensor, "points"]:
    """Relative error with 1, 2, ... centres; sequential by nature, each step is one row of the distance matrix."""
    total = points.double().square().sum()
    x = points.double() - points.double().mean(0)
    square = x.square().sum(1)
    norms = square[:, None] + square[None]
    squared = torch.addmm(norms, x, x.T, alpha=-2)
    squared = squared.masked_fill(squared <= ROUNDING * norms, 0)
    squared.diagonal().zero_()
    nearest = squared[square.argmin()]
    sums = [nearest.sum()]
    for _ in range(len(points) - 1):
        nearest = torch.minimum(nearest, squared[nearest.argmax()])
        sums.append(nearest.sum())
    return (torch.stack(sums) / total).sqrt()
