"""One row per question: what was answered, with what reduction, and how far that is from the full model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from redundancy.apply import prune
from redundancy.apply.outer import Outer
from redundancy.evaluation.prompts import Prompts
from redundancy.evaluation.scoring import Scored, score_questions
from redundancy.metrics.fidelity import answer_rank, jensen_shannon, next_token_kl, top1_agreement
from redundancy.models.hooks import on_text_entry
from redundancy.models.video_llm import VideoLLM
from redundancy.pruning import base
from redundancy.pruning.base import InnerMethod
from redundancy.questions import Question
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid
from redundancy.video import VideoClip

Method = str | type[base.Method] | Outer | Reduction | Sequence[Reduction] | None
Inner = Sequence[InnerMethod | Sequence[Reduction]]
KEY = ("video", "question", "text")
FIDELITY = {
    "kl": next_token_kl,
    "jensen_shannon": jensen_shannon,
    "top1_agreement": top1_agreement,
    "answer_rank": answer_rank,
}


@dataclass(frozen=True)
class Asking:
    """How questions are asked, and what the rows say of it.

    Parameters
    ----------
    video, kind
        Name and kind of the video, as the rows tell them.
    normalise
        How options of different length compare, see `Scored.scores`.
    max_new_tokens
        Of greedy answers that are generated beside; 0: none.
    shared
        Run the video once for all questions.
    seed
        Which the methods were given; None: none.
    """

    video: str
    kind: str = "user"
    normalise: str = "sum"
    max_new_tokens: int = 0
    shared: bool = True
    seed: int | None = None


def rows_of(
    model: VideoLLM,
    clip: VideoClip,
    prompts: Prompts,
    *,
    questions: Sequence[Question],
    method: Method,
    inner: Inner,
    asking: Asking,
) -> pd.DataFrame:
    """Rows of one video, with the logits of the first token of each answer.

    Parameters
    ----------
    model, clip
        What is asked about what.
    prompts, questions
        Prompts of these questions, by `prompts_of`.
    method, inner
        As `prune` takes them; the full model without.
    asking
        How.
    """
    grids: list[TokenGrid] = []
    with ExitStack() as stack:
        stack.enter_context(on_text_entry(model.family, lambda entry: grids.extend(s.grid for s in entry.spans)))
        pruned = stack.enter_context(prune(model, method, inner=inner))  # refused inside another, also for all tokens
        scored = score_questions(model, prompts, questions, shared=asking.shared, max_new_tokens=asking.max_new_tokens)
    rows = []
    for i, one in enumerate(scored):
        call = 0 if one.shared else i
        outer = pruned.reductions[call] if pruned.reductions else None
        inside = pruned.inner[call * len(inner) : (call + 1) * len(inner)]
        rows.append(
            {"video": asking.video, "kind": asking.kind, "question": i}
            | _answer(one, asking.normalise)
            | _method(outer, inside)
            | {"seed": -1 if asking.seed is None else asking.seed}
            | _retention(one, outer, inside)
            | {"frames": len(clip.frames), "clip_sha256": clip.sha256, "shared": one.shared}
            | {"grid": grid_text(grids[0])}
            | {"logits": one.logits.float().numpy()}
        )
    return pd.DataFrame(rows)


def grid_text(grid: TokenGrid) -> str:
    """Temporal steps, rows and columns of a video's tokens, as `16x7x7`."""
    return "x".join(map(str, grid))


def _answer(scored: Scored, normalise: str) -> dict[str, Any]:
    question, predicted = scored.question, scored.predicted(normalise)
    row = {
        "skill": question.skill,
        "text": question.text,
        "answer": question.answer,
        "options": list(question.options),
        "predicted": predicted,
        "correct": predicted == question.answer,
        "loglikelihood": scored.loglikelihood.tolist(),
        "probability": scored.probability(normalise),
        "chance": question.chance,
    }
    if scored.generated is not None:
        row |= {"generated": scored.generated, "generated_correct": scored.generated == question.answer}
    return row


def _method(outer: Reduction | None, inside: Sequence[Reduction]) -> dict[str, str]:
    """Names and settings of what reduced, empty where nothing did."""
    return {
        "method": "none" if outer is None else outer.method,
        "settings": json.dumps({} if outer is None else dict(outer.settings), sort_keys=True),
        "inner": "+".join(r.method for r in inside) or "none",
        "inner_settings": json.dumps([dict(r.settings) for r in inside], sort_keys=True),
    }


def _retention(scored: Scored, outer: Reduction | None, inside: Sequence[Reduction]) -> dict[str, float | int]:
    """Requested and achieved shares of the video's tokens, before and behind the reductions inside the model."""
    requested = 1.0 if outer is None else np.nan if outer.requested is None else outer.requested
    achieved = 1.0 if outer is None else outer.achieved
    return {
        "requested": float(requested),
        "achieved": achieved,
        "achieved_with_newlines": 1.0 if outer is None else outer.achieved_with_newlines,
        "kept": scored.video_tokens if outer is None else outer.kept,
        "video_tokens": scored.video_tokens,
        "achieved_inside": inside[-1].achieved if inside else achieved,
    }


def compared(rows: pd.DataFrame, full: pd.DataFrame) -> pd.DataFrame:
    """The rows with what the full model says to the same questions, and how far its logits are.

    Raises
    ------
    ValueError
        If the full model's rows are not one for each question, with logits.
    """
    missing = {*KEY, "predicted", "correct", "logits"} - set(full.columns)
    if missing:
        raise ValueError(f"a reference without {sorted(missing)} given, expected rows of evaluate(keep_logits=True)")
    places = {key: i for i, key in enumerate(zip(*(full[name] for name in KEY), strict=True))}
    wanted = list(zip(*(rows[name] for name in KEY), strict=True))
    if len(places) < len(full) or not set(wanted) <= places.keys():
        raise ValueError(
            f"a reference of {len(full)} rows given, expected exactly one for each question about "
            f"{rows['video'].iloc[0]!r}"
        )
    same = full.iloc[[places[key] for key in wanted]]
    p, q = (torch.from_numpy(np.stack(list(table["logits"]))) for table in (same, rows))
    return rows.assign(
        agreement=(same["predicted"].to_numpy() == rows["predicted"].to_numpy()).astype(float),
        full_predicted=same["predicted"].to_numpy(),
        full_correct=same["correct"].to_numpy(),
        **{name: measure(p, q).double().numpy() for name, measure in FIDELITY.items()},
    )
