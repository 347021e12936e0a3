"""HoliTom before the language model: static places kept once per window, the rest pruned by salience."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from redundancy.metrics.kernels.peaks import density_peaks
from redundancy.metrics.temporal import token_persistence
from redundancy.pruning.base import Entries, Method, Needs, require_choice, require_range
from redundancy.pruning.part import Slot
from redundancy.pruning.parts.merge import MERGERS, ClusterWeights, Merger, nearest_by_distance
from redundancy.pruning.parts.salience import SALIENCE_SOURCES, Salience
from redundancy.pruning.parts.segment import SEGMENTERS, Segmenter
from redundancy.pruning.parts.select import rank, true_indices
from redundancy.pruning.parts.windows import static_windows
from redundancy.reduction import Reduction
from redundancy.tokens import TokenLayout, VideoTokens

ORDERS = ("one_token", "grid")


@dataclass(frozen=True)
class HoliTom(Method):
    """Windows chosen to save the most static tokens; those are averaged and clustered, dynamic ones pruned by salience.

    Parameters
    ----------
    retention
        Share of tokens to keep, in (0, 1]; what static places save is given to the others, up to all of them.
    tau
        Similarity above which a place is static; None: the published 0.65 up to a retention of 0.10, else 0.80.
    beta
        Weight of a centre beside its members.
    D
        Share of merged tokens among the kept dynamic ones.
    k
        Neighbours of the density; as the authors' code at most the number of centres with `parity`, else of points.
    max_window
        Longest window in frames.
    order
        `"one_token"`: static tokens of a window before its dynamic ones; `"grid"`: by place; `"auto"`: `"grid"` where
        the family has newlines after grid rows.
    merger
        Object, or name in `MERGERS`, which then has this `beta` if it has one: `"mixture"` of centre and members, or
        `"cluster_mean"` (the authors' NO_BETA).
    salience
        Object, or name in `SALIENCE_SOURCES`.
    segmenter
        Object, or name in `SEGMENTERS`: windows used in place of the chosen ones.
    parity
        As the authors' code, also where a retention of 1 averages static tokens; by default it keeps all tokens.

    The shortened sequence is numbered consecutively.

    Example
    -------
    >>> HoliTom(retention=0.25)(tokens)
    Reduction(HoliTom: 32 of 128 tokens (0.25, asked 0.25) merged,
    placement 'renumbered', before the model; 8 x 4 x 4)

    Source: HoliTom (arXiv:2505.21334), section 3.
    """

    name: ClassVar[str] = "holitom"
    paper: ClassVar[str] = "HoliTom (arXiv:2505.21334)"
    slots: ClassVar[Mapping[str, Slot]] = {
        "merger": Slot(MERGERS, settings=("beta",)),
        "salience": Slot(SALIENCE_SOURCES),
        "segmenter": Slot(SEGMENTERS),
    }

    retention: float = 0.1
    tau: float | None = None
    beta: float = 0.6
    D: float = 0.0
    k: int = 7
    max_window: int = 1024
    order: str = "auto"
    merger: Merger | str = "mixture"
    salience: Salience | str = "received"
    segmenter: Segmenter | str | None = None
    parity: bool = False

    placement_rule = "renumbered"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("retention", self.retention, 0, 1, open_low=True)
        require_range("beta", self.beta, 0, 1)
        require_range("D", self.D, 0, 1)
        require_range("k", self.k, 1)
        require_range("max_window", self.max_window, 0)
        require_choice("order", self.order, ("auto", *ORDERS))

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """What the salience that ranks dynamic tokens reads, and the segmenter."""
        needs: Needs = self.part("salience").needs(layout)
        return needs if self.segmenter is None else needs.also(self.part("segmenter").needs(layout))

    def bounds(self, tokens: VideoTokens) -> tuple[float, float]:
        """Rounding adds at most one token a frame and half a token a window; static videos keep less than asked for."""
        T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
        if self.retention == 1 and not self.parity:
            return 1.0, 1.0
        return max(min(self.retention - 0.5 / N, 1 / T), 0.0), min(self.retention + 1.5 / N, 1.0)

    def _decide(self, tokens: VideoTokens) -> Reduction:
        rows, cols = tokens.grid.rows, tokens.grid.cols
        order = self.order
        if order == "auto":
            order = "grid" if tokens.layout.newline == "row" else "one_token"
        if self.parity and order == "grid" and rows != cols:
            raise ValueError(f"a grid of {rows} x {cols} given; the authors' grid order expects a square one")
        tau = (0.65 if self.retention <= 0.1 else 0.8) if self.tau is None else self.tau
        result = holitom(
            tokens.features,
            self.part("salience")(tokens),
            retention=self.retention,
            tau=tau,
            D=self.D,
            k=self.k,
            max_window=self.max_window,
            order=order,
            merger=self.part("merger"),
            lengths=None if self.segmenter is None else self.part("segmenter")(tokens),
            parity=self.parity,
        )
        if self.retention == 1 and not self.parity:
            return self._keep_all(tokens, segments=result.stages["segments"], order=order)
        return self._merge(tokens, result)


def holitom(
    features: Float[Tensor, "frames tokens channels"],
    salience: Float[Tensor, "frames tokens"],
    *,
    retention: float,
    tau: float = 0.8,
    beta: float = 0.6,
    D: float = 0.0,
    k: int = 7,
    max_window: int = 1024,
    order: str = "one_token",
    merger: Merger | str = "mixture",
    lengths: Int64[Tensor, "windows"] | None = None,
    parity: bool = False,
) -> Entries:
    """HoliTom on plain arrays.

    1. Windows: those that save the most static tokens, R in all, or `lengths`.
    2. Rate `r' = min(r T N / (T N - R), 1)`.
    3. Static places of a window: mean over its frames, `round(m r')` density peaks (half to even), the others merge
       into the nearest.
    4. Dynamic tokens of a frame: `ceil(n r')`, of which `round(ceil(n r') (1 - D))` by salience and the others density
       peaks of the rest, into which it merges; with D = 0 the rest is dropped.

    Returns
    -------
    Anchors in the method's order (a static token stands in the first frame of its window); stages `segments` (windows),
    `total_gain`, `rate`, `static_mask` `[W, N]`, `static_kept`, `dynamic_kept` (per frame) `[W]`, `kind` `[K]` (0 kept,
    1 static, 3 merged dynamic).

    Source: HoliTom (arXiv:2505.21334), section 3; details from the authors' code.
    """
    x, merging = features.float(), MERGERS.resolved(merger, beta=beta)
    N = x.shape[1]
    persistence = token_persistence(x).nan_to_num(0.0)  # a zero token resembles nothing
    plan = _plan(persistence, lengths, retention=retention, tau=tau, max_window=max_window, D=D)
    static, window_of_frame = _static_places(persistence, plan.lengths, tau=tau)
    parts = [_static_part(x, static, plan, k=k, merger=merging, parity=parity)]
    dynamic = ~static[window_of_frame]
    dominant = (
        rank(salience.float().masked_fill(~dynamic, -torch.inf)) < plan.dominant.to(x.device)[window_of_frame][:, None]
    ) & dynamic
    anchor = true_indices(dominant, int((plan.dominant * plan.lengths).sum()))
    ones = torch.ones(len(anchor), dtype=torch.float64, device=x.device)
    parts.append(_Part(anchor, anchor, torch.arange(len(anchor), device=x.device), ones, 0))
    if bool(plan.contextual.any()):
        rest = dynamic & ~dominant
        parts.append(_contextual_part(x, rest, plan, k=k, merger=merging, parity=parity))
    stages = {
        "segments": plan.lengths,
        "total_gain": plan.gain,
        "rate": plan.rate,
        "static_mask": static,
        "static_kept": plan.static,
        "dynamic_kept": plan.dominant + plan.contextual,
        "order": order,
    }
    return _assemble(parts, N, order=order, stages=stages)


class _Plan(NamedTuple):
    """Windows and how many tokens each keeps: static ones, and dominant and contextual ones per frame, `[W]`."""

    lengths: Tensor
    gain: float
    rate: float
    static: Tensor
    dominant: Tensor
    contextual: Tensor
    static_places: Tensor


class _Part(NamedTuple):
    """Anchors and entries of one kind of output, indices into T*N and into the part's own outputs."""

    anchor: Tensor
    source: Tensor
    target: Tensor
    weight: Tensor
    kind: int


def _plan(
    persistence: Tensor, lengths: Tensor | None, *, retention: float, tau: float, max_window: int, D: float
) -> _Plan:
    N = persistence.shape[1]
    windows = static_windows(persistence, tau=tau, max_window=max_window)
    used = windows.lengths if lengths is None else lengths
    ends = used.cumsum(0) - 1
    gain = windows.gain[ends - used + 1, ends]
    places = (gain / (used - 1).clamp_min(1)).long()
    tokens, saved = int(used.sum()) * N, float(gain.sum())
    rate = min(retention / ((tokens - saved) / tokens), 1)
    kept = [math.ceil((N - m) * rate) for m in places.tolist()]
    dominant = [round(n * (1 - D)) for n in kept]
    return _Plan(
        lengths=used,
        gain=saved,
        rate=rate,
        static=torch.tensor([round(m * rate) for m in places.tolist()]),
        dominant=torch.tensor(dominant),
        contextual=torch.tensor(kept) - torch.tensor(dominant),
        static_places=places,
    )


def _static_places(
    persistence: Float[Tensor, "transitions tokens"], lengths: Int64[Tensor, "windows"], *, tau: float
) -> tuple[Bool[Tensor, "windows tokens"], Int64[Tensor, "frames"]]:
    """Places static throughout each window (none in a single frame), and the window of each frame."""
    device = persistence.device
    changes = torch.cat([persistence.new_zeros(1, persistence.shape[1]), (~(persistence > tau)).float()]).cumsum(0)
    ends = (lengths.cumsum(0) - 1).to(device)
    starts = ends - lengths.to(device) + 1
    static = (changes[ends] == changes[starts]) & (ends > starts)[:, None]
    return static, torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(device)


def _static_part(x: Tensor, static: Tensor, plan: _Plan, *, k: int, merger: Merger, parity: bool) -> _Part:
    """Mean of each static place over its window, and the clusters of these."""
    N = x.shape[1]
    chosen = plan.static.nonzero().flatten()
    if not len(chosen):
        return _empty_part(x.device, 1)
    starts, lengths = (plan.lengths.cumsum(0) - plan.lengths)[chosen], plan.lengths[chosen]
    means = torch.stack([x[s : s + n].mean(0) for s, n in zip(starts.tolist(), lengths.tolist(), strict=True)])
    at, member, target, weights = _clusters(
        means,
        static[chosen],
        plan.static[chosen],
        plan.static_places[chosen],
        k=k,
        merger=merger,
        parity=parity,
    )
    # every averaged token stands for the tokens of its place in each frame of the window
    place = torch.cat([at, member])
    output = torch.cat([torch.arange(len(at), device=x.device), target])
    weight = torch.cat([weights.anchor, weights.member])
    window = place // N
    count = lengths.to(x.device)[window]
    total = int((plan.static_places * plan.lengths)[chosen].sum())
    entry = torch.repeat_interleave(torch.arange(len(place), device=x.device), count, output_size=total)
    frame = torch.arange(total, device=x.device) - (count.cumsum(0) - count)[entry]
    first = starts.to(x.device)[window] * N + place % N
    return _Part(first[: len(at)], first[entry] + frame * N, output[entry], (weight / count)[entry], 1)


def _contextual_part(x: Tensor, rest: Tensor, plan: _Plan, *, k: int, merger: Merger, parity: bool) -> _Part:
    """Density peaks of the dynamic tokens that are not dominant, and the clusters of these, frame by frame."""
    N = x.shape[1]
    centres = torch.repeat_interleave(plan.contextual, plan.lengths)
    points = torch.repeat_interleave(N - plan.static_places - plan.dominant, plan.lengths)
    frames = centres.nonzero().flatten()
    at, member, target, weights = _clusters(
        x[frames], rest[frames], centres[frames], points[frames], k=k, merger=merger, parity=parity
    )
    place, frame = torch.cat([at, member]), frames.to(x.device)
    source = frame[place // N] * N + place % N
    output = torch.cat([torch.arange(len(at), device=x.device), target])
    return _Part(source[: len(at)], source, output, torch.cat([weights.anchor, weights.member]), 3)


def _clusters(
    points: Float[Tensor, "sets points channels"],
    candidates: Bool[Tensor, "sets points"],
    centres: Int64[Tensor, "sets"],
    sizes: Int64[Tensor, "sets"],
    *,
    k: int,
    merger: Merger,
    parity: bool,
) -> tuple[Tensor, Tensor, Tensor, ClusterWeights]:
    """Best-scored centres of each set, the other candidates with the centre nearest to each, and the weights.

    `sizes` is the number of candidates of each set; `points` are destroyed.

    Returns flat indices of centres and members, and for each member the number of its centre.
    """
    S, M, _ = points.shape
    device = points.device
    neighbours = centres.clamp_max(k) if parity else k
    peaks = density_peaks(points, k=neighbours, candidates=candidates, overwrite=True)
    chosen = (rank(peaks.score) < centres.to(device)[:, None]) & candidates
    nearest = nearest_by_distance(peaks.distance, chosen) + torch.arange(S, device=device)[:, None] * M
    outputs = int(centres.sum())
    at = true_indices(chosen, outputs)
    number = torch.zeros(S * M, dtype=torch.int64, device=device)
    number[at] = torch.arange(outputs, device=device)
    member = true_indices(candidates & ~chosen, int(sizes.sum()) - outputs)
    target = number[nearest.flatten()[member]]
    return at, member, target, merger(target, outputs)


def _empty_part(device: torch.device, kind: int) -> _Part:
    none = torch.empty(0, dtype=torch.int64, device=device)
    return _Part(none, none, none, torch.empty(0, dtype=torch.float64, device=device), kind)


def _assemble(parts: list[_Part], N: int, *, order: str, stages: dict[str, Any]) -> Entries:
    """Join the parts in output order."""
    anchor = torch.cat([p.anchor for p in parts])
    kind = torch.cat([torch.full_like(p.anchor, p.kind) for p in parts])
    position = anchor
    if order == "one_token":
        # static tokens stand in the first frame of their window; in a frame: static, dominant, contextual
        place_of_kind = torch.tensor([1, 0, 1, 2], device=anchor.device)
        position = (anchor // N * 3 + place_of_kind[kind]) * N + anchor % N
    by_position = position.argsort(stable=True)
    new = torch.empty_like(by_position)
    new[by_position] = torch.arange(len(anchor), device=anchor.device)
    start = torch.tensor([0, *[len(p.anchor) for p in parts]]).cumsum(0).tolist()
    target = torch.cat([p.target + s for p, s in zip(parts, start, strict=False)])
    return Entries(
        anchor=anchor[by_position],
        source=torch.cat([p.source for p in parts]),
        target=new[target],
        weight=torch.cat([p.weight for p in parts]),
        stages=stages | {"kind": kind[by_position]},
    )
