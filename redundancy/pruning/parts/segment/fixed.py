"""Segments that look at nothing: of equal length, at random, or given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from redundancy.checks import whole_number
from redundancy.pruning.base import require_frames, require_range
from redundancy.pruning.parts.segment.base import Segmenter, cuts_to_lengths
from redundancy.tokens import VideoTokens


@dataclass(frozen=True)
class GivenSegments(Segmenter):
    """Segments that are known already, for example between annotated scene cuts.

    Example
    -------
    >>> GivenSegments((5, 3))(tokens).tolist()
    [5, 3]
    """

    lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        for i, length in enumerate(self.lengths):
            whole_number(f"lengths[{i}]", length, least=0)
        if not self.lengths or min(self.lengths) < 1:
            raise ValueError(f"lengths={self.lengths} given, expected positive segment lengths")

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """The given lengths, if they are those of a video of as many frames."""
        require_frames(tokens)
        if sum(self.lengths) != tokens.grid.frames:
            raise ValueError(
                f"lengths {self.lengths} add up to {sum(self.lengths)}, expected {tokens.grid.frames} frames"
            )
        return torch.tensor(self.lengths)


@dataclass(frozen=True)
class FixedInterval(Segmenter):
    """Segments of equal length; see `fixed_interval`.

    Example
    -------
    >>> FixedInterval(segments=3)(tokens).tolist()
    [2, 3, 3]

    Source: FastVID (arXiv:2503.11187), table 8.
    """

    name: ClassVar[str] = "fixed_interval"
    source: ClassVar[str] = "FastVID (arXiv:2503.11187), table 8"

    segments: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("segments", self.segments, 1)

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Segment lengths of one video."""
        require_frames(tokens)
        return fixed_interval(tokens.grid.frames, self.segments)


def fixed_interval(num_frames: int, segments: int) -> Int64[Tensor, "segments"]:
    """Segments of equal length, or lengths that differ by one; `min(segments, T)` of them.

    Source: FastVID (arXiv:2503.11187), table 8.
    """
    edges = torch.arange(min(segments, num_frames) + 1) * num_frames // min(segments, num_frames)
    return torch.diff(edges)


@dataclass(frozen=True)
class RandomCuts(Segmenter):
    """Cuts drawn at random, the control of every segmenter; see `random_cuts`.

    Example
    -------
    >>> RandomCuts(segments=3)(tokens).tolist()
    [1, 4, 3]
    """

    name: ClassVar[str] = "random_cuts"

    segments: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("segments", self.segments, 1)

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Segment lengths of one video."""
        require_frames(tokens)
        return random_cuts(tokens.grid.frames, self.segments, self.seed)


def random_cuts(num_frames: int, segments: int, seed: int) -> Int64[Tensor, "segments"]:
    """Cuts drawn uniformly without replacement, the control of every segmenter; `min(segments, T)` segments."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_frames - 1, generator=generator) if num_frames > 1 else torch.arange(0)
    return cuts_to_lengths(order[: min(segments, num_frames) - 1].sort().values, num_frames)
