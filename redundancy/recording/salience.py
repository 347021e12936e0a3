"""Salience and frame features that only the vision tower knows, computed beside its own forward.

Queries and keys of one layer are projected again from that layer's inputs, so the tower keeps its own attention
implementation, and no patches x patches array outlives a chunk of frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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


@contextmanager
def record_tower(
    family: Family,
    sources: Sequence[str],
    *,
    pooling_head: nn.Module | None = None,
    layer: int = -1,
    keys: bool = False,
) -> Iterator[Callable[[], TowerRecord]]:
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

    Yields
    ------
    A function that gives, while the text model runs, what the tower showed of the videos of that call, and not of its
    images. It raises RuntimeError if sources were not recorded, naming them.

    Raises
    ------
    ValueError
        If the tower has no such layer, or its attention does not see whole frames.
    """
    of_attention = [source for source in family.attention_sources if source in sources]
    head_input = family.pooling_input() if "pooling_head" in sources and pooling_head is not None else None
    expected = [*of_attention, *["pooling_head"] * (head_input is not None)]

    with Hooks(family.core) as hooks:
        calls = TowerCalls(family, hooks)

        def record() -> TowerRecord:
            """Of the call of the tower that is running."""
            if calls.running is None:
                raise RuntimeError("a layer of the vision tower was called outside the tower; call the whole model")
            if calls.running.notes is None:
                calls.running.notes = TowerRecord()
            notes: TowerRecord = calls.running.notes
            return notes

        @torch.no_grad()
        def read_attention(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            grid = None if calls.running is None else calls.running.grid
            for query, key in family.queries_and_keys(module, args, kwargs, grid):
                if keys:
                    record().keys.append(key.mean(1))
                for source in of_attention:
                    if source == "received":
                        score = received_attention(query, key)
                    else:
                        score = mean_query_attention(query, key, patches_per_token=family.patches_per_token)
                    record().scores.setdefault(source, []).append(score)

        @torch.no_grad()
        def read_head(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor) -> None:
            if pooling_head is not None:
                score, pooled = pooling_head_attention(pooling_head, output)
                record().scores.setdefault("pooling_head", []).append(score)
                record().features.setdefault("pooling_head", []).append(pooled)

        def of_video() -> TowerRecord:
            call = calls.of_video()
            notes = TowerRecord() if call is None or call.notes is None else call.notes
            missing = [source for source in expected if source not in notes.scores]
            missing += ["keys"] * (keys and not notes.keys)
            if missing:
                what = (
                    "no call of the vision tower inside this context made the video's features (they were computed "
                    "before it was opened, or in parts)"
                    if call is None
                    else "the vision tower ran without the hooks of its layers"
                )
                raise RuntimeError(f"{missing} asked for and not recorded: {what}; give the model pixels, and call it")
            return notes

        if keys or of_attention:
            hooks.before(family.attention_module(layer), read_attention)
        if head_input is not None:
            hooks.after(head_input, read_head)
        yield of_video
