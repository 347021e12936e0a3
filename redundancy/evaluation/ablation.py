"""What one change of a method does to a clip: answers and measurements of the changed decision and its controls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from redundancy.evaluation.decisions import anchors_alone
from redundancy.evaluation.same_grid import GridError, on_one_grid
from redundancy.evaluation.session import VideoSession
from redundancy.metrics.agreement import anchor_jaccard
from redundancy.metrics.measure import defined_mean
from redundancy.pruning.base import InnerMethod, Method
from redundancy.reduction import Reduction
from redundancy.video import VideoClip

ANSWERS = {
    "accuracy": "questions answered rightly",
    "agreement": "questions answered as by the full model",
    "kl": "KL divergence of the next token from the full model's",
}
SHARED = {
    "same_tokens": "Jaccard index of the places kept with those before the change",
    "same_answers": "questions answered as before the change",
}
# what a reduction does, whose mean over outputs, frames or tokens explains answers; all are outputs of metrics
EXPLAINING = {
    "reconstruction_error": "relative error of rebuilding all tokens from the outputs",
    "nearest_distance": "cosine distance of tokens to the nearest output",
    "alignment_all": "rotary alignment of outputs with their sources",
    "position_displacement_time": "distance of content and place on the first position axis, ids",
    "coherence_all": "how well the sources of an output agree on its rotation",
    "attention_lost": "LLM attention on tokens that are no anchors",
    "frames_covered": "share of frames that keep a token",
    "turn_coverage": "turns of the trajectory that keep their share of tokens",
    "cells_covered": "share of grid cells near a kept token",
}
OF_ATTENTION = frozenset({"attention_lost"})
OWN, BASE, DROP, RANDOM = "own", "base", "anchors alone", "random tokens"


class Held(NamedTuple):
    """A reduction with the name of the variant, the seed (-1: none) and what was put in place of missing sources."""

    variant: str
    seed: int
    reduction: Reduction
    note: str = ""


def content_of(reduction: Reduction | None) -> str:
    """Digest of what a reduction does: outputs, weights and places; equal decisions of two methods have one."""
    total = hashlib.sha256()
    if reduction is not None:
        total.update(f"{reduction.placement} {reduction.newline}".encode())
        given = () if reduction.positions is None else (reduction.positions,)
        for tensor in (reduction.anchor, reduction.source, reduction.target, reduction.weight, *given):
            total.update(f" {tuple(tensor.shape)} ".encode() + tensor.cpu().contiguous().numpy().tobytes())
    return total.hexdigest()


class Answered(NamedTuple):
    """Means of `ANSWERS` over a session's questions, what was answered to each, and the share of tokens at the end."""

    means: dict[str, float]
    predicted: tuple[str, ...]
    achieved: float


def answered(video: VideoSession, reduction: Reduction | None, inner: Sequence[InnerMethod] = ()) -> Answered:
    """Answers to the session's questions; computed once for each decision of a session."""

    def ask() -> Answered:
        rows = video.answers(reduction, inner, against="full")
        named = {"accuracy": rows["correct"], "agreement": rows["agreement"], "kl": rows["kl"]}
        means = {name: float(column.astype(float).mean()) for name, column in named.items()}
        return Answered(means, tuple(rows["predicted"]), float(rows["achieved_inside"].mean()))

    return video.once(("answered", content_of(reduction), repr(tuple(inner))), ask, owner=__name__)


def explained(video: VideoSession, reduction: Reduction, names: Sequence[str]) -> dict[str, float]:
    """Means of metrics of a reduction, of attention that of the last prompt token over the session's questions.

    Without questions nothing is asked, and metrics of attention are NaN.
    """
    known = [name for name in names if video.questions or name not in OF_ATTENTION]

    def means() -> dict[str, float]:
        values = video.values(reduction, known, rows="last" if video.questions else None)
        return dict.fromkeys(names, float("nan")) | {n: defined_mean(values[n].astype(float)) for n in known}

    return video.once(("explained", content_of(reduction), tuple(names)), means, owner=__name__)


def held_against(
    video: VideoSession,
    method: Method,
    base: Method | None,
    *,
    seeds: int,
    then: Callable[[VideoSession, Reduction], Reduction | None] | None = None,
) -> Iterator[Held]:
    """A method's decisions and their controls: the method before the change, the anchors alone, random tokens.

    Parameters
    ----------
    method, base
        With the change, and without it.
    seeds
        Of what draws, and of random tokens.
    then
        What is done to each of the method's decisions: another placement. None where that is nothing on this model,
        of which there is nothing to hold against anything.
    """
    first: Reduction | None = None
    for seed, decided, note in video.decide(method, seeds=seeds):
        reduction = decided if then is None else then(video, decided)
        if reduction is None:
            return
        yield Held(OWN, seed, reduction, note)
        first = reduction if first is None else first
    assert first is not None
    if not first.is_selection:
        yield Held(DROP, -1, anchors_alone(first))
    if base is not None:
        yield from (Held(BASE, seed, reduction) for seed, reduction, _ in video.decide(base, seeds=seeds))
    yield from (Held(RANDOM, seed, video.random_like(first, seed=seed)) for seed in range(seeds))


def ablated(
    video: VideoSession, held: Sequence[Held], names: Sequence[str], *, inner: Sequence[InnerMethod] = ()
) -> Iterator[dict[str, Any]]:
    """A row for each decision that is held against others: answers, where there are questions, and metrics.

    Rows of the method itself also say what it shares with the method before the change: `same_tokens`, the Jaccard
    index of the places kept, and `same_answers`, the share of questions answered alike.
    """
    base = next((one.reduction for one in held if one.variant == BASE), None)
    for variant, seed, reduction, note in held:
        row: dict[str, Any] = {"variant": variant, "seed": seed, "replaced": note}
        row |= {"achieved": reduction.achieved if variant == OWN else float("nan"), "share": reduction.achieved}
        row |= explained(video, reduction, names)
        if video.questions:
            row |= answered(video, reduction, inner).means
        if variant == OWN and base is not None:
            row |= compared(video, reduction, base, inner=inner)
        yield row


def compared(
    video: VideoSession, reduction: Reduction, base: Reduction, *, inner: Sequence[InnerMethod] = ()
) -> dict[str, float]:
    """What two decisions share: places that are kept, and answers."""
    row = {"same_tokens": float(anchor_jaccard(reduction, base))}
    if video.questions:
        pair = zip(*(answered(video, r, inner).predicted for r in (reduction, base)), strict=True)
        row["same_answers"] = sum(a == b for a, b in pair) / len(video.questions)
    return row


def beside(rows: pd.DataFrame, reference: Mapping[str, str]) -> pd.DataFrame:
    """Rows of conditions as `own`, and beside each, as `base`, those of another condition under its name.

    Parameters
    ----------
    rows
        With the column `condition`.
    reference
        For each condition the one that it is held against.
    """
    own = [rows[rows["condition"] == label].assign(variant=OWN) for label in reference]
    base = [rows[rows["condition"] == of].assign(variant=BASE, condition=label) for label, of in reference.items()]
    return pd.concat([*own, *base], ignore_index=True)


def same_grid_session(video: VideoSession, clips: Sequence[VideoClip], index: int) -> VideoSession | None:
    """A session on one of several clips, all shown on the grid of the first; None where the model does not allow it.

    The session itself where its clip is that one, and is shown unchanged.
    """
    try:
        clip = on_one_grid(video.model, clips)[index]
    except GridError:
        return None
    if clip is video.clip:
        return video
    return VideoSession(video.model, clip, video.questions, source=video.source)
