"""V-CAST: frame budgets by the curvature of the path that frames take, and per frame the most unusual tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.metrics.trajectory import EPSILON, curvature, frame_representation
from redundancy.metrics.visual import density_score
from redundancy.pruning.base import Method, Needs, require_choice, require_range
from redundancy.pruning.host import to_host
from redundancy.pruning.parts.budget import LEFT_OVER, allocate, curvature_weights, segment_weights, uniform_weights
from redundancy.pruning.parts.segment import DySeg, Segmenter
from redundancy.pruning.parts.select import rank, true_indices
from redundancy.reduction import Reduction
from redundancy.tokens import TokenLayout, VideoTokens

BUDGETS = ("curvature", "uniform", "segments")
SELECTORS = ("unusual", "density", "salience")


class Selection(NamedTuple):
    """Indices of kept tokens, ascending, and intermediate results."""

    kept: Int64[Tensor, "kept"]
    stages: dict[str, Any]


@dataclass(frozen=True)
class VCast(Method):
    """Curvature-aware selection: nothing is merged, every kept token keeps its place.

    Parameters
    ----------
    retention
        Share of tokens to keep, in (0, 1].
    min_k
        Tokens that every frame keeps; with many frames this keeps more than asked for, which `achieved` says.
    temperature
        Of the softmax of curvature.
    budget
        What weighs frames: `"curvature"`; `"uniform"`: nothing; `"segments"`: each segment the same.
    segmenter
        Segments of that budget.
    selector
        What ranks the tokens of a frame: `"unusual"` (`token_score`), `"density"` (density peaks) or `"salience"`.
    salience
        Source of salience for that selector.
    left_over
        How tokens left over by rounding are given, a name in `LEFT_OVER`; with `parity` always `"largest fraction"`.
    parity
        As the authors' code: left-over tokens fill one frame.

    A video of one frame is kept whole, as in the authors' code.

    Source: V-CAST (arXiv:2603.27650), section 3.
    """

    retention: float = 0.25
    min_k: int = 1
    temperature: float = 0.7
    budget: str = "curvature"
    segmenter: Segmenter = field(default_factory=DySeg)
    selector: str = "unusual"
    salience: str = "received"
    left_over: str = "largest remainder"
    parity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("retention", self.retention, 0, 1, open_low=True)
        require_range("min_k", self.min_k, 0)
        require_range("temperature", self.temperature, 0, open_low=True)
        require_choice("budget", self.budget, BUDGETS)
        require_choice("selector", self.selector, SELECTORS)
        require_choice("left_over", self.left_over, LEFT_OVER)

    def needs(self, layout: TokenLayout | None = None) -> Needs:  # the same on every layout
        """Salience if that selects, and what the segmenter reads if it weighs."""
        return Needs(
            salience=self.salience if self.selector == "salience" else None,
            frame_features=self.segmenter.needs.frame_features if self.budget == "segments" else None,
        )

    def _decide(self, tokens: VideoTokens) -> Reduction:
        index, stages = vcast(
            tokens.features,
            retention=self.retention,
            min_k=self.min_k,
            temperature=self.temperature,
            weights=self._weights(tokens),
            left_over="largest fraction" if self.parity else self.left_over,
            score=self._score(tokens),
        )
        return self._select(tokens, index, **stages)

    def _weights(self, tokens: VideoTokens) -> Tensor | None:
        if self.budget == "curvature":
            return None
        return (
            uniform_weights(tokens.grid.frames) if self.budget == "uniform" else segment_weights(self.segmenter(tokens))
        )

    def _score(self, tokens: VideoTokens) -> Tensor | None:
        if self.selector == "unusual":
            return None
        return density_score(tokens.features) if self.selector == "density" else tokens.salience_from(self.salience)


def vcast(
    features: Float[Tensor, "frames tokens channels"],
    *,
    retention: float,
    min_k: int = 1,
    temperature: float = 0.7,
    left_over: str = "largest fraction",
    weights: Float[Tensor, "frames"] | None = None,
    score: Float[Tensor, "frames tokens"] | None = None,
) -> Selection:
    """V-CAST on one video.

    1. Weights: softmax of the curvature of the normalised frame means over the temperature, or other `weights`.
    2. `round(T N r)` tokens in all (half to even), at least `min_k` a frame, shared by `allocate`.
    3. Per frame the tokens of largest `token_score`, or of another `score`, in raster order.

    A retention of 0 or less counts as 0.25, as in the authors' code; one frame is kept whole.

    Returns
    -------
    Indices into T*N; stages `representation`, `curvature`, `weight`, `budget`, `total`, `clamped`.

    Source: V-CAST (arXiv:2603.27650), section 3; details from the authors' code.
    """
    T, N, _ = features.shape
    if T <= 1:
        everything = torch.arange(T * N, device=features.device)
        return Selection(everything, {"clamped": ["a video of one frame is kept whole"]})
    x = features.float()
    z = frame_representation(x)
    kappa = to_host(curvature(z))
    weight = curvature_weights(kappa, temperature=temperature) if weights is None else weights
    total, clamped = total_budget(T, N, retention=retention, min_k=min_k)
    per_frame = allocate(weight, total, minimum=min(max(min_k, 0), N), maximum=N, left_over=left_over)
    kept = rank(token_score(x, z) if score is None else score) < per_frame.to(x.device)[:, None]
    stages = {
        "representation": z,
        "curvature": kappa,
        "weight": weight,
        "budget": per_frame,
        "total": total,
        "clamped": clamped,
    }
    return Selection(true_indices(kept, int(per_frame.sum())), stages)


def vcast_videos(
    tokens: Float[Tensor, "all_tokens channels"],
    grid_thw: Int64[Tensor, "videos axes"],
    *,
    merge: int,
    retention: float,
    min_k: int = 1,
) -> tuple[Int64[Tensor, "kept"], list[dict[str, Any]]]:
    """V-CAST on the concatenated tokens of several videos, literally as the authors' code guards it.

    A video of grid T, H, W (patches) has `T * max(1, H // merge) * max(1, W // merge)` tokens. If they do not add up to
    the tokens given, or the grid has not three columns, all are kept; so is a video of one frame.

    Returns
    -------
    Indices into all tokens, ascending, and the stages of each video of more than one frame.

    Source: V-CAST (arXiv:2603.27650), the authors' code.
    """
    if grid_thw.shape[1] != 3:
        return torch.arange(len(tokens), device=tokens.device), []
    shapes = [(t, max(1, h // merge) * max(1, w // merge)) for t, h, w in grid_thw.tolist()]
    if sum(t * n for t, n in shapes) != len(tokens):
        return torch.arange(len(tokens), device=tokens.device), []
    index, stages, start = [], [], 0
    for t, n in shapes:
        video = tokens[start : start + t * n].reshape(t, n, -1)
        chosen, one = vcast(video, retention=retention, min_k=min_k)
        index.append(start + chosen)
        stages += [one | {"score": token_score(video, one["representation"])}] if t > 1 else []
        start += t * n
    return torch.cat(index), stages


def total_budget(num_frames: int, tokens_per_frame: int, *, retention: float, min_k: int) -> tuple[int, list[str]]:
    """Tokens to keep in all, `round(T N r)` within 1..T*N and at least `min_k` a frame, and what that changed.

    Source: V-CAST (arXiv:2603.27650), the authors' code.
    """
    asked = round(num_frames * tokens_per_frame * (retention if retention > 0 else 0.25))
    least = num_frames * min(max(min_k, 0), tokens_per_frame)
    total = max(min(max(asked, 1), num_frames * tokens_per_frame), least)
    return total, [] if total == asked else [f"{asked} tokens asked for: {total} (min_k = {min_k})"]


def token_score(
    features: Float[Tensor, "frames tokens channels"], representation: Float[Tensor, "frames channels"]
) -> Float[Tensor, "frames tokens"]:
    """How unusual a token is in its frame, `(1 - cos(x, z[t])) + (|x| - min |x|) / (max |x| - min |x| + 1e-6)`.

    Source: V-CAST (arXiv:2603.27650), section 3.3, eq. 5.
    """
    x = features.float()
    norm = torch.linalg.vector_norm(x, dim=-1)
    length = torch.linalg.vector_norm(representation, dim=-1, keepdim=True).clamp_min(EPSILON)
    cosine = torch.bmm(x, representation[:, :, None]).squeeze(-1) / (norm.clamp_min(EPSILON) * length)
    low, high = norm.amin(1, keepdim=True), norm.amax(1, keepdim=True)
    score: Tensor = (1 - cosine) + (norm - low) / (high - low + EPSILON)
    return score
