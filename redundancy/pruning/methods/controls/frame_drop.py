"""A control that looks at nothing: evenly spaced frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from redundancy.pruning.base import Kind, Method, require_range
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens


@dataclass(frozen=True)
class FrameDrop(Method):
    """Whole frames, evenly spaced over the video, its ends included.

    Parameters
    ----------
    retention
        Share of frames to keep, in (0, 1].

    Example
    -------
    >>> FrameDrop(retention=0.25)(tokens).stages["frames"].tolist()
    [0, 7]
    """

    name: ClassVar[str] = "frame_drop"
    kind: ClassVar[Kind] = "control"
    compares: ClassVar[bool] = False

    retention: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("retention", self.retention, 0, 1, open_low=True)

    def bounds(self, tokens: VideoTokens) -> tuple[float, float]:
        """Exact but for rounding of frames."""
        T = tokens.grid.frames
        share = max(round(self.retention * T), 1) / T
        return share, share

    def _decide(self, tokens: VideoTokens) -> Reduction:
        T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
        frames = torch.linspace(0, T - 1, max(round(self.retention * T), 1), dtype=torch.float64).round().long()
        kept = (frames[:, None] * N + torch.arange(N)).flatten()
        return self._select(tokens, kept.to(tokens.features.device), frames=frames)
