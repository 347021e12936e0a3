"""Blocks of 2 x 2 tokens, which fix the rate of a control."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from redundancy.pruning.base import Kind, Method
from redundancy.tokens import TokenGrid, VideoTokens


@dataclass(frozen=True)
class Blocks(Method):
    """Base of the controls whose rate the 2 x 2 blocks fix."""

    kind: ClassVar[Kind] = "control"
    compares: ClassVar[bool] = False

    def bounds(self, tokens: VideoTokens) -> tuple[float, float]:
        """Exact: one token a block."""
        share = -(-tokens.grid.rows // 2) * -(-tokens.grid.cols // 2) / tokens.grid.tokens_per_frame
        return share, share

    def corners(self, tokens: VideoTokens) -> tuple[Tensor, Tensor]:
        """Block `[T*N]` of every token over the video, and the first token of every block."""
        T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
        block = blocks(tokens.grid)
        count = int(block.max()) + 1
        first = torch.full((count,), N).scatter_reduce(0, block, torch.arange(N), "amin")
        offset = torch.arange(T)[:, None]
        device = tokens.features.device
        return (block + offset * count).flatten().to(device), (first + offset * N).flatten().to(device)


def blocks(grid: TokenGrid) -> Int64[Tensor, "tokens"]:
    """`[N]` number of the 2 x 2 block of each token; blocks in raster order, an odd border is blocks of its own."""
    row, col = torch.arange(grid.rows) // 2, torch.arange(grid.cols) // 2
    return (row[:, None] * (-(-grid.cols // 2)) + col).flatten()
