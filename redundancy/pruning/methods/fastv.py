"""FastV: inside the language model, the video tokens that the last query attends to least are dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from redundancy.pruning.base import Entries, InnerMethod, Kind, require_range
from redundancy.pruning.parts.select import rank
from redundancy.reduction import Reduction


@dataclass(frozen=True)
class FastV(InnerMethod):
    """Keep the `N - int(N * drop_rate)` video tokens of largest attention, in their order; of equal ones the first.

    Parameters
    ----------
    layer
        First decoder layer that sees fewer tokens, at least 1: it reads the attention of the layer before.
    drop_rate
        Share of the span to drop, in [0, 1).

    Example
    -------
    >>> FastV(layer=2)(hidden, attention).kept
    5

    Source: FastV (arXiv:2403.06764), section 4; details from the authors' code.
    """

    name: ClassVar[str] = "fastv"
    paper: ClassVar[str] = "FastV (arXiv:2403.06764)"
    kind: ClassVar[Kind] = "baseline"

    layer: int = 2
    drop_rate: float = 0.75

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("layer", self.layer, 1)
        require_range("drop_rate", self.drop_rate, 0, 1, open_high=True)

    def _decide_span(self, hidden: Tensor, attention: Tensor, outer: Reduction | None) -> Entries:
        keep = len(attention) - int(self.drop_rate * len(attention))
        return self._kept(rank(attention).argsort()[:keep].sort().values)
