"""VidCom2: tokens that are unlike their frame and their video, more of them in frames that are unlike the video."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from jaxtyping import Int64
from torch import Tensor

from redundancy.pruning.base import Kind, Method, require_range
from redundancy.pruning.host import to_host
from redundancy.pruning.parts.select import rank, true_indices
from redundancy.pruning.parts.uniqueness import Uniqueness, uniqueness
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens


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
