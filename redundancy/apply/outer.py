"""Reductions between vision tower and language model, in forward and `generate()` of an unmodified model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from redundancy.apply.refuse import refuse_unsupported
from redundancy.apply.sequence import ShortBatch, shorten_row
from redundancy.apply.turns import CachedPrompt, Lease, remember, remembered_prompt
from redundancy.metrics.kernels.placement import assigned_positions
from redundancy.models.base import Family, VideoSpan
from redundancy.models.cache_name import cache_in, cache_of
from redundancy.models.hooks import Hooks, ShortVideo, TextEntry, on_text_entry
from redundancy.pruning.named import require_reduction, require_whole_video
from redundancy.recording.call_tokens import tokens_of_call
from redundancy.recording.salience import TowerRecord, record_tower
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens

Outer = Callable[[VideoTokens], Reduction]


@dataclass(eq=False)
class _Prompt(CachedPrompt):
    """What decoding needs to know about a shortened prompt; lives as long as its cache."""

    valid: Bool[Tensor, "batch short"]
    last: Int[Tensor, "batch"]
    padded: bool

    @property
    def short(self) -> int:
        return self.valid.shape[1]


@dataclass(frozen=True)
class Reads:
    """What a method reads inside the vision tower: sources of salience and of frame features, and keys."""

    salience: tuple[str, ...] = ()
    frame_features: tuple[str, ...] = ()
    keys: bool = False

    @classmethod
    def of(cls, method: object, family: Family) -> Reads:
        """Of a method; nothing of what does not say it, such as a function or a ready reduction."""
        needs = method.needs(family.layout) if hasattr(method, "needs") else None
        salience, features = (
            () if source is None else (source,)
            for source in (getattr(needs, name, None) for name in ("salience", "frame_features"))
        )
        return cls(salience, features, bool(getattr(needs, "keys", False)))

    @property
    def sources(self) -> tuple[str, ...]:
        """What is recorded in the tower for both."""
        return tuple(dict.fromkeys((*self.salience, *(s for s in self.frame_features if s != "mean"))))


class OuterReducer:
    """The hooks of one context.

    Parameters
    ----------
    family, head
        Adapter of the model, and the pooling head that gives salience if it has none of its own.
    method
        A method, a reduction for every video, or one per video of a call.
    decided
        Grows by one reduction per video and call.
    lease
        Of the context.
    """

    def __init__(
        self,
        family: Family,
        head: nn.Module | None,
        method: Outer | Reduction | Sequence[Reduction],
        *,
        decided: list[Reduction],
        lease: Lease,
    ) -> None:
        self.family, self.head, self.method, self.decided, self.lease = family, head, method, decided, lease
        self.entering: _Prompt | None = None
        self.reads = Reads.of(method, family)

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Reduce while the context is open."""
        with (
            record_tower(self.family, self.reads.sources, pooling_head=self.head, keys=self.reads.keys) as tower,
            on_text_entry(self.family, lambda entry: self.shorten(entry, tower)),
            Hooks(self.family.core) as hooks,
        ):
            hooks.before(self.family.core, self.begin)
            hooks.before(self.family.text_model, self.decode)
            hooks.after(self.family.text_model, self.remember)
            yield

    # the prompt -------------------------------------------------------------------------------------------------

    def shorten(self, entry: TextEntry, tower: Callable[[], TowerRecord]) -> dict[str, Any]:
        """Arguments of the text model for the shortened prompt; the decision has no gradient, what is kept has."""
        given = entry.kwargs
        refuse_unsupported(given)
        embeds: Tensor = given["inputs_embeds"]
        B, L = embeds.shape[:2]
        reductions = self._decide(entry, tower)
        self.decided += reductions
        rows = [[i for i, s in enumerate(entry.spans) if s.row == b] for b in range(B)]
        mask = given.get("attention_mask")
        valid = torch.ones(B, L, dtype=torch.bool, device=embeds.device) if mask is None else mask.bool()
        short = ShortBatch.of(
            [
                shorten_row(L, [entry.spans[i] for i in r], [reductions[i] for i in r], valid=valid[b])
                for b, r in enumerate(rows)
            ]
        )

        def gather(features: Tensor) -> Tensor:
            """Per-column features at the shortened places, videos reduced."""
            outputs = [
                torch.cat([reductions[i].apply(features[b, entry.spans[i].columns]) for i in r] or [features[b, :0]])
                for b, r in enumerate(rows)
            ]
            return short.gather(features, outputs)

        def is_visual(columns: Tensor) -> Tensor:
            """A mask of columns at the shortened places."""
            return columns.gather(1, short.column) & short.valid

        positions = self._positions(given, entry.spans, reductions, rows, short)
        changed = dict(given)
        changed["inputs_embeds"] = gather(embeds)
        changed["attention_mask"] = short.valid.long()
        changed["position_ids"] = self.family.text_position_ids(positions, short.contiguous())
        changed |= self.family.shorten_extras(given, gather, is_visual)
        entry.shortened = _short_videos(rows, entry.spans, reductions, short)
        padded = not bool(short.valid.all())
        self.entering = _Prompt(self.lease, short.valid, positions[:, :, -1].amax(0), padded)
        return changed

    @torch.no_grad()
    def _decide(self, entry: TextEntry, tower: Callable[[], TowerRecord]) -> list[Reduction]:
        reads = self.reads
        tokens = tokens_of_call(
            self.family, entry, tower(), salience=reads.salience, frame_features=reads.frame_features
        )
        if isinstance(self.method, Reduction):
            reductions = [self.method] * len(tokens)
        elif callable(self.method):
            reductions = [require_reduction(self.method(t), self.method) for t in tokens]
        else:
            reductions = list(self.method)
        if len(reductions) != len(tokens):
            raise ValueError(f"one reduction per video is expected, given {len(reductions)} for {len(tokens)} videos")
        for reduction, t in zip(reductions, tokens, strict=True):
            if tuple(reduction.grid) != tuple(t.grid) or reduction.layer is not None:
                raise ValueError(
                    f"a reduction before the model of the grid {tuple(t.grid)} is expected, given one of "
                    f"{tuple(reduction.grid)} at layer {reduction.layer}"
                )
            require_whole_video(reduction)
        return reductions

    def _positions(
        self,
        given: dict[str, Any],
        spans: Sequence[VideoSpan],
        reductions: Sequence[Reduction],
        rows: Sequence[Sequence[int]],
        short: ShortBatch,
    ) -> Int[Tensor, "axes batch short"]:
        """Position ids of the shortened prompt as the reductions place their outputs."""
        old = self.family.position_ids(given)
        new = old.gather(2, short.column[None].expand(old.shape[0], -1, -1)) * short.valid
        for b, r in enumerate(rows):
            placements = {reductions[i].placement for i in r}
            if "renumbered" in placements:
                if len(placements) > 1:
                    raise ValueError(f"the videos of one prompt must be placed alike, given {sorted(placements)}")
                new[:, b] = short.contiguous()[b]
            elif placements & {"centroid", "given"}:
                moved = [assigned_positions(reductions[i], old[:, b, spans[i].columns]) for i in r]
                at = short.output[b] >= 0
                new[:, b, at] = torch.cat(moved)[short.output[b, at]].T.to(new.dtype)
        return new

    def begin(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Forget a prompt whose forward was broken off."""
        self.entering = None

    # decoding ---------------------------------------------------------------------------------------------------

    def remember(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """Tie what decoding needs to the cache that the prefill filled."""
        cache = cache_of(output)
        if self.entering is not None and cache is not None:
            remember(cache, self.entering)
        self.entering = None

    def decode(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """Mask and positions of a step on a reduced cache; `Turns` has seen that it is one."""
        cache = cache_in(kwargs)
        prompt = remembered_prompt(cache, _Prompt)
        if prompt is None:
            return None
        past = int(cache.get_seq_length())
        steps = kwargs["inputs_embeds"].shape[1]
        new = torch.arange(past - prompt.short, past - prompt.short + steps, device=prompt.last.device)
        positions = (prompt.last[:, None] + 1 + new)[None]
        axes = len(self.family.rotary().axes)
        changed = dict(kwargs)
        contiguous = prompt.valid.sum(1, keepdim=True) + new
        changed["position_ids"] = self.family.text_position_ids(positions.expand(axes, -1, -1), contiguous)
        changed["attention_mask"] = None
        if prompt.padded:
            grown = prompt.valid.new_ones(len(prompt.valid), past + steps)
            changed["attention_mask"] = torch.cat([prompt.valid[:, :past], grown], 1)[:, : past + steps].long()
        return args, changed


def _short_videos(
    rows: Sequence[Sequence[int]], spans: Sequence[VideoSpan], reductions: Sequence[Reduction], short: ShortBatch
) -> list[ShortVideo]:
    """Where the outputs of each video stand in the shortened prompt, in order of rows and videos."""
    videos = []
    for b, row in enumerate(rows):
        start = 0
        for i in row:
            inside = (short.output[b] >= start) & (short.output[b] < start + reductions[i].kept)
            columns = inside.nonzero().flatten()
            columns = columns[torch.sort(short.output[b, columns]).indices]
            is_newline = torch.isin(short.column[b], spans[i].newlines) & (short.output[b] < 0) & short.valid[b]
            videos.append(ShortVideo(reductions[i], columns, is_newline.nonzero().flatten()))
            start += reductions[i].kept
    return videos
