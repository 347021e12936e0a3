"""Clusters by density peaks: the best-scored points are centres, every other point joins the nearest one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.metrics.kernels.peaks import density_peaks


class Clusters(NamedTuple):
    """Centres `[sets, clusters]` by decreasing score, and the cluster `[sets, points]` of every point."""

    centre: Int64[Tensor, "sets clusters"]
    label: Int64[Tensor, "sets points"]


def dpc_knn(points: Float[Tensor, "sets points channels"], *, clusters: int, k: int = 7) -> Clusters:
    """Clusters of every set of points, at most as many as there are points.

    A point equally near to two centres joins the better scored one; a centre is its own.

    Parameters
    ----------
    points
        `[S, M, D]`.
    clusters
        Number of centres.
    k
        Neighbours of the density, the point itself included; counts as at most M.

    Source: PruneVid (arXiv:2412.16117), section 3.2; details from the authors' code.
    """
    peaks = density_peaks(points, k=k)
    centre = peaks.score.sort(dim=1, descending=True, stable=True).indices[:, :clusters]
    label = peaks.distance.gather(2, centre[:, None].expand(-1, points.shape[1], -1)).argmin(-1)
    own = torch.arange(centre.shape[1], device=points.device).expand_as(centre)
    return Clusters(centre, label.scatter(1, centre, own))
