"""A control: a random token of every 2 x 2 block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from redundancy.pruning.methods.controls.blocks import Blocks
from redundancy.pruning.parts.draw import generator_of
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens


@dataclass(frozen=True)
class RandomOf2x2(Blocks):
    """A random token of every 2 x 2 block of the grid, drawn anew in every frame.

    Parameters
    ----------
    seed
        Of the draw; each video has its own stream.

    Example
    -------
    >>> RandomOf2x2(seed=1)(tokens).achieved
    0.25
    """

    name: ClassVar[str] = "random_of_2x2"

    seed: int = 0

    def _decide(self, tokens: VideoTokens) -> Reduction:
        block, first = self.corners(tokens)
        draw = torch.rand(len(block), generator=generator_of(tokens, self.seed, stream="2x2")).to(block.device)
        order = draw.argsort(stable=True)
        order = order[block[order].argsort(stable=True)]  # by block, at random within it
        start = torch.searchsorted(block[order], torch.arange(len(first), device=block.device))
        return self._select(tokens, order[start].sort().values)
