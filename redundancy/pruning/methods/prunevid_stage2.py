"""PruneVid's second stage: inside the language model, the outputs of the first that the question attends to stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.pruning.base import Entries, InnerMethod, Kind, require_range
from redundancy.reduction import Reduction

STAGES = ("segments", "static", "dynamic")


@dataclass(frozen=True)
class PruneVidStage2(InnerMethod):
    """Keep a share of the static outputs of each segment and of the other outputs of each frame.

    It needs `PruneVid` as the outer method, whose segments it reads.

    Parameters
    ----------
    layer
        First decoder layer that sees fewer tokens, at least 1.
    alpha
        Share that stays, in (0, 1].

    Example
    -------
    >>> PruneVidStage2(layer=2)(torch.randn(32, 8), torch.rand(32), outer=PruneVid(cluster_ratio=0.25)(tokens)).kept
    8

    Source: PruneVid (arXiv:2412.16117), section 3.4.
    """

    name: ClassVar[str] = "prunevid_stage2"
    paper: ClassVar[str] = "PruneVid (arXiv:2412.16117)"
    kind: ClassVar[Kind] = "baseline"
    outer: ClassVar[str | None] = "prunevid"
    queries: ClassVar[Literal["last", "question", "none"]] = "question"

    layer: int = 10
    alpha: float = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("layer", self.layer, 1)
        require_range("alpha", self.alpha, 0, 1, open_low=True)

    def _decide_span(self, hidden: Tensor, attention: Tensor, outer: Reduction | None) -> Entries:
        stages = {} if outer is None else outer.stages
        if outer is None or outer.layer is not None or not set(STAGES) <= set(stages) or outer.kept != len(attention):
            given = "no reduction" if outer is None else f"a reduction of {outer.method} with {outer.kept} outputs"
            raise ValueError(
                f"PruneVidStage2 works on the {len(attention)} outputs of PruneVid, given {given} before it; use "
                "prune(model, PruneVid(), inner=[PruneVidStage2()])"
            )
        sizes = {name: stages[name] for name in STAGES}
        return self._kept(prunevid_stage2(attention[None, None], **sizes, alpha=self.alpha))


def prunevid_stage2(
    attention: Float[Tensor, "heads queries kept"],
    *,
    segments: Int64[Tensor, "segments"],
    static: Int64[Tensor, "segments"],
    dynamic: Int64[Tensor, "segments"],
    alpha: float = 0.4,
) -> Int64[Tensor, "selected"]:
    """Which outputs of stage 1 stay inside the language model, ascending.

    A token's score is its largest attention over heads and text queries. Of each segment `int(alpha * count)` of the
    static outputs stay, and of each of its frames `int(alpha * count)` of that frame's others; equal scores by index.

    Parameters
    ----------
    attention
        Of the text queries after the video on the outputs of stage 1.
    segments, static, dynamic
        Frames, static outputs and other outputs of each segment: the stages of `prunevid`.
    alpha
        Share that stays.

    Source: PruneVid (arXiv:2412.16117), section 3.4; details from the authors' code.
    """
    score = attention.float().amax((0, 1))
    sizes = []
    for frames, still, moving in zip(segments.tolist(), static.tolist(), dynamic.tolist(), strict=True):
        sizes += [still, *[moving // frames] * frames]
    kept, start = [], 0
    for size in sizes:
        best = score[start : start + size].sort(descending=True, stable=True).indices[: int(alpha * size)]
        kept.append(start + best.sort().values)
        start += size
    return torch.cat(kept)
