"""Context tokens of FastVID's segments other than density peaks of anchor frames: at even steps, or clusters."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from redundancy.metrics.kernels.peaks import density_peaks
from redundancy.pruning.parts.merge import nearest_by_distance
from redundancy.pruning.parts.select import rank

CONTEXTS = ("density", "uniform", "cluster")
NEIGHBOURS = 7  # of the density of clusters, as PruneVid and HoliTom have it


def evenly(candidates: Bool[Tensor, "frames tokens"], budget: Int64[Tensor, "frames"]) -> Bool[Tensor, "frames tokens"]:
    """`budget[t]` of the candidates of each frame at even steps, each in the middle of its stretch.

    >>> evenly(torch.ones(1, 6, dtype=torch.bool), torch.tensor([2]))
    tensor([[False,  True, False, False,  True, False]])
    """
    count, share = candidates.sum(1, keepdim=True), budget.to(candidates.device)[:, None]
    upto = candidates.cumsum(
        1
    )  # candidates up to each place; the i-th chosen is that number floor((i + 1/2) count / share)
    before = upto - candidates.long()
    chosen = [(2 * n * share + count - 1).div(2 * count.clamp_min(1), rounding_mode="floor") for n in (upto, before)]
    return candidates & (chosen[0] > chosen[1])


def segment_clusters(
    x: Float[Tensor, "frames tokens channels"],
    candidates: Bool[Tensor, "frames tokens"],
    *,
    budget: Int64[Tensor, "frames"],
    lengths: Int64[Tensor, "segments"],
) -> tuple[Bool[Tensor, "frames tokens"], Int64[Tensor, "centres"], Int64[Tensor, "members"], Int64[Tensor, "members"]]:
    """Clusters of the candidates of each segment, as many as its frames have tokens: density peaks of all of them.

    Returns
    -------
    Mask of centres, their indices into T*N, indices of the other candidates, and for each of these its centre's number.

    Source: FastVID (arXiv:2503.11187), table 7, after PruneVid (arXiv:2412.16117), section 3.2.
    """
    N = x.shape[1]
    centres: list[Tensor] = []
    members: list[Tensor] = []
    targets: list[Tensor] = []
    first = count = 0
    for length in lengths.tolist():
        share = int(budget[first : first + length].sum())
        place = candidates[first : first + length].flatten().nonzero().flatten() + first * N
        first += length
        if share:
            peaks = density_peaks(x.flatten(0, 1)[place][None], k=NEIGHBOURS)
            chosen = rank(peaks.score[0]) < share
            number = chosen.cumsum(0) - 1 + count
            centres.append(place[chosen])
            members.append(place[~chosen])
            targets.append(number[nearest_by_distance(peaks.distance[0], chosen)][~chosen])
            count += share
    none = torch.empty(0, dtype=torch.int64, device=x.device)
    at = torch.cat([none, *centres])
    mask = torch.zeros_like(candidates).flatten().index_fill(0, at, True).view_as(candidates)
    return mask, at, torch.cat([none, *members]), torch.cat([none, *targets])
