"""VisionZip: per frame the most attended tokens, and a few that take up the rest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.pruning.base import Entries, Kind, Method, Needs, require_choice, require_range
from redundancy.pruning.part import Slot
from redundancy.pruning.parts.merge import cluster_sizes
from redundancy.pruning.parts.salience import SALIENCE_SOURCES, Salience
from redundancy.pruning.parts.select import rank
from redundancy.reduction import Reduction
from redundancy.tokens import TokenLayout, VideoTokens

DOMINANT_SHARE = 54 / 64
METRICS = ("features", "keys")


@dataclass(frozen=True)
class VisionZip(Method):
    """Dominant tokens by attention received, contextual tokens that add the mean of those nearest to them.

    Parameters
    ----------
    retention
        Share of tokens to keep, in (0, 1]; the published setting keeps 64 of 196, 54 of them dominant. Of `r N` tokens
        a share of 54 / 64 is dominant, at least one is contextual (own rule: the authors give counts).
    salience
        Object, or name in `SALIENCE_SOURCES`: the attention received, for SigLIP has no class token.
    metric
        What the other tokens are compared by: `"features"`, or `"keys"` of the tower, as the original does. Keys are
        recorded by `prune` on its own, and by a capture with `keys=True`.
    parity
        As the authors' code: contextual tokens stand behind the dominant ones of their frame. By default all stand in
        raster order.

    Works on projected tokens; the original works before the projector.

    Example
    -------
    >>> VisionZip(retention=0.25)(tokens).achieved
    0.25

    Source: VisionZip (arXiv:2412.04467), section 3; details from the authors' code.
    """

    name: ClassVar[str] = "visionzip"
    paper: ClassVar[str] = "VisionZip (arXiv:2412.04467)"
    kind: ClassVar[Kind] = "baseline"
    row_sums: ClassVar[tuple[float, ...]] = (1.0, 2.0)
    slots: ClassVar[Mapping[str, Slot]] = {"salience": Slot(SALIENCE_SOURCES)}

    retention: float = 64 / 196
    salience: Salience | str = "received"
    metric: str = "features"
    parity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("retention", self.retention, 0, 1, open_low=True)
        require_choice("metric", self.metric, METRICS)

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """What the source of salience reads, and the tower's keys if they are the metric."""
        needs: Needs = self.part("salience").needs(layout)
        return needs.also(Needs(keys=self.metric == "keys"))

    def bounds(self, tokens: VideoTokens) -> tuple[float, float]:
        """Exact: dominant and contextual tokens of every frame."""
        dominant, contextual, _ = self.counts(tokens.grid.tokens_per_frame)
        share = (dominant + contextual) / tokens.grid.tokens_per_frame
        return share, share

    def counts(self, tokens_per_frame: int) -> tuple[int, int, list[str]]:
        """Dominant and contextual tokens of a frame, and what had to be clamped."""
        total = max(round(self.retention * tokens_per_frame), 1)
        asked = round(self.retention * tokens_per_frame * DOMINANT_SHARE)
        contextual = max(total - asked, 1)
        dominant = max(min(asked, tokens_per_frame - contextual), 0)
        notes = [] if (dominant, contextual) == (asked, total - asked) else ["at least one token is contextual"]
        return dominant, contextual, notes

    def _decide(self, tokens: VideoTokens) -> Reduction:
        dominant, contextual, notes = self.counts(tokens.grid.tokens_per_frame)
        entries = visionzip(
            tokens.tower_keys() if self.metric == "keys" else tokens.features,
            self.part("salience")(tokens),
            dominant=dominant,
            contextual=contextual,
            parity=self.parity,
        )
        stages: dict[str, Any] = {"metric": self.metric, "clamped": notes}
        return self._merge(tokens, entries._replace(stages=dict(entries.stages) | stages))


def visionzip(
    metric: Float[Tensor, "frames tokens metric_channels"],
    salience: Float[Tensor, "frames tokens"],
    *,
    dominant: int,
    contextual: int,
    parity: bool = False,
) -> Entries:
    """Entries of the reduction, outputs frame by frame.

    1. The `dominant` most salient tokens of each frame are kept as they are.
    2. Of the M others in raster order every `max(1, M // contextual)`-th is a target, the first `contextual` of them.
    3. Every other token goes to the target of its frame with the largest cosine of `metric`.
    4. A target becomes itself plus the mean of what goes to it: its weights sum to 2, or to 1 without any.

    Source: VisionZip (arXiv:2412.04467), section 3; details from the authors' code.
    """
    T, N = salience.shape
    device = metric.device
    unit = torch.nn.functional.normalize(metric.float(), dim=-1)
    is_dominant = rank(salience) < dominant
    order = is_dominant.to(torch.uint8).argsort(dim=1, stable=True)  # others first, both in raster order
    others, best = order[:, : N - dominant], order[:, N - dominant :]
    M = N - dominant
    at = torch.arange(M)[:: max(1, M // contextual)][:contextual]
    targets = others[:, at.to(device)]
    left = torch.ones(M, dtype=torch.bool)
    left[at] = False
    rest = others[:, left.nonzero().flatten().to(device)]
    frame = torch.arange(T, device=device)[:, None]
    nearest = (unit[frame, rest] @ unit[frame, targets].transpose(1, 2)).argmax(-1)
    anchor = torch.cat([best, targets], 1)
    place = torch.arange(anchor.shape[1], device=device).expand_as(anchor)
    if not parity:
        position = anchor.argsort(dim=1)
        anchor, place = anchor.gather(1, position), position.argsort(dim=1)
    kept = anchor.shape[1]
    target = frame * kept + place[:, best.shape[1] :].gather(1, nearest)
    size = cluster_sizes(target.flatten(), T * kept)
    outputs = torch.arange(T * kept, device=device)
    flat = (anchor + frame * N).flatten()
    return Entries(
        anchor=flat,
        source=torch.cat([flat, (rest + frame * N).flatten()]),
        target=torch.cat([outputs, target.flatten()]),
        weight=torch.cat([torch.ones_like(size), 1 / size[target.flatten()]]),
        stages={"dominant": best, "contextual": targets},
    )
