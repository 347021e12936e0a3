"""A control that looks at nothing: evenly spaced places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from redundancy.pruning.base import Kind, Method, require_range
from redundancy.pruning.methods.controls.random_tokens import per_frame
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens


@dataclass(frozen=True)
class UniformTokens(Method):
    """The same evenly spaced places of every frame, in raster order.

    Parameters
    ----------
    retention
        Share of tokens to keep, in (0, 1].

    Example
    -------
    >>> UniformTokens(retention=0.25)(tokens).anchor[:4].tolist()
    [2, 6, 10, 14]
    """

    name: ClassVar[str] = "uniform_tokens"
    kind: ClassVar[Kind] = "control"
    compares: ClassVar[bool] = False

    retention: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("retention", self.retention, 0, 1, open_low=True)

    def bounds(self, tokens: VideoTokens) -> tuple[float, float]:
        """Exact but for rounding of tokens in a frame."""
        N = tokens.grid.tokens_per_frame
        share = per_frame(N, self.retention) / N
        return share, share

    def _decide(self, tokens: VideoTokens) -> Reduction:
        T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
        k = per_frame(N, self.retention)
        place = (((torch.arange(k, dtype=torch.float64) + 0.5) * N / k) - 0.5).round().long()
        kept = (place + torch.arange(T)[:, None] * N).flatten()
        return self._select(tokens, kept.to(tokens.features.device))
