"""The control of every method: tokens drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from redundancy.pruning.base import Kind, Method, require_range
from redundancy.pruning.parts.draw import generator_of
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens


@dataclass(frozen=True)
class RandomTokens(Method):
    """Tokens drawn uniformly without replacement, equally many in every frame, or over the whole video.

    Parameters
    ----------
    retention
        Share of tokens to keep, in (0, 1].
    seed
        Of the draw; each video has its own stream.
    across_frames
        Draw over the whole video, so that frames keep different numbers.

    Example
    -------
    >>> RandomTokens(retention=0.25, seed=1)(tokens).achieved
    0.25
    """

    name: ClassVar[str] = "random_tokens"
    kind: ClassVar[Kind] = "control"
    compares: ClassVar[bool] = False

    retention: float = 0.25
    seed: int = 0
    across_frames: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("retention", self.retention, 0, 1, open_low=True)

    def bounds(self, tokens: VideoTokens) -> tuple[float, float]:
        """Exact but for rounding: of tokens in a frame, or in the video."""
        of = tokens.grid.tokens_per_frame * (tokens.grid.frames if self.across_frames else 1)
        share = per_frame(of, self.retention) / of
        return share, share

    def _decide(self, tokens: VideoTokens) -> Reduction:
        T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
        draw = torch.rand(T, N, generator=generator_of(tokens, self.seed))
        if self.across_frames:
            kept = draw.flatten().argsort(stable=True)[: per_frame(T * N, self.retention)].sort().values
        else:
            order = draw.argsort(dim=1, stable=True)[:, : per_frame(N, self.retention)].sort(dim=1).values
            kept = (order + torch.arange(T)[:, None] * N).flatten()
        return self._select(tokens, kept.to(tokens.features.device))


def per_frame(tokens_per_frame: int, retention: float) -> int:
    """`N * retention` rounded half to even, at least 1."""
    return max(round(retention * tokens_per_frame), 1)
