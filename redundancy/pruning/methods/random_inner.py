"""The control of methods inside the language model: places drawn at random."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from redundancy.pruning.base import Entries, InnerMethod, Kind, require_range
from redundancy.pruning.host import to_host
from redundancy.reduction import Reduction


@dataclass(frozen=True)
class RandomInner(InnerMethod):
    """Keep `N - int(N * drop_rate)` video tokens drawn uniformly without replacement, in their order: FastV's control.

    Parameters
    ----------
    layer
        First decoder layer that sees fewer tokens, at least 1.
    drop_rate
        Share of the span to drop, in [0, 1).
    seed
        Of the draw; each span has its own stream, told by the energy of its states to three digits.

    Example
    -------
    >>> RandomInner(layer=2)(hidden, attention).kept
    5
    """

    name: ClassVar[str] = "random_inner"
    kind: ClassVar[Kind] = "control"
    queries: ClassVar[Literal["last", "question", "none"]] = "none"

    layer: int = 2
    drop_rate: float = 0.75
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("layer", self.layer, 1)
        require_range("drop_rate", self.drop_rate, 0, 1, open_high=True)

    def _decide_span(self, hidden: Tensor, attention: Tensor, outer: Reduction | None) -> Entries:
        S = len(hidden)
        energy = float(to_host(hidden.double().square().sum()))
        digest = hashlib.sha256(f"{self.seed}:{S}:{energy:.2e}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)
        keep = torch.randperm(S, generator=generator)[: S - int(self.drop_rate * S)].sort().values
        return self._kept(keep.to(hidden.device))
