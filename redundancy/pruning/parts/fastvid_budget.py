"""FastVID's budgets: salient and context tokens of each frame, as each of the three published variants counts them."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.pruning.parts.budget import anchor_positions, shares

VARIANTS = ("onevision", "llava_video", "qwen")


@dataclass
class FastVIDBudget:
    """Salient and context tokens of each frame, `[T]`, and what was clamped to get there, in words.

    `base` is the number of tokens per frame (OneVision: also its salient and context parts).
    """

    salient: Int64[Tensor, "frames"]
    context: Int64[Tensor, "frames"]
    base: Int64[Tensor, "parts"]
    clamped: list[str] = field(default_factory=list)

    def place(self, frames: Int64[Tensor, "some"], *, salient: int, context: int, step: int) -> None:
        """Share a segment's tokens: the first frames get a salient token more, the last anchors a context token."""
        self.salient[frames] = shares(salient, len(frames))
        anchors = frames[anchor_positions(len(frames), step)]
        self.context[anchors] = shares(context, len(anchors))


def fastvid_budget(
    lengths: Int64[Tensor, "segments"],
    similarity: Float[Tensor, "transitions"],
    tokens_per_frame: int,
    *,
    variant: str,
    retention: float,
    d: float,
    p: int,
    ignore: float,
) -> FastVIDBudget:
    """Tokens per frame of a variant.

    - `"onevision"`: `int(N r)` per frame, of which `int(int(N r) d)` context tokens; a segment's context tokens go to
      its anchors in equal parts, a remainder is lost.
    - `"llava_video"`: the context share is rounded per segment, and nothing is lost.
    - `"qwen"`: like it, with at least one context token per segment; runs of frames more similar than `ignore` keep
      tokens on their last frame only, at most N, of which at most N // 2 context tokens.

    A frame keeps at least one token on average (`int(N r)` counts as 1), and an anchor at most its candidates.

    Source: FastVID (arXiv:2503.11187), section 3.3; details from the authors' code.
    """
    T, N = int(lengths.sum()), tokens_per_frame
    per_frame = int(N * retention)
    budget = FastVIDBudget(torch.zeros(T, dtype=torch.int64), torch.zeros(T, dtype=torch.int64), torch.tensor([1]))
    if per_frame < 1:
        budget.clamped.append(f"int(N * retention) = {per_frame} tokens per frame: 1")
        per_frame = 1
    budget.base = torch.tensor([per_frame])
    ends = lengths.cumsum(0)
    segments = [torch.arange(end - n, end) for n, end in zip(lengths.tolist(), ends.tolist(), strict=True)]
    if variant == "onevision":
        _onevision(budget, segments, per_frame, d=d, p=p)
    elif variant == "llava_video":
        for frames in segments:
            context = int(per_frame * len(frames) * d)
            budget.place(frames, salient=per_frame * len(frames) - context, context=context, step=p)
    else:
        _qwen(budget, segments, similarity, per_frame, N, d=d, p=p, ignore=ignore)
    over = (budget.context - (N - budget.salient)).clamp_min(0)
    if bool(over.any()):
        budget.clamped.append(f"{int(over.sum())} context tokens above the candidates of their frame lost")
        budget.context -= over
    return budget


def _onevision(budget: FastVIDBudget, segments: list[Tensor], per_frame: int, *, d: float, p: int) -> None:
    context = int(per_frame * d)
    budget.base = torch.tensor([per_frame, per_frame - context, context])
    budget.salient[:] = per_frame - context
    for frames in segments:
        anchors = frames[anchor_positions(len(frames), p)]
        budget.context[anchors] = context * len(frames) // len(anchors)


def _qwen(
    budget: FastVIDBudget,
    segments: list[Tensor],
    similarity: Tensor,
    per_frame: int,
    N: int,
    *,
    d: float,
    p: int,
    ignore: float,
) -> None:
    for frames in segments:
        total = per_frame * len(frames)
        context = max(int(total * d), 1)
        if len(frames) > 1:
            changes = similarity[frames[:-1]] < ignore
            frames = frames[torch.cat([changes, torch.tensor([True])])]
        budget.place(frames, salient=total - context, context=context, step=p)
        if total > per_frame:
            kept = int((budget.salient + budget.context)[frames].sum())
            budget.context[frames] = budget.context[frames].clamp_max(N // 2)
            budget.salient[frames] = torch.minimum(budget.salient[frames], N - budget.context[frames])
            lost = kept - int((budget.salient + budget.context)[frames].sum())
            if lost:
                budget.clamped.append(f"{lost} tokens above the caps of frames {frames.tolist()} lost")
