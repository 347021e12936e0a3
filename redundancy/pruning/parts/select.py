"""Which tokens of each frame are kept: boolean masks `[T, N]`, ties to the lowest index."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from redundancy.metrics.kernels.peaks import density_peaks


def rank(score: Float[Tensor, "*sets points"]) -> Int64[Tensor, "*sets points"]:
    """Place of each point by decreasing score within its set, 0 for the best; equal scores by index, NaN last."""
    order = score.float().nan_to_num(-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    order = order.sort(dim=-1, descending=True, stable=True).indices
    place = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, place)


def top_salience(
    salience: Float[Tensor, "frames tokens"], budget: Int64[Tensor, "frames"]
) -> Bool[Tensor, "frames tokens"]:
    """The `budget[t]` most salient tokens of each frame.

    Source: FastVID (arXiv:2503.11187), section 3.3.
    """
    return rank(salience) < budget.to(salience.device)[:, None]


def top_density(
    features: Float[Tensor, "frames tokens channels"],
    budget: Int64[Tensor, "frames"],
    *,
    candidates: Bool[Tensor, "frames tokens"],
    most: int | None = None,
    k: int = 4,
) -> Int64[Tensor, "frames tokens"]:
    """Rank of each candidate by density score in its frame where `budget` has tokens; N elsewhere.

    The first `budget[t]` ranks are the density peaks of frame t. Frames without a budget cost nothing, nor do tokens
    beyond `most`, the largest number of candidates of a frame with a budget (N where it is not given).

    Source: FastVID (arXiv:2503.11187), section 3.3.
    """
    T, N = candidates.shape
    frames = budget.nonzero().flatten().to(features.device)
    ranks = torch.full((T, N), N, device=features.device)
    if len(frames):
        place = (~candidates[frames]).to(torch.uint8).sort(dim=1, stable=True).indices[:, :most]
        chosen = candidates[frames].gather(1, place)
        score = density_peaks(features[frames[:, None], place], k=k, candidates=chosen, overwrite=True).score
        ranks[frames] = ranks[frames].scatter(1, place, rank(score).masked_fill(~chosen, N))
    return ranks


def dual_anchor(
    features: Float[Tensor, "frames tokens channels"],
    salience: Float[Tensor, "frames tokens"],
    *,
    salient: Int64[Tensor, "frames"],
    context: Int64[Tensor, "frames"],
    k: int = 4,
) -> tuple[Bool[Tensor, "frames tokens"], Int64[Tensor, "frames tokens"]]:
    """Salient tokens of each frame, and the density peaks among the others.

    Returns
    -------
    The mask of salient tokens, and the rank of each other token by density score (below `context[t]`: a peak).

    Source: FastVID (arXiv:2503.11187), section 3.3.
    """
    kept = top_salience(salience, salient)
    anchors = context > 0
    most = features.shape[1] - int(salient[anchors].min()) if bool(anchors.any()) else 0
    return kept, top_density(features, context, candidates=~kept, most=most, k=k)


def true_indices(mask: Bool[Tensor, "*shape"], count: int) -> Int64[Tensor, "count"]:
    """Flat indices of the true places, ascending, where their number is known: no copy from the device is needed."""
    return torch.nonzero_static(mask.flatten(), size=count).flatten()
