"""How many tokens each frame may keep: int64 tensors `[T]` on the CPU.

Budgets are decided on the host from a few numbers per frame, so that everything after them has a known size.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.metrics.temporal import token_persistence
from redundancy.pruning.host import to_host
from redundancy.pruning.part import Part, Registry, Slot
from redundancy.pruning.parts.segment import SEGMENTERS, Segmenter
from redundancy.pruning.parts.uniqueness import frame_rates, uniqueness
from redundancy.pruning.parts.windows import static_windows
from redundancy.pruning.settings import Needs, require_choice, require_range
from redundancy.tokens import TokenLayout, VideoTokens

LEFT_OVER = ("largest fraction", "largest remainder")


def uniform_weights(num_frames: int) -> Float[Tensor, "frames"]:
    """Every frame weighs the same, the control of the other weights."""
    return torch.full((num_frames,), 1 / num_frames)


def segment_weights(lengths: Int64[Tensor, "segments"]) -> Float[Tensor, "frames"]:
    """Every segment weighs the same, and its frames share that equally: `1 / (segments * length)`.

    Source: V-CAST (arXiv:2603.27650), the segment-based budget it compares with.
    """
    return torch.repeat_interleave(1 / (len(lengths) * lengths.float()), lengths)


def shares(total: int, parts: int) -> Int64[Tensor, "parts"]:
    """Split a whole number into equal parts, the first ones one larger."""
    share = torch.full((parts,), total // parts, dtype=torch.int64)
    share[: total % parts] += 1
    return share


def anchor_positions(length: int, step: int) -> Int64[Tensor, "anchors"]:
    """Every step-th position of a segment counted from its last one, which comes first: `ceil(length / step)` of them.

    Source: FastVID (arXiv:2503.11187), section 3.3.
    """
    return torch.arange(length - 1, -1, -step)


def curvature_weights(curvature: Float[Tensor, "frames"], *, temperature: float = 0.7) -> Float[Tensor, "frames"]:
    """Softmax of curvature over temperature, float32.

    Source: V-CAST (arXiv:2603.27650), section 3.2, eq. 3.
    """
    return torch.softmax(curvature.float() / temperature, dim=0)


def allocate(
    weights: Float[Tensor, "frames"],
    total: int,
    *,
    minimum: int,
    maximum: int,
    left_over: str = "largest remainder",
) -> Int64[Tensor, "frames"]:
    """Share `total` tokens among frames in proportion to their weights, between `minimum` and `maximum` each.

    1. Every frame gets the minimum (0 if the total does not reach for all), the rest is `weights * rest`, floored.
    2. What flooring and the maximum leave over goes by the fractional parts of the shares, equal ones to the lowest
       index: `"largest remainder"` gives one token each, in rounds; `"largest fraction"` fills the frame of the largest
       fraction up to the maximum, then the next, as the authors' code does.

    Parameters
    ----------
    weights
        `[T]`, float32 as in the authors' code, for a floor near a whole number depends on it; negative ones count as 0,
        all zero as equal.
    total
        Tokens in all; more than `maximum * T` count as that.

    Raises
    ------
    ValueError
        If `left_over` is neither.

    Source: V-CAST (arXiv:2603.27650), section 3.2 and the authors' code.
    """
    require_choice("left_over", left_over, LEFT_OVER)
    T = len(weights)
    total = min(max(total, 0), T * maximum)
    base = minimum if total >= T * minimum else 0
    rest = total - T * base
    w = weights.float().cpu().clamp_min(0)
    w = w / w.sum().clamp_min(1e-6) if bool(w.sum() > 0) else torch.full_like(w, 1 / T)
    raw = w * rest
    budget = base + raw.floor().long().clamp_max(maximum - base)
    left = total - int(budget.sum())
    if left > 0:
        order = (raw - raw.floor()).sort(descending=True, stable=True).indices
        fill = _fill_one_by_one if left_over == "largest fraction" else _fill_in_rounds
        budget[order] += fill(maximum - budget[order], left)
    elif left < 0:  # float32 rounding only: take from the least weight
        order = w.sort(stable=True).indices
        budget[order] -= _fill_one_by_one(budget[order] - base, -left)
    return budget


def _fill_one_by_one(room: Tensor, count: int) -> Tensor:
    """Fill the first place up, then the next."""
    before = room.cumsum(0) - room
    return torch.minimum(room, (count - before).clamp_min(0))


def _fill_in_rounds(room: Tensor, count: int) -> Tensor:
    """One for each place with room in turn, until none is left."""
    given = torch.zeros_like(room)
    while count and bool((room > given).any()):
        open_places = (room > given).nonzero().flatten()
        rounds = min(count // len(open_places), int((room - given)[open_places].min()))
        chosen = open_places if rounds else open_places[:count]
        given[chosen] += max(rounds, 1)
        count -= max(rounds, 1) * len(chosen)
    return given


class FramePath(NamedTuple):
    """The path that frames take, known once a decision: `[T, D]` unit frame means, `[T]` curvature on the CPU."""

    representation: Float[Tensor, "frames channels"]
    curvature: Float[Tensor, "frames"]


@dataclass(frozen=True)
class Budget(Part):
    """Base of budgets: `budget.weights(tokens, path)` says what share of all tokens each frame may keep."""

    @abstractmethod
    def weights(self, tokens: VideoTokens, path: FramePath) -> Float[Tensor, "frames"]:
        """Weights `[T]` on the CPU; only their proportions count."""


@dataclass(frozen=True)
class CurvatureBudget(Budget):
    """Frames at which the path of frames turns keep more: softmax of curvature over the temperature.

    Parameters
    ----------
    temperature
        Above 0; the larger, the more alike the frames.
    keep_ends
        True: the first and the last frame, which have no curvature (it counts as 1), weigh as much as the sharpest
        turn. The authors' log names such a switch, which is off; what it does there is not published.

    Source: V-CAST (arXiv:2603.27650), section 3.2, eq. 3.
    """

    name: ClassVar[str] = "curvature"
    source: ClassVar[str] = "V-CAST (arXiv:2603.27650), section 3.2"

    temperature: float = 0.7
    keep_ends: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("temperature", self.temperature, 0, open_low=True)

    def weights(self, tokens: VideoTokens, path: FramePath) -> Float[Tensor, "frames"]:
        """Softmax of curvature."""
        curvature = path.curvature
        if self.keep_ends:
            ends = torch.tensor([0, len(curvature) - 1])
            curvature = curvature.index_fill(0, ends, float(curvature.max()))
        return curvature_weights(curvature, temperature=self.temperature)


@dataclass(frozen=True)
class UniformBudget(Budget):
    """Every frame keeps as many, the control of the other budgets."""

    name: ClassVar[str] = "uniform"

    def weights(self, tokens: VideoTokens, path: FramePath) -> Float[Tensor, "frames"]:
        """Equal weights."""
        return uniform_weights(tokens.grid.frames)


@dataclass(frozen=True)
class SegmentBudget(Budget):
    """Every segment keeps as many, and its frames share that equally.

    Parameters
    ----------
    segmenter
        Object, or name in `SEGMENTERS`.

    Source: V-CAST (arXiv:2603.27650), the segment-based budget it compares with.
    """

    name: ClassVar[str] = "segments"
    source: ClassVar[str] = "V-CAST (arXiv:2603.27650), the budget it compares with"
    slots: ClassVar[Mapping[str, Slot]] = {"segmenter": Slot(SEGMENTERS)}

    segmenter: Segmenter | str = "dyseg"

    def weights(self, tokens: VideoTokens, path: FramePath) -> Float[Tensor, "frames"]:
        """Inverse lengths of segments."""
        return segment_weights(self.part("segmenter")(tokens))

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """What the segmenter reads."""
        needs: Needs = self.part("segmenter").needs(layout)
        return needs


@dataclass(frozen=True)
class UniquenessBudget(Budget):
    """Frames that are unlike the video keep more: `1 + p[t] - mean p` of VidCom2's softmax p.

    Source: VidCom2 (arXiv:2505.14454), section 3, eq. 2 and 3.
    """

    name: ClassVar[str] = "uniqueness"
    source: ClassVar[str] = "VidCom2 (arXiv:2505.14454), section 3"

    def weights(self, tokens: VideoTokens, path: FramePath) -> Float[Tensor, "frames"]:
        """Relative rates of frames, before any is cut to a whole frame."""
        return to_host(frame_rates(uniqueness(tokens.features, retention=1.0).video))


@dataclass(frozen=True)
class WindowsBudget(Budget):
    """As many as HoliTom leaves of each frame: places that are static in its window count in the window's first frame.

    Parameters
    ----------
    tau
        Similarity above which a place is static.

    Source: HoliTom (arXiv:2505.21334), section 3.2.
    """

    name: ClassVar[str] = "windows"
    source: ClassVar[str] = "HoliTom (arXiv:2505.21334), section 3.2"

    tau: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("tau", self.tau, -1, 1)

    def weights(self, tokens: VideoTokens, path: FramePath) -> Float[Tensor, "frames"]:
        """Tokens left of each frame when static places are kept once a window."""
        persistence = token_persistence(tokens.features.float()).nan_to_num(0.0)
        windows = static_windows(persistence, tau=self.tau)
        left = torch.full((tokens.grid.frames,), tokens.grid.tokens_per_frame, dtype=torch.float32)
        end = 0
        for length in windows.lengths.tolist():
            start, end = end, end + length
            if length > 1:
                left[start + 1 : end] -= float(windows.gain[start, end - 1]) / (length - 1)
        return left


BUDGETS: Registry[Budget] = Registry(
    *("BUDGETS", "budget", Budget),
    *(CurvatureBudget(), UniformBudget(), SegmentBudget(), UniquenessBudget(), WindowsBudget()),
)
