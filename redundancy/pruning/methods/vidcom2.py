"""VidCom2: tokens that are unlike their frame and their video, more of them in frames that are unlike the video."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.pruning.base import Kind, Method, require_range
from redundancy.pruning.host import to_host
from redundancy.pruning.parts.select import rank, true_indices
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens

KERNEL_WIDTHS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0)
TEMPERATURE = 0.01
EPSILON = 1e-12


class Uniqueness(NamedTuple):
    """Likeness `[T, N]` of each token to the video and to its frame, budgets `[T]`, and what led to them."""

    video: Float[Tensor, "frames tokens"]
    frame: Float[Tensor, "frames tokens"]
    rate: Float[Tensor, "frames"]
    budget: Int64[Tensor, "frames"]
    channels: Int64[Tensor, "kept_channels"]


@dataclass(frozen=True)
class VidCom2(Method):
    """Selection by uniqueness, with frame budgets by the frame's uniqueness in the video.

    Parameters
    ----------
    retention
        Share of tokens to keep, in (0, 1]; frames keep more or fewer, and at least one token.
    parity
        As the authors' code, which drops tokens of ordinary frames at a retention of 1. By default 1 keeps everything.

    Outputs keep their positions where position ids follow the grid (the Qwen families) and are numbered on elsewhere,
    as in the authors' code.

    Example
    -------
    >>> VidCom2(retention=0.25)(tokens).achieved
    0.25

    Source: VidCom2 (arXiv:2505.14454), section 3; details from the authors' code.
    """

    name: ClassVar[str] = "vidcom2"
    paper: ClassVar[str] = "VidCom2 (arXiv:2505.14454)"
    kind: ClassVar[Kind] = "baseline"

    retention: float = 0.25
    parity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("retention", self.retention, 0, 1, open_low=True)

    def bounds(self, tokens: VideoTokens) -> tuple[float, float]:
        """Rounding in every frame, at least one token; a frame that asks for more than it has loses the rest."""
        T, N, r = tokens.grid.frames, tokens.grid.tokens_per_frame, self.retention
        lost = max(r * (2 - 1 / T) - 1, 0.0) / T
        return max(r - lost - 0.5 / N, 0.0), max(min(r + 0.5 / N, 1.0), 1 / N)

    def _decide(self, tokens: VideoTokens) -> Reduction:
        if self.retention == 1 and not self.parity:
            return self._keep_all(tokens)
        unique = uniqueness(tokens.features, retention=self.retention)
        reduction = self._select(
            tokens,
            vidcom2(unique),
            channels=unique.channels,
            rate=unique.rate,
            budget=unique.budget,
        )
        changed: dict[str, Any] = {}
        if not tokens.layout.grid_positions:
            changed["placement"] = "renumbered"
        if tokens.layout.newline == "row":
            changed["newline"] = "all"
        return replace(reduction, **changed)


def vidcom2(unique: Uniqueness) -> Int64[Tensor, "kept"]:
    """Indices into T*N, ascending: of each frame the `budget[t]` tokens least like the video and the frame together.

    Source: VidCom2 (arXiv:2505.14454), section 3.
    """
    likeness = unique.video + unique.frame
    keep = rank(-likeness) < unique.budget[:, None]
    return true_indices(keep, int(to_host(unique.budget.sum())))


def uniqueness(features: Float[Tensor, "frames tokens channels"], *, retention: float) -> Uniqueness:
    """Global uniqueness: how like each token is to the video and to its frame, and the budgets that follow.

    1. Half of the channels, those of smallest variance over all tokens, are kept; tokens get unit length on them.
    2. Likeness to a centre is a sum of Gaussian kernels of `KERNEL_WIDTHS`; centres are plain means.
    3. A frame's score is minus its mean likeness to the video; `p = softmax(score / 0.01)`.
    4. `rate[t] = min(1, retention * (1 + p[t] - mean p))`, `budget[t] = max(1, round(rate[t] * N))`, half to even.

    Source: VidCom2 (arXiv:2505.14454), section 3, eq. 1 to 5; details from the authors' code.
    """
    _, N, D = features.shape
    x = features.float()
    variance = x.flatten(0, 1).var(dim=0, correction=0)
    channels = variance.argsort(stable=True)[: max(int(D * 0.5), 1)].sort().values
    x = x[..., channels]
    x = x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(EPSILON)
    to_video = _kernel(x, x.mean((0, 1)))
    to_frame = _kernel(x, x.mean(1, keepdim=True))
    score = -to_video.mean(1)
    p = ((score - score.max()) / TEMPERATURE).softmax(0)
    rate = (retention * (1 + p - p.mean())).clamp_max(1.0)
    budget = (rate * N).round().long().clamp(1, N)
    return Uniqueness(to_video, to_frame, rate, budget, channels)


def _kernel(x: Tensor, centre: Tensor) -> Float[Tensor, "frames tokens"]:
    squared = (x - centre).square().sum(-1)
    widths = torch.tensor(KERNEL_WIDTHS, dtype=x.dtype, device=x.device)
    return torch.exp(-squared[..., None] / (2 * widths)).sum(-1)
