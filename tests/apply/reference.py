"""Pruned greedy decoding without cache and without hooks on the forward: each step runs the whole shortened prompt.

Written with dense matrices and loops over columns, so that it shares nothing with the code it judges but the Reduction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from redundancy.models import Prepared, VideoLLM
from redundancy.models.hooks import TextEntry, on_text_entry
from redundancy.reduction import Reduction
from tests.tiny_models import CACHE


def whole_prompt(model: VideoLLM, inputs: Prepared) -> TextEntry:
    """What enters the text model when nothing is pruned."""
    seen: list[TextEntry] = []
    with on_text_entry(
        model.family, lambda entry: seen.append(TextEntry(entry.input_ids, entry.spans, dict(entry.kwargs)))
    ):
        model.prefill(inputs)
    return seen[0]


def dense(reduction: Reduction) -> Tensor:
    """W as a matrix [K, slots]."""
    W = torch.zeros(reduction.kept, len(reduction.slots), dtype=torch.float64)
    for s, t, w in zip(reduction.source, reduction.target, reduction.weight, strict=True):
        W[t, s] += w
    return W


def shortened(
    entry: TextEntry, model: VideoLLM, row: int, reductions: Sequence[Reduction], mask: Tensor
) -> dict[str, Any]:
    """Embeddings [S, D], positions [A, S], visual flags [S] and DeepStack levels [S, D] of one row after reduction.

    `video` [S] is the number of the row's video whose output (or newline) stands there, -1 at text; `slot` its token.
    """
    embeds = entry.kwargs["inputs_embeds"][row].double()
    positions = model.family.position_ids(entry.kwargs)[:, row].double()
    L = len(embeds)
    visual = entry.kwargs.get("visual_pos_masks")
    visual = torch.zeros(L, dtype=torch.bool) if visual is None else visual[row]
    levels = []
    for level in entry.kwargs.get("deepstack_visual_embeds") or ():
        full = torch.zeros(*entry.kwargs["visual_pos_masks"].shape, level.shape[-1], dtype=torch.float64)
        full[entry.kwargs["visual_pos_masks"]] = level.double()
        levels.append(full[row])
    video, slot = torch.full((L,), -1), torch.full((L,), -1)
    drop, outputs = set((~mask.bool()).nonzero().flatten().tolist()), []
    for v, (span, reduction) in enumerate(zip([s for s in entry.spans if s.row == row], reductions, strict=True)):
        columns = span.columns.flatten()
        video[torch.cat([columns, span.newlines])] = v
        slot[columns] = torch.arange(len(columns))
        drop |= set(columns.tolist())
        kept_rows = {int(a) // span.grid.cols for a in reduction.anchor}
        if len(span.newlines) > 1 and reduction.newline != "all":
            kept_rows = kept_rows if reduction.newline == "kept rows" else set()
            drop |= {int(c) for i, c in enumerate(span.newlines) if i not in kept_rows}
        W = dense(reduction)
        anchors = columns[reduction.anchor]
        places = sorted(anchors.tolist())
        at = positions[:, anchors]
        if reduction.placement == "centroid":
            at = ((positions[:, columns] @ W.T) / W.sum(1)).round()
        if reduction.positions is not None:
            at = reduction.positions.double()
        outputs += [
            (
                places[k],
                (W @ embeds[columns])[k],
                at[:, k],
                bool(visual[anchors[k]]),
                [(W @ x[columns])[k] for x in levels],
                (int(video[anchors[k]]), int(slot[anchors[k]])),
            )
            for k in range(reduction.kept)
        ]
    items = [
        (c, embeds[c], positions[:, c], bool(visual[c]), [x[c] for x in levels], (int(video[c]), int(slot[c])))
        for c in range(L)
        if c not in drop
    ]
    items = sorted(items + outputs, key=lambda item: item[0])
    new = torch.stack([i[2] for i in items], 1)
    if any(r.placement == "renumbered" for r in reductions):
        new = torch.arange(len(items)).expand_as(new)
    return {
        "embeds": torch.stack([i[1] for i in items]).float(),
        "positions": new.long(),
        "visual": torch.tensor([i[3] for i in items]),
        "levels": [torch.stack([i[4][j] for i in items]).float() for j in range(len(levels))],
        "video": torch.tensor([i[5][0] for i in items]),
        "slot": torch.tensor([i[5][1] for i in items]),
    }


@torch.no_grad()
def greedy(model: VideoLLM, prompt: dict[str, Any], *, steps: int) -> tuple[list[int], Tensor]:
    """Greedy ids and logits [steps, vocabulary], every step from scratch."""
    text, head = model.family.text_model, model.model.get_output_embeddings()
    embeds, positions, visual, levels = (prompt[k] for k in ("embeds", "positions", "visual", "levels"))
    ids, logits = [], []
    for _ in range(steps):
        S = len(embeds)
        extras: dict[str, Any] = {}
        if levels:
            extras = {"visual_pos_masks": visual[None], "deepstack_visual_embeds": [x[visual] for x in levels]}
        ids_4 = model.family.text_position_ids(positions[:, None], torch.arange(S)[None])
        hidden = text(
            inputs_embeds=embeds[None],
            position_ids=ids_4,
            attention_mask=torch.ones(1, S, dtype=torch.long),
            use_cache=False,
            **extras,
        ).last_hidden_state
        step = head(hidden[0, -1])
        logits.append(step)
        ids.append(int(step.argmax()))
        embeds = torch.cat([embeds, model.model.get_input_embeddings()(torch.tensor([ids[-1]]))])
        positions = torch.cat([positions, positions[:, -1:].max() + 1 + torch.zeros_like(positions[:, :1])], 1)
        visual = torch.cat([visual, torch.tensor([False])])
        levels = [torch.cat([x, torch.zeros_like(x[:1])]) for x in levels]
    return ids, torch.stack(logits)


Plan = dict[int, list[Reduction]]  # per layer, the reduction of each video of the row


@torch.no_grad()
def greedy_inside(model: VideoLLM, prompt: dict[str, Any], plan: Plan, *, steps: int) -> tuple[list[int], Tensor]:
    """As `greedy`, with reductions inside the language model: every step runs every layer on the whole sequence."""
    text, head = model.family.text_model, model.model.get_output_embeddings()
    P = len(prompt["embeds"])
    embeds, positions = prompt["embeds"], prompt["positions"]
    ids, logits = [], []
    for n in range(steps):
        hidden, column = embeds, torch.arange(P + n)
        video = torch.cat([prompt["video"], torch.full((n,), -1)])
        slot = torch.cat([prompt["slot"], torch.full((n,), -1)])
        levels = [torch.cat([x, torch.zeros(n, x.shape[1])]) for x in prompt["levels"]]
        axes = positions[:, None] if len(positions) > 1 else positions
        cos, sin = text.rotary_emb(embeds[None], axes)
        for i, layer in enumerate(text.layers):
            if i in plan:
                at, W = matrix(video, slot, plan[i])
                hidden = (W @ hidden.double()).float()
                levels = [(W @ x.double()).float() for x in levels]
                column, video, slot = column[at], video[at], slot[at]
            out = layer(
                hidden[None],
                attention_mask=None,
                position_embeddings=(cos[:, column], sin[:, column]),
                position_ids=None,
                **{CACHE: None},
            )
            hidden = (out[0] if isinstance(out, tuple) else out)[0]
            if i < len(levels):
                hidden = hidden + levels[i]
        step = head(text.norm(hidden[-1:]))[0]
        logits.append(step)
        ids.append(int(step.argmax()))
        embeds = torch.cat([embeds, model.model.get_input_embeddings()(torch.tensor([ids[-1]]))])
        positions = torch.cat([positions, positions[:, -1:].max() + 1 + torch.zeros_like(positions[:, :1])], 1)
    return ids, torch.stack(logits)


def matrix(video: Tensor, slot: Tensor, reductions: Sequence[Reduction]) -> tuple[Tensor, Tensor]:
    """Places that stay, and the dense map [left, places] of all videos of a row at once."""
    whole = torch.eye(len(video), dtype=torch.float64)
    stays = torch.ones(len(video), dtype=torch.bool)
    for v, reduction in enumerate(reductions):
        with_newlines = bool((reduction.slots < 0).any())
        span = ((video == v) & (with_newlines | (slot >= 0))).nonzero().flatten()
        assert slot[span].tolist() == reduction.slots.tolist()
        stays[span] = False
        stays[span[reduction.anchor]] = True
        W = dense(reduction)
        for k, a in enumerate(span[reduction.anchor].tolist()):
            whole[a] = 0
            whole[a, span] = W[k]
    return stays.nonzero().flatten(), whole[stays]
