"""HoliTom inside the language model: tokens of little attention merge into the kept one that resembles them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.pruning.base import Entries, InnerMethod, require_range
from redundancy.pruning.part import Slot
from redundancy.pruning.parts.merge import MERGERS, Merger, nearest_by_cosine
from redundancy.pruning.parts.select import rank
from redundancy.reduction import Reduction


@dataclass(frozen=True)
class HoliTomInner(InnerMethod):
    """Merge away the places of the span that the last query attends to least.

    Parameters
    ----------
    layer
        Decoder layer at whose entrance the span is reduced, at least 1: it reads the attention of the layer before.
    merge_rate
        Share of the span to merge away, in [0, 1); one place at least stays.
    merger
        Object, or name in `MERGERS`; `"sequential_halving"` as the authors', or for example `"cluster_mean"`.
    parity
        As the authors' code: a kept place of zeros attracts every other. By default its cosines are 0.

    Example
    -------
    >>> HoliTomInner(layer=2, merge_rate=0.5)(hidden, attention).kept
    10

    Source: HoliTom (arXiv:2505.21334), section 3.4.
    """

    name: ClassVar[str] = "holitom_inner"
    paper: ClassVar[str] = "HoliTom (arXiv:2505.21334)"
    slots: ClassVar[Mapping[str, Slot]] = {"merger": Slot(MERGERS)}
    with_newlines: ClassVar[bool] = True

    layer: int = 18
    merge_rate: float = 0.5
    merger: Merger | str = "sequential_halving"
    parity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("layer", self.layer, 1)
        require_range("merge_rate", self.merge_rate, 0, 1, open_high=True)

    def _decide_span(self, hidden: Tensor, attention: Tensor, outer: Reduction | None) -> Entries:
        merger: Merger = self.part("merger")
        return holitom_inner(hidden, attention, merge_rate=self.merge_rate, merger=merger, parity=self.parity)


def holitom_inner(
    hidden: Float[Tensor, "span channels"],
    attention: Float[Tensor, "span"],
    *,
    merge_rate: float,
    merger: Merger | str = "sequential_halving",
    parity: bool = False,
) -> Entries:
    """HoliTom's merging of a span on plain arrays.

    1. The `round(L (1 - rate))` places (half to even, at least 1) of largest attention stay.
    2. Each other place goes to the kept one of largest cosine, of equal ones to the more attended.
    3. In ascending order of the places, `kept <- (kept + other) / 2`.

    Returns
    -------
    Indices into the span, ascending; stages `kept_ranked` (by decreasing attention), `merged` and `target` (places),
    `clamped`.

    Source: HoliTom (arXiv:2505.21334), section 3.4; details from the authors' code.
    """
    L, asked = len(hidden), round(len(hidden) * (1 - merge_rate))
    keep = min(max(asked, 1), L)
    place = rank(attention)
    ranked = place.argsort()
    kept, merged = ranked[:keep], ranked[keep:].sort().values
    x = hidden.float()
    nearest = kept[nearest_by_cosine(x[merged], x[kept], epsilon=0.0 if parity else 1e-12)]
    anchor = kept.sort().values
    output = torch.empty_like(place)
    output[anchor] = torch.arange(keep, device=anchor.device)
    weights = MERGERS.resolved(merger)(output[nearest], keep)
    stages: dict[str, Any] = {
        "kept_ranked": kept,
        "merged": merged,
        "target": nearest,
        "clamped": [] if keep == asked else [f"{asked} places to keep: {keep}"],
    }
    return Entries(
        anchor=anchor,
        source=torch.cat([anchor, merged]),
        target=torch.cat([torch.arange(keep, device=anchor.device), output[nearest]]),
        weight=torch.cat([weights.anchor, weights.member]),
        stages=stages,
    )
