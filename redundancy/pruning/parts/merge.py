"""How tokens that are not kept go into those that are: assignments, and weights of a cluster.

An assignment says for each member the output that takes it (`target` `[members]`); a merger turns cluster sizes into
weights: of the output's own token (`anchor` `[K]`) and of each member. `MERGERS` holds them by name. All sum to 1.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from redundancy.pruning.part import Part, Registry
from redundancy.pruning.settings import require_range


class ClusterWeights(NamedTuple):
    """Weights of the anchors `[K]` and of the members `[members]`, float64."""

    anchor: Float64[Tensor, "outputs"]
    member: Float64[Tensor, "members"]


def cluster_sizes(target: Int64[Tensor, "members"], outputs: int) -> Float64[Tensor, "outputs"]:
    """Number of members of each output."""
    ones = torch.ones(len(target), dtype=torch.float64, device=target.device)
    return torch.zeros(outputs, dtype=torch.float64, device=target.device).index_add(0, target, ones)


@dataclass(frozen=True)
class Merger(Part):
    """Base of mergers: `merger(target, outputs)` gives the weights of anchors and members."""

    @abstractmethod
    def __call__(self, target: Int64[Tensor, "members"], outputs: int) -> ClusterWeights:
        """Weights for members that go to the outputs `target`, of which there are `outputs`."""


@dataclass(frozen=True)
class AnchorCentric(Merger):
    """`w * anchor + (1 - w) * mean of the members` with `w = max(1 / (m + 1), beta)`; the anchor alone if m = 0.

    Parameters
    ----------
    beta
        Least weight of the anchor, in [0, 1].

    Source: FastVID (arXiv:2503.11187), section 3.3, eq. 7.
    """

    name: ClassVar[str] = "anchor_centric"
    source: ClassVar[str] = "FastVID (arXiv:2503.11187), section 3.3"

    beta: float = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("beta", self.beta, 0, 1)

    def __call__(self, target: Int64[Tensor, "members"], outputs: int) -> ClusterWeights:
        """Weights of anchors and members."""
        size = cluster_sizes(target, outputs)
        anchor = (1 / (size + 1)).clamp_min(self.beta)
        return ClusterWeights(anchor, ((1 - anchor) / size)[target])


@dataclass(frozen=True)
class Mixture(Merger):
    """`beta * anchor + (1 - beta) * mean of the members`; the anchor alone if it has none.

    Parameters
    ----------
    beta
        Weight of the anchor, in [0, 1].

    Source: HoliTom (arXiv:2505.21334), the authors' code.
    """

    name: ClassVar[str] = "mixture"
    source: ClassVar[str] = "HoliTom (arXiv:2505.21334), the authors' code"

    beta: float = 0.6

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("beta", self.beta, 0, 1)

    def __call__(self, target: Int64[Tensor, "members"], outputs: int) -> ClusterWeights:
        """Weights of anchors and members."""
        size = cluster_sizes(target, outputs)
        anchor = torch.full_like(size, self.beta).masked_fill(size == 0, 1.0)
        return ClusterWeights(anchor, ((1 - self.beta) / size)[target])


@dataclass(frozen=True)
class ClusterMean(Merger):
    """Mean of the anchor and the members together.

    Source: HoliTom (arXiv:2505.21334), section 3.3.
    """

    name: ClassVar[str] = "cluster_mean"
    source: ClassVar[str] = "HoliTom (arXiv:2505.21334), section 3.3"

    def __call__(self, target: Int64[Tensor, "members"], outputs: int) -> ClusterWeights:
        """Weights of anchors and members."""
        share = 1 / (cluster_sizes(target, outputs) + 1)
        return ClusterWeights(share, share[target])


@dataclass(frozen=True)
class SequentialHalving(Merger):
    """`anchor <- (anchor + member) / 2` for one member after the other.

    With m members the anchor keeps `2^-m` and the j-th of them, j from 1, has `2^-(m-j+1)`: later ones weigh more.

    Source: HoliTom (arXiv:2505.21334), the authors' code inside the language model.
    """

    name: ClassVar[str] = "sequential_halving"
    source: ClassVar[str] = "HoliTom (arXiv:2505.21334), the authors' code"

    def __call__(self, target: Int64[Tensor, "members"], outputs: int) -> ClusterWeights:
        """Weights of anchors and members."""
        size = cluster_sizes(target, outputs)
        order = target.sort(stable=True).indices
        start = size.cumsum(0) - size
        j = torch.empty_like(size[target])
        j[order] = torch.arange(len(target), dtype=torch.float64, device=target.device) - start[target[order]] + 1
        return ClusterWeights(torch.exp2(-size), torch.exp2(j - 1 - size[target]))


@dataclass(frozen=True)
class Drop(Merger):
    """The anchor alone, the control of merging; members get weight 0, which records where they would have gone."""

    name: ClassVar[str] = "drop"

    def __call__(self, target: Int64[Tensor, "members"], outputs: int) -> ClusterWeights:
        """Weights of anchors and members."""
        zeros = torch.zeros(len(target), dtype=torch.float64, device=target.device)
        return ClusterWeights(torch.ones(outputs, dtype=torch.float64, device=target.device), zeros)


MERGERS: Registry[Merger] = Registry(
    "MERGERS", "merger", Merger, AnchorCentric(), Mixture(), ClusterMean(), SequentialHalving(), Drop()
)


def nearest_by_cosine(
    points: Float[Tensor, "points channels"],
    targets: Float[Tensor, "*groups targets channels"],
    *,
    valid: Bool[Tensor, "*groups targets"] | None = None,
    epsilon: float = 1e-12,
) -> Int64[Tensor, "*groups points"]:
    """For each point and group the index of the target of largest cosine; the first of equal ones.

    The length of a point does not change which target is nearest, so only targets are normalised.

    Parameters
    ----------
    points, targets
        `[P, D]` and `[..., M, D]`.
    valid
        `[..., M]` targets that count.
    epsilon
        Smallest length of a target; 0 as in the authors' code, where a zero target attracts every point.
    """
    length = torch.linalg.vector_norm(targets, dim=-1, keepdim=True)
    unit = targets / (length.clamp_min(epsilon) if epsilon else length)
    cosine = (unit.flatten(0, -2) @ points.mT).unflatten(0, targets.shape[:-1])
    if valid is not None:
        cosine = cosine.masked_fill(~valid[..., None], -torch.inf)
    nearest: Tensor = cosine.argmax(-2)
    return nearest


def nearest_by_distance(
    distance: Float[Tensor, "*sets points points"], centres: Bool[Tensor, "*sets points"]
) -> Int64[Tensor, "*sets points"]:
    """For each point the nearest centre of its set (the lowest index of equal ones); a centre is its own.

    Source: PruneVid (arXiv:2412.16117), section 3.2, and HoliTom (arXiv:2505.21334), section 3.3.
    """
    nearest = distance.masked_fill(~centres[..., None, :], torch.inf).argmin(-1)
    own = torch.arange(distance.shape[-1], device=distance.device).expand_as(nearest)
    return torch.where(centres, own, nearest)
