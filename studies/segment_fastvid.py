"""What FastVID keeps with given segments, and what a model then answers: a part of `studies.ablate_segments`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch

from redundancy.apply import prune
from redundancy.evaluation.prompts import prompts_of
from redundancy.evaluation.scoring import Scored, score_questions
from redundancy.metrics.coverage import reconstruction_error
from redundancy.metrics.fidelity import next_token_kl
from redundancy.models import VideoLLM
from redundancy.pruning.methods.fastvid import FastVID
from redundancy.pruning.parts.segment import GivenSegments
from redundancy.questions import Question
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens
from redundancy.video import VideoClip
from studies.conditions import random_like, salience_of

KEPT = {
    "error": "reconstruction error of what FastVID keeps",
    "anchors": "context tokens per segment",
    "kept": "share of tokens kept",
}
ANSWERS = {
    "accuracy": "share of the clip's questions that are answered rightly",
    "agreement": "share that is answered as with all tokens",
    "kl": "KL divergence of the next token from that with all tokens, nat",
}
TOKENS = {f"tokens_{name}": f"{meaning}: as many random tokens" for name, meaning in ANSWERS.items()}


class Asked:
    """Questions about a clip, and what the whole model answers.

    Parameters
    ----------
    model
        A loaded model.
    clip
        The clip.
    questions
        About it; at least one.
    """

    def __init__(self, model: VideoLLM, clip: VideoClip, questions: Sequence[Question]) -> None:
        self.model, self.questions = model, list(questions)
        self.prompts = prompts_of(model, clip, [q.text for q in questions])

    @cached_property
    def whole(self) -> list[Scored]:
        """Answers with all tokens."""
        return score_questions(self.model, self.prompts, self.questions, shared=True)

    def answers(self, reduction: Reduction | None) -> dict[str, float]:
        """`ANSWERS` with what a reduction keeps, or with all tokens."""
        scored = self.whole
        if reduction is not None:
            with prune(self.model, reduction):
                scored = score_questions(self.model, self.prompts, self.questions, shared=True)
        given, whole = ([s.predicted("sum") for s in answers] for answers in (scored, self.whole))
        p, q = (torch.stack([s.logits for s in answers]).float() for answers in (self.whole, scored))
        return {
            "accuracy": float(np.mean([g == s.question.answer for g, s in zip(given, scored, strict=True)])),
            "agreement": float(np.mean([g == w for g, w in zip(given, whole, strict=True)])),
            "kl": next_token_kl(p, q).double().mean().item(),
        }


def fastvid_with(lengths: Sequence[int], tokens: VideoTokens, retention: float) -> Reduction:
    """FastVID's decision with these segments; its LLaVA-Video budgets lose no token to rounding."""
    method = FastVID(
        retention=retention,
        variant="llava_video",
        salience=salience_of(tokens),
        features="mean",
        segmenter=GivenSegments(tuple(lengths)),
    )
    return method(tokens)


def kept_row(lengths: Sequence[int], tokens: VideoTokens, retentions: Sequence[float]) -> dict[str, float]:
    """`KEPT` at every retention."""
    row: dict[str, float] = {}
    for retention in retentions:
        reduction = fastvid_with(lengths, tokens, retention)
        row[f"error_{retention:g}"] = reconstruction_error(tokens.features, reduction).item()
        row[f"anchors_{retention:g}"] = reduction.stages["context_budget"].sum().item() / len(lengths)
        row[f"kept_{retention:g}"] = reduction.achieved
    return row


class Answers:
    """Answers of a clip with FastVID on any segments, and with as many random tokens; each is computed once.

    Parameters
    ----------
    asked
        The questions; None: the video has none, and every answer is NaN.
    tokens
        Of the clip.
    retentions
        Shares of the tokens that FastVID is asked to keep.
    draws
        Of random tokens.
    """

    def __init__(self, asked: Asked | None, tokens: VideoTokens, retentions: Sequence[float], *, draws: int) -> None:
        self.asked, self.tokens, self.retentions, self.draws = asked, tokens, retentions, draws
        self.done: dict[tuple[object, ...], dict[str, float]] = {}

    def row(self, lengths: Sequence[int], *, beside: bool) -> dict[str, float]:
        """`ANSWERS` at every retention, and with `beside` those of as many random tokens, mean over draws."""
        row: dict[str, float] = {}
        for retention in self.retentions:
            reduction = fastvid_with(lengths, self.tokens, retention)
            found = self._once(("segments", tuple(lengths), retention), reduction)
            if beside:
                drawn = [self._random(reduction, seed) for seed in range(self.draws)]
                found = found | {f"tokens_{name}": float(np.mean([d[name] for d in drawn])) for name in ANSWERS}
            row |= {f"{name}_{retention:g}": value for name, value in found.items()}
        return row

    def _random(self, reduction: Reduction, seed: int) -> dict[str, float]:
        key = ("tokens", reduction.kept, seed)
        return self.done[key] if key in self.done else self._once(key, random_like(reduction, self.tokens, seed=seed))

    def _once(self, key: tuple[object, ...], reduction: Reduction) -> dict[str, float]:
        if key not in self.done:
            nothing = dict.fromkeys(ANSWERS, float("nan"))
            self.done[key] = nothing if self.asked is None else self.asked.answers(reduction)
        return self.done[key]
