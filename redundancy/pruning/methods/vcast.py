"""V-CAST: frame budgets by the curvature of the path that frames take, and per frame the most unusual tokens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.metrics.trajectory import curvature, frame_representation
from redundancy.pruning.base import Method, Needs, require_choice, require_range
from redundancy.pruning.host import to_host
from redundancy.pruning.part import Slot
from redundancy.pruning.parts.budget import BUDGETS, LEFT_OVER, Budget, FramePath, allocate, curvature_weights
from redundancy.pruning.parts.salience import SALIENCE_SOURCES, Salience
from redundancy.pruning.parts.segment import SEGMENTERS, Segmenter
from redundancy.pruning.parts.select import SELECTORS, Selector, rank, token_score, true_indices
from redundancy.reduction import Reduction
from redundancy.tokens import TokenLayout, VideoTokens


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
        What weighs frames, an object or a name in `BUDGETS`, which then has this `temperature` and `segmenter` if it
        has one: `"curvature"`; `"uniform"`: nothing; `"segments"`: each segment the same; `"uniqueness"` and
        `"windows"`: as VidCom2 and HoliTom share tokens among frames.
    segmenter
        Segments of that budget: object, or name in `SEGMENTERS`.
    selector
        What ranks the tokens of a frame, an object or a name in `SELECTORS`, which then has this `salience` if it has
        one: `"unusual"` (`token_score`), `"density"` (density peaks) or `"salience"`.
    salience
        Salience of that selector: object, or name in `SALIENCE_SOURCES`.
    left_over
        How tokens left over by rounding are given, a name in `LEFT_OVER`; with `parity` always `"largest fraction"`.
    parity
        As the authors' code: left-over tokens fill one frame.

    A video of one frame is kept whole, as in the authors' code.

    Example
    -------
    >>> VCast(retention=0.25)(tokens).achieved
    0.25

    Source: V-CAST (arXiv:2603.27650), section 3.
    """

    name: ClassVar[str] = "vcast"
    paper: ClassVar[str] = "V-CAST (arXiv:2603.27650)"
    slots: ClassVar[Mapping[str, Slot]] = {
        "segmenter": Slot(SEGMENTERS),
        "salience": Slot(SALIENCE_SOURCES),
        "budget": Slot(BUDGETS, settings=("temperature", "segmenter")),
        "selector": Slot(SELECTORS, settings=("salience",)),
    }

    retention: float = 0.25
    min_k: int = 1
    temperature: float = 0.7
    budget: Budget | str = "curvature"
    segmenter: Segmenter | str = "dyseg"
    selector: Selector | str = "unusual"
    salience: Salience | str = "received"
    left_over: str = "largest remainder"
    parity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("retention", self.retention, 0, 1, open_low=True)
        require_range("min_k", self.min_k, 0)
        require_range("temperature", self.temperature, 0, open_low=True)
        require_choice("left_over", self.left_over, LEFT_OVER)

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """What the selector and the budget read."""
        needs: Needs = self.part("selector").needs(layout)
        return needs.also(self.part("budget").needs(layout))

    def bounds(self, tokens: VideoTokens) -> tuple[float, float]:
        """Exact up to rounding of the total; `min_k` tokens a frame at least, a single frame whole."""
        T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
        if T == 1:
            return 1.0, 1.0
        share, half = max(self.retention, min(self.min_k, N) / N), 0.5 / (T * N)
        return share - half, min(max(share + half, 1 / (T * N)), 1.0)

    def _decide(self, tokens: VideoTokens) -> Reduction:
        if tokens.grid.frames <= 1:
            index, stages = keep_one_frame(tokens.features)
            return self._select(tokens, index, **stages)
        path = frame_path(tokens.features)
        index, stages = select_frames(
            self.part("selector")(tokens, path),
            self.part("budget").weights(tokens, path),
            retention=self.retention,
            min_k=self.min_k,
            left_over="largest fraction" if self.parity else self.left_over,
        )
        return self._select(tokens, index, representation=path.representation, curvature=path.curvature, **stages)


def frame_path(features: Float[Tensor, "frames tokens channels"]) -> FramePath:
    """Unit frame means and, on the CPU, the curvature of the path that they take: the one copy of a decision."""
    z = frame_representation(features.float())
    return FramePath(z, to_host(curvature(z)))


def keep_one_frame(features: Float[Tensor, "frames tokens channels"]) -> Selection:
    """A video of one frame, which has no path, whole."""
    everything = torch.arange(features.shape[0] * features.shape[1], device=features.device)
    return Selection(everything, {"clamped": ["a video of one frame is kept whole"]})


def select_frames(
    score: Float[Tensor, "frames tokens"],
    weight: Float[Tensor, "frames"],
    *,
    retention: float,
    min_k: int,
    left_over: str,
) -> Selection:
    """Budgets by the weights of frames, and per frame the tokens of largest score, in raster order.

    Returns
    -------
    Indices into T*N; stages `weight`, `budget`, `total`, `clamped`.
    """
    T, N = score.shape
    total, clamped = total_budget(T, N, retention=retention, min_k=min_k)
    per_frame = allocate(weight, total, minimum=min(max(min_k, 0), N), maximum=N, left_over=left_over)
    kept = rank(score) < per_frame.to(score.device)[:, None]
    stages = {"weight": weight, "budget": per_frame, "total": total, "clamped": clamped}
    return Selection(true_indices(kept, int(per_frame.sum())), stages)


def vcast(
    features: Float[Tensor, "frames tokens channels"],
    *,
    retention: float,
    min_k: int = 1,
    temperature: float = 0.7,
    left_over: str = "largest fraction",
) -> Selection:
    """V-CAST on one video.

    1. Weights: softmax of the curvature of the normalised frame means over the temperature.
    2. `round(T N r)` tokens in all (half to even), at least `min_k` a frame, shared by `allocate`.
    3. Per frame the tokens of largest `token_score`, in raster order.

    A retention of 0 or less counts as 0.25, as in the authors' code; one frame is kept whole.

    Returns
    -------
    Indices into T*N; stages `representation`, `curvature`, `weight`, `budget`, `total`, `clamped`.

    Source: V-CAST (arXiv:2603.27650), section 3; details from the authors' code.
    """
    if len(features) <= 1:
        return keep_one_frame(features)
    z, kappa = frame_path(features)
    index, stages = select_frames(
        token_score(features, z),
        curvature_weights(kappa, temperature=temperature),
        retention=retention,
        min_k=min_k,
        left_over=left_over,
    )
    return Selection(index, {"representation": z, "curvature": kappa, **stages})


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
