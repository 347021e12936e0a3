"""Over how many dimensions frames or tokens spread."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.kernels.sample import fixed_sample
from redundancy.metrics.registry import metric


@metric(
    dims=(),
    unit="dimensions",
    bounds=(1, float("inf")),
    higher="frames spread over more directions",
    source="participation ratio of the covariance eigenvalues; Gao et al. 2017 (doi:10.1101/214262)",
    known=("k equal variances: k", "line: 1"),
    nulls=("gaussian",),
    undefined="with a single frame and where all frames are equal",
    scale=0,
    frame_order="invariant",
)
def intrinsic_dimension(points: Float[Tensor, "frames channels"]) -> Float[Tensor, ""]:
    """Participation ratio of the covariance eigenvalues, `(sum l)^2 / sum l^2`.

    The eigenvalues are those of the Gram matrix of centred points, whose trace and squared Frobenius norm are the two
    sums: no decomposition is needed.

    Parameters
    ----------
    points
        `[T, F]`.

    Returns
    -------
    A scalar, at most min(T - 1, F).
    """
    f = points.double()
    f = f - f.mean(0)
    gram = f @ f.T
    ratio: Tensor = gram.trace().square() / gram.square().sum()
    return ratio.float()


@metric(
    dims=(),
    unit="dimensions",
    bounds=(0, float("inf")),
    higher="tokens lie on a manifold of more dimensions",
    source="Facco et al. 2017 (doi:10.1038/s41598-017-11873-y), TwoNN",
    known=("uniform on a k-cube: k within 15% at 2,000 points",),
    nulls=("gaussian",),
    undefined="with fewer than three different tokens, or where all nearest two are equally far",
    scale=0,
    frame_order="invariant",
    token_order="invariant",
    default=False,
)
def twonn_dimension(
    tokens: Float[Tensor, "frames tokens channels"],
    *,
    sample: int = 2000,
    seed: int = 0,
    discarded: int | float = 0.1,
) -> Float[Tensor, ""]:
    """Dimension of the manifold of tokens from the distances r1, r2 to the two nearest others.

    A random sample of tokens, each different vector once, goes through `twonn_fit`.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    sample
        Most tokens that enter, at least 3; distances cost sample^2 D.
    seed
        Of the sample.
    discarded
        Share of the largest ratios that is left out of the fit, in (0, 1).

    Returns
    -------
    A scalar.

    Raises
    ------
    ValueError
        If a setting is outside its range.
    """
    if sample < 3:
        raise ValueError(f"sample={sample} given, expected at least 3 tokens")
    return twonn_fit(fixed_sample(tokens, seed=seed, sample=sample), discarded=discarded)


def twonn_fit(points: Float[Tensor, "points channels"], *, discarded: int | float = 0.1) -> Float[Tensor, ""]:
    """Dimension from the distances r1, r2 of every point to its two nearest others.

    1. Take each different point once, so that r1 > 0.
    2. Sort `mu = r2 / r1`; on a manifold of dimension d with locally even density its distribution is
       `F(mu) = 1 - mu^-d`.
    3. Fit `-ln(1 - i/n) = d ln mu_i` through the origin, without the largest ratios.

    Parameters
    ----------
    points
        `[n, D]`; distances cost n^2 D.
    discarded
        Share of the largest ratios that is left out of the fit, in (0, 1).

    Returns
    -------
    A scalar float32, computed in float64; NaN with fewer than three different points, or where r1 = r2 throughout.

    Raises
    ------
    ValueError
        If the share is outside its range.

    Source: Facco et al. 2017 (Scientific Reports 7, 12140), "Estimating the intrinsic dimension of datasets".
    """
    if not 0 < discarded < 1:
        raise ValueError(f"discarded={discarded} given, expected 0 < discarded < 1")
    x = torch.unique(points.float(), dim=0)
    if len(x) < 3:
        return torch.full((), torch.nan, device=x.device)
    near = _two_nearest_distances(x)
    ratio = (near[:, 1] / near[:, 0]).log().sort().values[: math.floor(len(x) * (1 - discarded))]
    rank = torch.arange(1, len(ratio) + 1, device=x.device, dtype=torch.float64)
    slope: Tensor = (ratio * -torch.log1p(-rank / len(x))).sum() / ratio.square().sum()
    # equal distances leave 0 / 0, or a positive number over 0
    return torch.where(slope.isfinite(), slope, torch.nan).float()


def _two_nearest_distances(x: Float[Tensor, "points channels"], block: int = 256) -> Float[Tensor, "points 2"]:
    """Distances to the two nearest others, float64: found by products of centred points, measured by differences."""
    x = x.double()
    centred = x - x.mean(0)
    square = centred.square().sum(1)
    found = []
    for rows in torch.split(torch.arange(len(x), device=x.device), block):
        distance = square - 2 * centred[rows] @ centred.T
        distance[torch.arange(len(rows), device=x.device), rows] = torch.inf
        nearest = distance.topk(2, largest=False).indices
        found.append(torch.linalg.vector_norm(x[nearest] - x[rows, None], dim=-1).sort(1).values)
    return torch.cat(found)
