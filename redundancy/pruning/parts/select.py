"""Which tokens of each frame are kept: boolean masks `[T, N]`, ties to the lowest index; scores that rank them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from redundancy.metrics.kernels.peaks import density_peaks
from redundancy.metrics.trajectory import EPSILON
from redundancy.metrics.visual import density_score
from redundancy.pruning.part import Part, Registry, Slot
from redundancy.pruning.parts.budget import FramePath
from redundancy.pruning.parts.salience import SALIENCE_SOURCES, Salience
from redundancy.pruning.settings import Needs
from redundancy.tokens import TokenLayout, VideoTokens


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
    # `nonzero` has to know the number of true places to make its result, and makes a GPU wait for it; budgets are
    # decided on the host, so that number is known and the result has a size before any value is
    return torch.nonzero_static(mask.flatten(), size=count).flatten()


def token_score(
    features: Float[Tensor, "frames tokens channels"],
    representation: Float[Tensor, "frames channels"],
    *,
    direction: bool = True,
    length: bool = True,
) -> Float[Tensor, "frames tokens"]:
    """How unusual a token is in its frame, `(1 - cos(x, z[t])) + (|x| - min |x|) / (max |x| - min |x| + 1e-6)`.

    Parameters
    ----------
    features, representation
        Tokens, and unit frame means.
    direction, length
        Which of the two terms count.

    Source: V-CAST (arXiv:2603.27650), section 3.3, eq. 5.
    """
    x = features.float()
    norm = torch.linalg.vector_norm(x, dim=-1)
    size = torch.linalg.vector_norm(representation, dim=-1, keepdim=True).clamp_min(EPSILON)
    cosine = torch.bmm(x, representation[:, :, None]).squeeze(-1) / (norm.clamp_min(EPSILON) * size)
    low, high = norm.amin(1, keepdim=True), norm.amax(1, keepdim=True)
    terms = ([1 - cosine] if direction else []) + ([(norm - low) / (high - low + EPSILON)] if length else [])
    score: Tensor = terms[0] if len(terms) == 1 else terms[0] + terms[1]
    return score


@dataclass(frozen=True)
class Selector(Part):
    """Base of selectors: `selector(tokens, path)` gives `[T, N]` scores; the best of each frame are kept."""

    @abstractmethod
    def __call__(self, tokens: VideoTokens, path: FramePath) -> Float[Tensor, "frames tokens"]:
        """Scores of one video, on the tokens' device."""


@dataclass(frozen=True)
class Unusual(Selector):
    """Tokens that are unlike the mean of their frame, and long ones: V-CAST's dual anchors; see `token_score`.

    Parameters
    ----------
    direction, length
        Which of the two terms count; at least one.

    Source: V-CAST (arXiv:2603.27650), section 3.3, eq. 5.
    """

    name: ClassVar[str] = "unusual"
    source: ClassVar[str] = "V-CAST (arXiv:2603.27650), section 3.3"

    direction: bool = True
    length: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.direction or self.length):
            raise ValueError("direction=False, length=False given, expected at least one term of the score")

    def __call__(self, tokens: VideoTokens, path: FramePath) -> Float[Tensor, "frames tokens"]:
        """Scores of one video."""
        return token_score(tokens.features, path.representation, direction=self.direction, length=self.length)


@dataclass(frozen=True)
class DensitySelector(Selector):
    """Density peaks of each frame.

    Source: FastVID (arXiv:2503.11187), section 3.3.
    """

    name: ClassVar[str] = "density"
    source: ClassVar[str] = "FastVID (arXiv:2503.11187), section 3.3"

    def __call__(self, tokens: VideoTokens, path: FramePath) -> Float[Tensor, "frames tokens"]:
        """Scores of one video."""
        return density_score(tokens.features)


@dataclass(frozen=True)
class SalienceSelector(Selector):
    """The most salient tokens; with `salience="random"` a draw in every frame.

    Parameters
    ----------
    salience
        Object, or name in `SALIENCE_SOURCES`.
    """

    name: ClassVar[str] = "salience"
    slots: ClassVar[Mapping[str, Slot]] = {"salience": Slot(SALIENCE_SOURCES)}

    salience: Salience | str = "received"

    def __call__(self, tokens: VideoTokens, path: FramePath) -> Float[Tensor, "frames tokens"]:
        """Scores of one video."""
        found: Tensor = self.part("salience")(tokens)
        return found

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """What the source of salience reads."""
        needs: Needs = self.part("salience").needs(layout)
        return needs


SELECTORS: Registry[Selector] = Registry(
    "SELECTORS", "selector", Selector, Unusual(), DensitySelector(), SalienceSelector()
)
