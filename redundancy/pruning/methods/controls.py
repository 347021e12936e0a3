"""Controls: what any method has to beat at the same number of tokens."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from redundancy.pruning.base import Entries, Method, require_choice, require_range
from redundancy.pruning.host import to_host
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid, VideoTokens


def generator_of(tokens: VideoTokens, seed: int, *, stream: str = "") -> torch.Generator:
    """A generator for a seed, a video and a stream, on the CPU: controls with streams of their own do not agree.

    A video is told by the energy of its frames to three digits: rounding on another device does not change it, nor does
    the order of channels, and two videos share it only by accident.
    """
    energy = to_host(tokens.features.double().square().sum((1, 2))).tolist()
    told = ",".join(f"{e:.2e}" for e in energy)
    digest = hashlib.sha256(f"{seed}:{tuple(tokens.grid)}:{told}{stream}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)


def per_frame(tokens_per_frame: int, retention: float) -> int:
    """`N * retention` rounded half to even, at least 1."""
    return max(round(retention * tokens_per_frame), 1)


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
    """

    compares: ClassVar[bool] = False

    retention: float = 0.25
    seed: int = 0
    across_frames: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("retention", self.retention, 0, 1, open_low=True)

    def _decide(self, tokens: VideoTokens) -> Reduction:
        T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
        draw = torch.rand(T, N, generator=generator_of(tokens, self.seed))
        if self.across_frames:
            kept = draw.flatten().argsort(stable=True)[: per_frame(T * N, self.retention)].sort().values
        else:
            order = draw.argsort(dim=1, stable=True)[:, : per_frame(N, self.retention)].sort(dim=1).values
            kept = (order + torch.arange(T)[:, None] * N).flatten()
        return self._select(tokens, kept.to(tokens.features.device))


@dataclass(frozen=True)
class UniformTokens(Method):
    """The same evenly spaced places of every frame, in raster order.

    Parameters
    ----------
    retention
        Share of tokens to keep, in (0, 1].
    """

    compares: ClassVar[bool] = False

    retention: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("retention", self.retention, 0, 1, open_low=True)

    def _decide(self, tokens: VideoTokens) -> Reduction:
        T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
        k = per_frame(N, self.retention)
        place = (((torch.arange(k, dtype=torch.float64) + 0.5) * N / k) - 0.5).round().long()
        kept = (place + torch.arange(T)[:, None] * N).flatten()
        return self._select(tokens, kept.to(tokens.features.device))


@dataclass(frozen=True)
class FrameDrop(Method):
    """Whole frames, evenly spaced over the video, its ends included.

    Parameters
    ----------
    retention
        Share of frames to keep, in (0, 1].
    """

    compares: ClassVar[bool] = False

    retention: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("retention", self.retention, 0, 1, open_low=True)

    def _decide(self, tokens: VideoTokens) -> Reduction:
        T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
        frames = torch.linspace(0, T - 1, max(round(self.retention * T), 1), dtype=torch.float64).round().long()
        kept = (frames[:, None] * N + torch.arange(N)).flatten()
        return self._select(tokens, kept.to(tokens.features.device), frames=frames)


def blocks(grid: TokenGrid) -> Int64[Tensor, "tokens"]:
    """`[N]` number of the 2 x 2 block of each token; blocks in raster order, an odd border is blocks of its own."""
    row, col = torch.arange(grid.rows) // 2, torch.arange(grid.cols) // 2
    return (row[:, None] * (-(-grid.cols // 2)) + col).flatten()


@dataclass(frozen=True)
class _Blocks(Method):
    """Base of the controls whose rate the 2 x 2 blocks fix."""

    compares: ClassVar[bool] = False

    def _corners(self, tokens: VideoTokens) -> tuple[Tensor, Tensor]:
        """Block `[T*N]` of every token over the video, and the first token of every block."""
        T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
        block = blocks(tokens.grid)
        count = int(block.max()) + 1
        first = torch.full((count,), N).scatter_reduce(0, block, torch.arange(N), "amin")
        offset = torch.arange(T)[:, None]
        device = tokens.features.device
        return (block + offset * count).flatten().to(device), (first + offset * N).flatten().to(device)


@dataclass(frozen=True)
class AveragePool(_Blocks):
    """The mean of every 2 x 2 block of the grid.

    Parameters
    ----------
    placement
        `"anchor"`: at the block's first cell; `"centroid"`: at the mean of its cells' positions.
    """

    placement: str = "anchor"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("placement", self.placement, ("anchor", "centroid"))

    def _decide(self, tokens: VideoTokens) -> Reduction:
        block, first = self._corners(tokens)
        size = torch.bincount(block, minlength=len(first)).double()
        entries = Entries(
            anchor=first,
            source=torch.arange(len(block), device=block.device),
            target=block,
            weight=1 / size[block],
            stages={},
        )
        return replace(self._merge(tokens, entries), placement=self.placement)


@dataclass(frozen=True)
class FirstOf2x2(_Blocks):
    """The first token of every 2 x 2 block of the grid."""

    def _decide(self, tokens: VideoTokens) -> Reduction:
        return self._select(tokens, self._corners(tokens)[1].sort().values)


@dataclass(frozen=True)
class RandomOf2x2(_Blocks):
    """A random token of every 2 x 2 block of the grid, drawn anew in every frame.

    Parameters
    ----------
    seed
        Of the draw; each video has its own stream.
    """

    seed: int = 0

    def _decide(self, tokens: VideoTokens) -> Reduction:
        block, first = self._corners(tokens)
        draw = torch.rand(len(block), generator=generator_of(tokens, self.seed, stream="2x2")).to(block.device)
        order = draw.argsort(stable=True)
        order = order[block[order].argsort(stable=True)]  # by block, at random within it
        start = torch.searchsorted(block[order], torch.arange(len(first), device=block.device))
        return self._select(tokens, order[start].sort().values)
