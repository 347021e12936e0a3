"""PruneVid, stage 1: static places of a segment become one token each, and both kinds of tokens are clustered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from redundancy.pruning.base import Entries, Kind, Method, Needs, require_range
from redundancy.pruning.part import Slot
from redundancy.pruning.parts.cluster import Clusters, dpc_knn
from redundancy.pruning.parts.segment import (
    SEGMENTERS,
    Segmenter,
    contiguous_labels,
    frame_clusters,
    labels_to_lengths,
)
from redundancy.reduction import Reduction
from redundancy.tokens import TokenLayout, VideoTokens

SMALL_SET = 14


@dataclass(frozen=True)
class PruneVid(Method):
    """Merging in time, then in space: the published cluster ratio on LLaVA-OneVision keeps about a tenth.

    Parameters
    ----------
    cluster_ratio
        Clusters per token, in (0, 1]; sets of at most 14 tokens are not clustered. The rate follows from it, from tau
        and from the video, and has no field.
    tau
        Mean cosine over a segment above which a place is static.
    temporal_segment_ratio
        Clusters of frames per frame, in (0, 1].
    k
        Neighbours of the density, the point itself included.
    segmenter
        Object, or name in `SEGMENTERS`, used in place of the clusters of frames.
    parity
        As the authors' code, which fails with fewer than k frames or no cluster of frames. By default there is at
        least one cluster, and at most as many neighbours as points.

    Outputs stand segment by segment, static ones first, and are numbered on.

    Example
    -------
    >>> PruneVid(cluster_ratio=0.25)(tokens).achieved
    0.25

    Source: PruneVid (arXiv:2412.16117), sections 3.2 and 3.3; details from the authors' code.
    """

    name: ClassVar[str] = "prunevid"
    paper: ClassVar[str] = "PruneVid (arXiv:2412.16117)"
    kind: ClassVar[Kind] = "baseline"
    slots: ClassVar[Mapping[str, Slot]] = {"segmenter": Slot(SEGMENTERS)}
    placement_rule: ClassVar[str] = "renumbered"
    newline_rule: ClassVar[str] = "none"

    cluster_ratio: float = 0.5
    tau: float = 0.8
    temporal_segment_ratio: float = 0.25
    k: int = 7
    segmenter: Segmenter | str | None = None
    parity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("cluster_ratio", self.cluster_ratio, 0, 1, open_low=True)
        require_range("tau", self.tau, -1, 1)
        require_range("temporal_segment_ratio", self.temporal_segment_ratio, 0, 1, open_low=True)
        require_range("k", self.k, 1)

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """What the segmenter reads."""
        needs: Needs = Needs() if self.segmenter is None else self.part("segmenter").needs(layout)
        return needs

    def _decide(self, tokens: VideoTokens) -> Reduction:
        lengths = (
            frame_segments(tokens.features, ratio=self.temporal_segment_ratio, k=self.k, parity=self.parity)
            if self.segmenter is None
            else self.part("segmenter")(tokens)
        )
        entries = prunevid(
            tokens.features, lengths, tau=self.tau, cluster_ratio=self.cluster_ratio, k=self.k, parity=self.parity
        )
        return self._merge(tokens, entries)


def frame_labels(
    features: Float[Tensor, "frames tokens channels"], *, ratio: float, k: int = 7, parity: bool = False
) -> Int64[Tensor, "frames"]:
    """Cluster label of every frame's mean token, by density peaks.

    Raises
    ------
    ValueError
        With `parity`, for fewer than k frames or a ratio that gives no cluster.

    Source: PruneVid (arXiv:2412.16117), section 3.2.
    """
    frames = len(features)
    clusters = int(frames * ratio)
    if parity and (frames < k or clusters == 0):
        raise ValueError(f"the authors' code needs at least {k} frames and one cluster, given {frames} and {clusters}")
    return frame_clusters(features.float().mean(1), clusters=max(clusters, 1), k=k)


def frame_segments(
    features: Float[Tensor, "frames tokens channels"], *, ratio: float, k: int = 7, parity: bool = False
) -> Int64[Tensor, "segments"]:
    """Segment lengths: runs of the frames' labels made contiguous.

    Raises
    ------
    ValueError
        As `frame_labels`.

    Source: PruneVid (arXiv:2412.16117), section 3.2.
    """
    return labels_to_lengths(contiguous_labels(frame_labels(features, ratio=ratio, k=k, parity=parity)))


@dataclass
class _Outputs:
    """Outputs collected segment by segment."""

    anchor: list[Tensor] = field(default_factory=list)
    source: list[Tensor] = field(default_factory=list)
    target: list[Tensor] = field(default_factory=list)
    weight: list[Tensor] = field(default_factory=list)
    count: int = 0

    def add(self, anchor: Tensor, source: Tensor, target: Tensor) -> None:
        """Outputs that are plain means of their sources; targets count from the first of them."""
        size = torch.bincount(target, minlength=len(anchor)).double()
        self.anchor.append(anchor)
        self.source.append(source)
        self.target.append(target + self.count)
        self.weight.append(1 / size[target])
        self.count += len(anchor)


def prunevid(
    features: Float[Tensor, "frames tokens channels"],
    lengths: Int64[Tensor, "segments"],
    *,
    tau: float,
    cluster_ratio: float,
    k: int = 7,
    parity: bool = False,
) -> Entries:
    """Entries of the reduction for given segments.

    1. A place is static in a segment if the mean cosine over its pairs of frames is above tau; never in one frame.
    2. Static places are averaged over the segment; then they, and frame by frame the other tokens, are clustered by
       density peaks if there are more than 14, with `int(count * cluster_ratio)` clusters.
    3. Outputs are cluster means, better scored centres first: the static ones of a segment, then frame by frame.

    Stages: `segments`, `static` (static outputs per segment), `dynamic` (the others per segment).

    Source: PruneVid (arXiv:2412.16117), sections 3.2 and 3.3; details from the authors' code.
    """
    x = features.float()
    N = x.shape[1]
    out, static_count, dynamic_count = _Outputs(), [], []
    start = 0
    for length in lengths.tolist():
        segment = x[start : start + length]
        static = static_places(segment, tau=tau)
        before = out.count
        _add_static(out, segment, static, start, ratio=cluster_ratio, k=k)
        static_count.append(out.count - before)
        before = out.count
        _add_dynamic(out, segment, ~static, start, ratio=cluster_ratio, k=k)
        dynamic_count.append(out.count - before)
        start += length
    return Entries(
        anchor=torch.cat(out.anchor),
        source=torch.cat(out.source),
        target=torch.cat(out.target),
        weight=torch.cat(out.weight),
        stages={
            "segments": lengths,
            "static": torch.tensor(static_count),
            "dynamic": torch.tensor(dynamic_count),
            "tokens_per_frame": N,
        },
    )


def static_places(segment: Float[Tensor, "frames tokens channels"], *, tau: float) -> Bool[Tensor, "tokens"]:
    """Places whose mean cosine over pairs of frames is above tau; none in a segment of one frame.

    Source: PruneVid (arXiv:2412.16117), section 3.2.
    """
    L = len(segment)
    if L < 2:
        return torch.zeros(segment.shape[1], dtype=torch.bool, device=segment.device)
    unit = torch.nn.functional.normalize(segment, dim=-1)
    total = unit.sum(0).square().sum(-1)
    return (total - L) / (L * (L - 1)) > tau


def _add_static(out: _Outputs, segment: Tensor, static: Tensor, start: int, *, ratio: float, k: int) -> None:
    L, N, _ = segment.shape
    place = static.nonzero().flatten()
    if not len(place):
        return
    centre, label = clusters_of(segment[:, place].mean(0)[None], ratio=ratio, k=k)
    frames = (start + torch.arange(L, device=segment.device))[:, None] * N
    out.add(start * N + place[centre[0]], (frames + place).flatten(), label[0].repeat(L))


def _add_dynamic(out: _Outputs, segment: Tensor, dynamic: Tensor, start: int, *, ratio: float, k: int) -> None:
    L, N, _ = segment.shape
    place = dynamic.nonzero().flatten()
    if not len(place):
        return
    centre, label = clusters_of(segment[:, place], ratio=ratio, k=k)
    frames = (start + torch.arange(L, device=segment.device))[:, None]
    target = label + torch.arange(L, device=segment.device)[:, None] * centre.shape[1]
    out.add((frames * N + place[centre]).flatten(), (frames * N + place).flatten(), target.flatten())


def clusters_of(points: Float[Tensor, "sets points channels"], *, ratio: float, k: int) -> Clusters:
    """Centres by decreasing score, and the cluster of every point, in each set; small sets stay as they are.

    Source: PruneVid (arXiv:2412.16117), section 3.3.
    """
    S, M, _ = points.shape
    if M <= SMALL_SET:
        own = torch.arange(M, device=points.device).expand(S, M)
        return Clusters(own, own)
    return dpc_knn(points, clusters=max(int(M * ratio), 1), k=k)
