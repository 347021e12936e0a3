"""Salience and frame features that only the vision tower knows, computed beside its own forward.

Queries and keys of one layer are projected again from that layer's inputs, so the tower keeps its own attention
implementation, and no patches x patches array outlives a chunk of frames.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from redundancy.models.base import Family
from redundancy.models.hooks import Hooks
from redundancy.models.tower_calls import TowerCalls
from redundancy.tokens import TokenGrid


def received_attention(
    query: Float[Tensor, "frames heads patches channels"],
    key: Float[Tensor, "frames heads patches channels"],
    *,
    chunk: int = 4,
) -> Float[Tensor, "frames patches"]:
    """Attention that each patch receives: mean over heads and queries, in chunks of frames.

    `query` is scaled already. Each row sums to 1.

    Source: HoliTom (arXiv:2505.21334), section 3.2.
    """
    parts = zip(torch.split(query, chunk), torch.split(key, chunk), strict=True)
    return torch.cat([(q @ k.transpose(-1, -2)).softmax(-1).mean((1, 2)) for q, k in parts])


def mean_query_attention(
    query: Float[Tensor, "frames heads patches channels"],
    key: Float[Tensor, "frames heads patches channels"],
    *,
    patches_per_token: int,
) -> Float[Tensor, "frames tokens"]:
    """Attention of a frame's mean query on its tokens, mean over heads.

    The keys of the patches that the merger makes one token of are averaged; `query` is scaled already.

    Source: FastVID (arXiv:2503.11187), section 4.1 (pseudo [CLS] token of the Qwen variant).
    """
    token_key = key.reshape(*key.shape[:2], -1, patches_per_token, key.shape[3]).mean(3)
    return torch.einsum("thd,thnd->thn", query.mean(2), token_key).softmax(-1).mean(1)


def pooling_head_attention(
    head: nn.Module, hidden: Float[Tensor, "frames patches channels"]
) -> tuple[Float[Tensor, "frames patches"], Float[Tensor, "frames frame_channels"]]:
    """Attention of the head's probe on the patches (mean over heads), and the head's output, one vector per frame.

    Source: FastVID (arXiv:2503.11187), section 3.4.
    """
    layers: Any = head
    probe = layers.probe.expand(hidden.shape[0], -1, -1)
    attended, weights = layers.attention(probe, hidden, hidden, need_weights=True)
    pooled = attended + layers.mlp(layers.layernorm(attended))
    return weights[:, 0].float(), pooled[:, 0]


@dataclass
class TowerRecord:
    """What the tower showed in one call: scores and frame features per source, frames of all videos in order."""

    scores: dict[str, list[Tensor]] = field(default_factory=dict)
    features: dict[str, list[Tensor]] = field(default_factory=dict)
    keys: list[Tensor] = field(default_factory=list)
    layer: nn.Module | None = None  # whose attention it is

    def salience(self, family: Family, grids: Sequence[TokenGrid]) -> list[dict[str, Tensor]]:
        """Salience `[T, N]` per source of each video, pooled to tokens as the features are."""
        out: list[dict[str, Tensor]] = [{} for _ in grids]
        for source, parts in self.scores.items():
            for i, rows in enumerate(_per_video(parts, grids)):
                tokens = rows if source == "mean_query" else family.patches_to_tokens(rows, grids[i])
                out[i][source] = family.raster_order(tokens, grids[i])
        return out

    def frame_features(self, grids: Sequence[TokenGrid]) -> list[dict[str, Tensor]]:
        """Frame features `[T, F]` per source of each video."""
        out: list[dict[str, Tensor]] = [{} for _ in grids]
        for source, parts in self.features.items():
            for i, rows in enumerate(_per_video(parts, grids)):
                out[i][source] = rows
        return out

    def token_keys(self, family: Family, grids: Sequence[TokenGrid]) -> list[Tensor | None]:
        """Keys `[T, N, d]` of each video, mean over heads, pooled to tokens; None where none were recorded."""
        if not self.keys:
            return [None] * len(grids)
        videos = _per_video(self.keys, grids)
        return [family.keys_to_tokens(rows, grid) for rows, grid in zip(videos, grids, strict=True)]


def _per_video(parts: Sequence[Tensor], grids: Sequence[TokenGrid]) -> list[Tensor]:
    """Rows of consecutive frames, cut into videos; frames of one video have one number of patches."""
    frames = [row for part in parts for row in part]
    starts = [sum(g.frames for g in grids[:i]) for i in range(len(grids))]
    return [torch.stack(frames[a : a + g.frames]) for a, g in zip(starts, grids, strict=True)]


class TowerReader:
    """The hooks of `record_tower`: what the tower showed in each call.

    Calling it gives, while the text model runs, what the tower showed of the videos of that call, and not of its
    images. It raises RuntimeError if sources were not recorded, naming them.
    """

    def __init__(
        self, family: Family, hooks: Hooks, sources: Sequence[str], *, head: nn.Module | None, layer: int, keys: bool
    ) -> None:
        self.family, self.head, self.keys = family, head, keys
        self.of_attention = [source for source in family.attention_sources if source in sources]
        head_input = family.pooling_input() if "pooling_head" in sources and head is not None else None
        self.expected = [*self.of_attention, *["pooling_head"] * (head_input is not None)]
        self.attention = family.attention_module(layer) if keys or self.of_attention else None
        self.calls = TowerCalls(family, hooks)
        if self.attention is not None:
            hooks.before(self.attention, self._read_attention)
        if head_input is not None:
            hooks.after(head_input, self._read_head)

    def __call__(self) -> TowerRecord:
        """Of the videos of the core's running call."""
        call = self.calls.of_video()
        notes = TowerRecord() if call is None or call.notes is None else call.notes
        if self.attention is not None and notes.layer is not self.attention:  # of a call that another layer was read in
            notes = replace(notes, scores={k: v for k, v in notes.scores.items() if k == "pooling_head"}, keys=[])
        missing = [source for source in self.expected if source not in notes.scores]
        missing += ["keys"] * (self.keys and not notes.keys)
        if missing:
            what = (
                "no call of the vision tower inside this context made the video's features (they were computed "
                "before it was opened, or in parts)"
                if call is None
                else "the vision tower ran without the hooks of its layers"
            )
            raise RuntimeError(f"{missing} asked for and not recorded: {what}; give the model pixels, and call it")
        return notes if self.keys else replace(notes, keys=[])

    def _record(self) -> TowerRecord:
        """Of the call of the tower that is running."""
        running = self.calls.running
        if running is None:
            raise RuntimeError("a layer of the vision tower was called outside the tower; call the whole model")
        if running.notes is None:
            running.notes = TowerRecord(layer=self.attention)
        notes: TowerRecord = running.notes
        return notes

    @torch.no_grad()
    def _read_attention(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        family, running = self.family, self.calls.running
        for query, key in family.queries_and_keys(module, args, kwargs, None if running is None else running.grid):
            if self.keys:
                self._record().keys.append(key.mean(1))
            for source in self.of_attention:
                if source == "received":
                    score = received_attention(query, key)
                else:
                    score = mean_query_attention(query, key, patches_per_token=family.patches_per_token)
                self._record().scores.setdefault(source, []).append(score)

    @torch.no_grad()
    def _read_head(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor) -> None:
        if self.head is not None:
            score, pooled = pooling_head_attention(self.head, output)
            self._record().scores.setdefault("pooling_head", []).append(score)
            self._record().features.setdefault("pooling_head", []).append(pooled)


@contextmanager
def record_tower(
    family: Family,
    sources: Sequence[str],
    *,
    pooling_head: nn.Module | None = None,
    layer: int = -1,
    keys: bool = False,
) -> Iterator[TowerReader]:
    """Record salience sources of the tower (`pooling_head`, `received`, `mean_query`) while the context is open.

    Parameters
    ----------
    family
        Adapter of the running model.
    sources
        Sources to record.
    pooling_head
        The SigLIP pooling head, for the source of that name.
    layer
        Layer of the tower whose attention gives `received` and `mean_query`, and whose keys are recorded.
    keys
        Record the keys of that layer as its attention uses them (rotated where it rotates them), mean over heads.

    Raises
    ------
    ValueError
        If the tower has no such layer, or its attention does not see whole frames.
    """
    with Hooks(family.core) as hooks:
        yield TowerReader(family, hooks, sources, head=pooling_head, layer=layer, keys=keys)
