"""FastVID: segments, salient tokens of every frame, and density peaks of anchor frames that merge the segment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from redundancy.metrics.temporal import transition_similarity
from redundancy.pruning.base import Entries, Method, Needs, require_choice, require_range
from redundancy.pruning.host import to_host
from redundancy.pruning.part import Slot
from redundancy.pruning.parts.context import CONTEXTS, evenly, segment_clusters
from redundancy.pruning.parts.fastvid_budget import VARIANTS, FastVIDBudget, fastvid_budget
from redundancy.pruning.parts.merge import MERGERS, Merger, nearest_by_cosine
from redundancy.pruning.parts.salience import SALIENCE_SOURCES, Recorded, Salience
from redundancy.pruning.parts.segment import SEGMENTERS, Segmenter, dyseg, frame_features
from redundancy.pruning.parts.select import dual_anchor, top_salience, true_indices
from redundancy.reduction import Reduction
from redundancy.tokens import TokenLayout, VideoTokens

TAU = {"onevision": 0.9, "llava_video": 0.9, "qwen": 0.84}
# what the authors' code of each variant reads: source of salience and of frame features
PUBLISHED = {
    "onevision": ("pooling_head", "pooling_head"),
    "llava_video": ("pooling_head", "pooling_head"),
    "qwen": ("mean_query", "mean"),
}


@dataclass(frozen=True)
class FastVID(Method):
    """Density-peak pruning: per frame the most salient tokens, per segment a few context tokens that merge the rest.

    Parameters
    ----------
    retention
        Share of tokens to keep, in (0, 1].
    c, tau
        Smallest number of segments, and the similarity below which a transition is always a cut (None: the published
        0.9, on Qwen 0.84).
    d, p, beta
        Share of context tokens, every how many frames an anchor stands, and the least weight of a context token's own
        value when it merges.
    ignore
        Qwen only: transitions at least this similar are skipped inside a segment.
    variant
        `"onevision"`, `"llava_video"` or `"qwen"`, which differ in budgets; `"auto"` takes that of the tokens' family
        (`"onevision"` for families without one) and records it.
    salience
        Object, or name in `SALIENCE_SOURCES`; `"auto"`: what is native to the family (`pooling_head`, on Qwen
        `mean_query`), or what a named variant reads.
    features
        Source of frame features; `"auto"`: likewise (`pooling_head`, on Qwen `mean`).
    segmenter
        Object, or name in `SEGMENTERS`, used in place of DySeg with c and tau.
    merger
        Object, or name in `MERGERS`, which then has this `beta` if it has one.
    context
        What becomes a context token: `"density"`, the density peaks of anchor frames; `"uniform"`, as many of their
        tokens at even steps; `"cluster"`, clusters of the segment's tokens, each at the place of its first token (then
        `merger` is `"cluster_mean"` in the table that compares them).
    parity
        As the authors' code. By default a segment is merged as a whole whatever its budget, a context token is no
        member of its own cluster, zero vectors have cosine 0, and a retention of 1 keeps all tokens.

    Example
    -------
    >>> FastVID(retention=0.25, c=2)(tokens).stages["segments"].tolist()
    [5, 3]

    Source: FastVID (arXiv:2503.11187), section 3.
    """

    name: ClassVar[str] = "fastvid"
    paper: ClassVar[str] = "FastVID (arXiv:2503.11187)"
    slots: ClassVar[Mapping[str, Slot]] = {
        "salience": Slot(SALIENCE_SOURCES, words=("auto",)),
        "segmenter": Slot(SEGMENTERS),
        "merger": Slot(MERGERS, settings=("beta",)),
    }

    retention: float = 0.1
    c: int = 8
    tau: float | None = None
    d: float = 0.4
    p: int = 4
    beta: float = 0.6
    ignore: float = 0.95
    variant: str = "auto"
    salience: Salience | str = "auto"
    features: str = "auto"
    segmenter: Segmenter | str | None = None
    merger: Merger | str = "anchor_centric"
    context: str = "density"
    parity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("context", self.context, CONTEXTS)
        if self.parity and self.context != "density":
            raise ValueError(f"context={self.context!r} with parity given, the authors' code has 'density' alone")
        require_range("retention", self.retention, 0, 1, open_low=True)
        require_range("c", self.c, 1)
        require_range("d", self.d, 0, 1)
        require_range("p", self.p, 1)
        require_range("beta", self.beta, 0, 1)
        require_choice("variant", self.variant, ("auto", *VARIANTS))

    def variant_of(self, layout: TokenLayout | None) -> str:
        """The variant for a family's layout."""
        if self.variant != "auto":
            return self.variant
        return "onevision" if layout is None else layout.fastvid

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """Salience and frame features: those named, or those native to the family or the variant."""
        needs = self._salience(layout).needs(layout).also(Needs(frame_features=self._native(layout)[1]))
        return needs if self.segmenter is None else needs.also(self.part("segmenter").needs(layout))

    def bounds(self, tokens: VideoTokens) -> tuple[float, float]:
        """`int(N r)` a frame at most; the salient share at least, but quiet segments of the Qwen variant keep one."""
        T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
        if self.retention == 1 and not self.parity:
            return 1.0, 1.0
        most = max(int(N * self.retention), 1)
        if self.variant_of(tokens.layout) == "qwen":
            return 1 / (T * N), most / N
        return most * (1 - self.d) / N, most / N

    def _native(self, layout: TokenLayout | None) -> tuple[str, str]:
        """Source of salience where none is named, and of frame features."""
        salience, features = PUBLISHED[self.variant_of(layout)]
        if self.variant == "auto" and layout is not None:
            salience, features = layout.salience, layout.frame_features
        return salience, features if self.features == "auto" else self.features

    def _salience(self, layout: TokenLayout | None) -> Salience:
        found: Salience = self.part("salience") or Recorded(self._native(layout)[0])
        return found

    def _decide(self, tokens: VideoTokens) -> Reduction:
        variant = self.variant_of(tokens.layout)
        result = fastvid(
            tokens.features,
            self._salience(tokens.layout)(tokens),
            frame_features(tokens, self._native(tokens.layout)[1]),
            variant=variant,
            retention=self.retention,
            c=self.c,
            tau=TAU[variant] if self.tau is None else self.tau,
            d=self.d,
            p=self.p,
            ignore=self.ignore,
            merger=self.part("merger"),
            lengths=None if self.segmenter is None else self.part("segmenter")(tokens),
            context=self.context,
            parity=self.parity,
        )
        if self.retention == 1 and not self.parity:
            return self._keep_all(tokens, variant=variant, segments=result.stages["segments"])
        return self._merge(tokens, result)


def fastvid(
    features: Float[Tensor, "frames tokens channels"],
    salience: Float[Tensor, "frames tokens"],
    per_frame: Float[Tensor, "frames frame_channels"],
    *,
    variant: str,
    retention: float,
    c: int = 8,
    tau: float = 0.9,
    d: float = 0.4,
    p: int = 4,
    beta: float = 0.6,
    ignore: float = 0.95,
    merger: Merger | str = "anchor_centric",
    lengths: Int64[Tensor, "segments"] | None = None,
    context: str = "density",
    parity: bool = False,
) -> Entries:
    """FastVID on plain arrays.

    1. Segments: DySeg on the frame features, or `lengths`.
    2. Budgets: salient tokens of each frame, context tokens of every p-th frame from the end of a segment.
    3. The most salient tokens are kept; of the others, the density peaks of anchor frames become context tokens (or
       what else `context` says).
    4. Every token of the segment that is not salient joins, for each anchor frame, the context token of largest cosine;
       of clusters the nearest.

    Returns
    -------
    Indices into T*N, ascending; stages `segments`, `similarity`, `salient_budget`, `context_budget`, `base_budget`,
    `context` `[K]` (True: context token), `merge_count` `[K]`, `variant` and `clamped`.

    Source: FastVID (arXiv:2503.11187), section 3.
    """
    N = features.shape[1]
    similarity = to_host(transition_similarity(per_frame))
    if not parity:
        similarity = similarity.nan_to_num(0.0)
    segments = dyseg(similarity, c=c, tau=tau, parity=parity) if lengths is None else lengths
    budget = fastvid_budget(segments, similarity, N, variant=variant, retention=retention, d=d, p=p, ignore=ignore)
    if lengths is None and c > len(features):
        budget.clamped.append(f"c = {c}: {len(features)} (frames)")
    x = features.float()
    if context == "cluster":
        salient = top_salience(salience, budget.salient)
        chosen, at, member, target = segment_clusters(x, ~salient, budget=budget.context, lengths=segments)
    else:
        salient, chosen, order = _context_tokens(x, salience, budget, context)
        order = order if parity and variant == "onevision" else None
        at, member, target = _merge_segments(x, salient, chosen, budget, segments, order=order, parity=parity)
    anchor = true_indices(salient | chosen, int((budget.salient + budget.context).sum()))
    output = torch.empty(salient.numel(), dtype=torch.int64, device=x.device)
    output[anchor] = torch.arange(len(anchor), device=x.device)
    target = output[at[target]]
    weights = MERGERS.resolved(merger, beta=beta)(target, len(anchor))
    is_context = chosen.flatten()[anchor]
    stages = {
        "variant": variant,
        "segments": segments,
        "similarity": similarity,
        "salient_budget": budget.salient,
        "context_budget": budget.context,
        "base_budget": budget.base,
        "context": is_context,
        "merge_count": torch.zeros_like(anchor).index_add(0, target, torch.ones_like(target)),
        "clamped": budget.clamped,
    }
    entries = Entries(
        anchor=anchor,
        source=torch.cat([anchor, member]),
        target=torch.cat([torch.arange(len(anchor), device=x.device), target]),
        weight=torch.cat([torch.where(is_context, weights.anchor, 1.0), weights.member]),
        stages=stages,
    )
    return _at_first_sources(entries) if context == "cluster" else entries


def _context_tokens(
    x: Float[Tensor, "frames tokens channels"],
    salience: Float[Tensor, "frames tokens"],
    budget: FastVIDBudget,
    context: str,
) -> tuple[Bool[Tensor, "frames tokens"], Bool[Tensor, "frames tokens"], Int64[Tensor, "frames tokens"] | None]:
    """Salient tokens, context tokens of anchor frames, and the ranks of these where they have an order."""
    if context == "uniform":
        salient = top_salience(salience, budget.salient)
        return salient, evenly(~salient, budget.context), None
    salient, peak = dual_anchor(x, salience, salient=budget.salient, context=budget.context)
    return salient, peak < budget.context.to(peak.device)[:, None], peak


def _at_first_sources(entries: Entries) -> Entries:
    """The same outputs, each at the place of its first source of some weight, in order of these places."""
    used = entries.weight > 0
    first = entries.anchor.scatter_reduce(0, entries.target[used], entries.source[used], "amin", include_self=True)
    order = first.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    stages = {k: v[order] if k in ("context", "merge_count") else v for k, v in entries.stages.items()}
    return Entries(first[order], entries.source, place[entries.target], entries.weight, stages)


def _merge_segments(
    x: Float[Tensor, "frames tokens channels"],
    salient: Bool[Tensor, "frames tokens"],
    context: Bool[Tensor, "frames tokens"],
    budget: FastVIDBudget,
    lengths: Int64[Tensor, "segments"],
    *,
    order: Int64[Tensor, "frames tokens"] | None,
    parity: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Context tokens `[C]` (index into T*N), and for each merge the member (into T*N) and its context token (into C).

    With `order` (OneVision in parity) context tokens stand in score order and are members of their own cluster.
    """
    N = x.shape[1]
    own_member = order is not None
    shares = budget.context.tolist()
    total, widest = sum(shares), max(shares)
    key = context.to(torch.int64) if order is None else torch.where(context, N - order, 0)
    at = key.sort(dim=1, descending=True, stable=True).indices[:, :widest]  # the first `share` are context tokens
    start = torch.tensor([0, *shares[:-1]]).cumsum(0)
    groups = _groups(lengths.tolist(), shares, int(budget.base[-1]) if own_member else -1)
    allowed = ~salient
    members, targets, count = [], [], 0
    for first, end, anchors in groups:
        frame = torch.tensor(anchors, device=x.device)
        width = max(shares[a] for a in anchors)
        slot = torch.arange(width, device=x.device)
        valid = slot < torch.tensor([shares[a] for a in anchors], device=x.device)[:, None]
        y = x[frame[:, None], at[frame][:, :width]]
        nearest = nearest_by_cosine(x[first:end].flatten(0, 1), y, valid=valid, epsilon=0.0 if parity else 1e-12)
        pool = allowed[first:end].expand(len(anchors), -1, -1)
        if not own_member:
            pool = pool.clone()
            pool[torch.arange(len(anchors), device=x.device), frame - first] &= ~context[frame]
        free = sum(N - int(budget.salient[t]) for t in range(first, end))
        size = len(anchors) * free - (0 if own_member else sum(shares[a] for a in anchors))
        chosen = true_indices(pool, size)
        row, column = chosen // ((end - first) * N), chosen % ((end - first) * N)
        members.append(column + first * N)
        targets.append(start.to(x.device)[frame][row] + nearest.flatten()[chosen])
        count += size
    place = torch.arange(widest, device=x.device) < budget.context.to(x.device)[:, None]
    flat = (at + torch.arange(len(x), device=x.device)[:, None] * N).flatten()[true_indices(place, total)]
    empty = torch.empty(0, dtype=torch.int64, device=x.device)
    return flat, torch.cat([empty, *members]), torch.cat([empty, *targets])


def _groups(lengths: list[int], shares: list[int], per_frame: int) -> list[tuple[int, int, list[int]]]:
    """First frame, end and anchor frames of each set of frames that merges together.

    Anchors that have exactly `per_frame` context tokens merge their own frame only; -1: no such exception.
    """
    groups, first = [], 0
    for length in lengths:
        anchors = [t for t in range(first, first + length) if shares[t]]
        if anchors and shares[anchors[0]] == per_frame:
            groups += [(t, t + 1, [t]) for t in anchors]
        elif anchors:
            groups.append((first, first + length, anchors))
        first += length
    return groups
