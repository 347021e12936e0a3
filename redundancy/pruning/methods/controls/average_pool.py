"""A control: the mean of every 2 x 2 block."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from redundancy.pruning.base import Entries, require_choice
from redundancy.pruning.methods.controls.blocks import Blocks
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens


@dataclass(frozen=True)
class AveragePool(Blocks):
    """The mean of every 2 x 2 block of the grid.

    Parameters
    ----------
    placement
        `"anchor"`: at the block's first cell; `"centroid"`: at the mean of its cells' positions.

    Example
    -------
    >>> AveragePool()(tokens).achieved
    0.25
    """

    name: ClassVar[str] = "average_pool"

    placement: str = "anchor"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("placement", self.placement, ("anchor", "centroid"))

    def _decide(self, tokens: VideoTokens) -> Reduction:
        block, first = self.corners(tokens)
        size = torch.bincount(block, minlength=len(first)).double()
        entries = Entries(
            anchor=first,
            source=torch.arange(len(block), device=block.device),
            target=block,
            weight=1 / size[block],
            stages={},
        )
        return replace(self._merge(tokens, entries), placement=self.placement)
