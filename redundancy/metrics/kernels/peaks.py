"""Density peaks: points in a crowd of their like, far from any denser crowd.

Everything is computed in float32 from whatever dtype comes in, batched over any leading dimensions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from redundancy.metrics.kernels.gram import frame_blocks, part

# Squared distances are differences of products of float32: below this share of the squared norms they are rounding.
ROUNDING = 1e-6


class DensityPeaks(NamedTuple):
    """Density-peak quantities of sets of points; NaN outside the candidates.

    `distance` `[..., M, M]` (infinite to a point that is no candidate), `density`, `parent_distance` and `score`
    `[..., M]`.
    """

    distance: Float[Tensor, "*sets points points"]
    density: Float[Tensor, "*sets points"]
    parent_distance: Float[Tensor, "*sets points"]
    score: Float[Tensor, "*sets points"]


def density_peaks(
    points: Float[Tensor, "*sets points channels"],
    *,
    k: int | Int64[Tensor, "*sets"] = 4,
    candidates: Bool[Tensor, "*sets points"] | None = None,
    overwrite: bool = False,
) -> DensityPeaks:
    """Density, distance to the nearest denser point, and their product, for each set of points.

    1. `dist[i, j] = ||x_i - x_j|| / sqrt(D)`;
    2. `density_i = exp(-mean of dist[i, j]^2 over the k nearest j)`, the point itself included;
    3. `parent_distance_i = min of dist[i, j] over j strictly denser than i`; if none is, the set's largest distance;
    4. `score_i = density_i * parent_distance_i`.

    Parameters
    ----------
    points
        `[..., M, D]`.
    k
        Neighbours, the point itself included, one number or one per set; with fewer candidates in a set, all of them.
    candidates
        `[..., M]` points that take part; all by default.
    overwrite
        True if `points` may be destroyed, which saves a copy.

    Returns
    -------
    Float32 results. Distances that are rounding beside the norms count as 0, so duplicates have equal densities.

    Raises
    ------
    ValueError
        If k is below 1.

    Source: FastVID (arXiv:2503.11187), section 3.3, after Rodriguez and Laio 2014; details from the authors' code.
    """
    most = k if isinstance(k, int) else int(k.max())
    if most < 1:
        raise ValueError(f"k={k} given, expected at least 1 neighbour")
    distance = pairwise_distance(points, overwrite=overwrite)
    if candidates is not None:
        distance = distance.masked_fill(~(candidates[..., :, None] & candidates[..., None, :]), torch.inf)
    nearest = distance.topk(min(most, distance.shape[-1]), dim=-1, largest=False).values
    known = torch.isfinite(nearest)
    if not isinstance(k, int):
        known &= torch.arange(nearest.shape[-1], device=known.device) < k.to(known.device)[..., None, None]
    density = torch.exp(-torch.where(known, nearest, 0).square().sum(-1) / known.sum(-1))
    denser = density[..., None, :] > density[..., :, None]
    parent = distance.masked_fill(~denser, torch.inf).amin(-1) if distance.shape[-1] else density
    largest = distance.masked_fill(torch.isinf(distance), 0).flatten(-2).amax(-1, keepdim=True) if parent.numel() else 0
    parent = torch.where(torch.isinf(parent), largest, parent)
    if candidates is not None:
        density, parent = (x.masked_fill(~candidates, torch.nan) for x in (density, parent))
    return DensityPeaks(distance, density, parent, density * parent)


def pairwise_distance(
    points: Float[Tensor, "*sets points channels"], *, overwrite: bool = False
) -> Float[Tensor, "*sets points points"]:
    """Euclidean distances within each set, divided by `sqrt(D)`, float32, exactly 0 on the diagonal.

    One matrix product of the centred points; squared distances that are rounding beside the norms become 0. With
    `overwrite` the points may be destroyed, which saves a copy.
    """
    x = points.float()
    x = x.sub_(x.mean(-2, keepdim=True)) if overwrite else x - x.mean(-2, keepdim=True)
    square = torch.linalg.vector_norm(x, dim=-1).square()
    norms = square[..., :, None] + square[..., None, :]
    squared = torch.baddbmm(norms.flatten(0, -3), x.flatten(0, -3), x.flatten(0, -3).mT, alpha=-2).view_as(norms)
    squared = squared.masked_fill(squared <= ROUNDING * norms, 0)
    squared = (squared + squared.mT) / 2  # a product is symmetric up to rounding only
    squared.diagonal(dim1=-2, dim2=-1).zero_()
    return (squared / max(x.shape[-1], 1)).sqrt()


@part
def frame_peaks(
    tokens: Float[Tensor, "frames tokens channels"], *, k: int
) -> Float[Tensor, "quantities frames tokens"]:
    """Density, parent distance and score of every token in its frame, `[3, T, N]`.

    Source: FastVID (arXiv:2503.11187), section 3.3.
    """
    return torch.cat([torch.stack(density_peaks(block, k=k)[1:]) for block in frame_blocks(tokens)], 1)
