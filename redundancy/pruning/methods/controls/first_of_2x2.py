"""A control: the first token of every 2 x 2 block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from redundancy.pruning.methods.controls.blocks import Blocks
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens


@dataclass(frozen=True)
class FirstOf2x2(Blocks):
    """The first token of every 2 x 2 block of the grid.

    Example
    -------
    >>> FirstOf2x2()(tokens).anchor[:4].tolist()
    [0, 2, 8, 10]
    """

    name: ClassVar[str] = "first_of_2x2"

    def _decide(self, tokens: VideoTokens) -> Reduction:
        return self._select(tokens, self.corners(tokens)[1].sort().values)
