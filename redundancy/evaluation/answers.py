"""`evaluate`: questions about videos, answered by a model with and without reduction, one row per question."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from redundancy.apply import Pruned, prune
from redundancy.apply.outer import Outer
from redundancy.capture import model_provenance
from redundancy.evaluation.prompts import Prompts, prompts_of
from redundancy.evaluation.scoring import NORMALISE, Scored, score_questions
from redundancy.metrics.fidelity import answer_rank, jensen_shannon, next_token_kl, top1_agreement
from redundancy.models.video_llm import VideoLLM
from redundancy.pruning import base
from redundancy.pruning.base import InnerMethod, require_choice
from redundancy.pruning.named import as_inner, as_method
from redundancy.reduction import Reduction
from redundancy.sources import VideoSource, list_videos
from redundancy.video import VideoClip
from redundancy.world.questions import Question

Video = VideoSource | VideoClip | str | Path
Method = str | type[base.Method] | Outer | Reduction | Sequence[Reduction] | None
InnerGiven = str | InnerMethod | Sequence[str | type[InnerMethod] | InnerMethod | Sequence[Reduction]]
Inner = Sequence[InnerMethod | Sequence[Reduction]]
KEY = ("video", "question", "text")
FIDELITY = {
    "kl": next_token_kl,
    "jensen_shannon": jensen_shannon,
    "top1_agreement": top1_agreement,
    "answer_rank": answer_rank,
}


@dataclass(frozen=True)
class _Video:
    """A video that was read, and what is asked about it."""

    name: str
    kind: str
    clip: VideoClip
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class _Settings:
    normalise: str
    max_new_tokens: int
    shared: bool
    seed: int | None


def evaluate(
    model: VideoLLM,
    videos: Video | Sequence[Video],
    method: Method = None,
    *,
    inner: InnerGiven = (),
    frames: int | None = None,
    questions: Sequence[Question] | Mapping[str, Sequence[Question]] | None = None,
    seed: int | None = None,
    normalise: str = "sum",
    max_new_tokens: int = 0,
    shared: bool | None = None,
    fidelity: bool = False,
    reference: pd.DataFrame | None = None,
    keep_logits: bool = False,
) -> pd.DataFrame:
    """Answer questions about videos by the likelihood of their options, with a method or with all tokens.

    Parameters
    ----------
    model
        A loaded model.
    videos
        Sources, paths, `world:N`, or clips that were read already.
    method, inner
        As `prune` takes them; neither: all tokens.
    frames
        Frames sampled from each video; None: the default of the model's family. Clips are taken as they are.
    questions
        For all videos, or by name of the video; None: those that come with the sources.
    seed
        Replaces the seed of the method and of the methods inside the model.
    normalise
        How options of different length compare: `"sum"`, `"token"` or `"character"`, see `Scored.scores`.
    max_new_tokens
        Also generate greedy answers of at most so many tokens: columns `generated` and `generated_correct`.
    shared
        Run each video once for all its questions; None: wherever that gives the same answers, which is unless a method
        inside the model reads the question's attention.
    fidelity
        Also run the whole model, and compare with it.
    reference
        Rows of the whole model on the same questions, made with `keep_logits=True`, to compare with instead.
    keep_logits
        Add a column of the logits `[vocabulary]` of the first token of the answer.

    Returns
    -------
    One row per question, videos and questions in order. Columns: `video, kind, question` (its number), `skill, text,
    answer, options, predicted, correct, loglikelihood` (a number per option, nat), `probability` (of the right option
    among the options), `chance`; `method, settings, inner, inner_settings` (json), `seed` (-1 if none was given),
    `requested`, `achieved` and `achieved_with_newlines` (shares of the video tokens that enter the language model;
    `requested` is NaN for a fixed rate), `kept` and `video_tokens` (numbers), `achieved_inside` (share left behind the
    last layer that reduces); `frames, clip_sha256, shared`. With `fidelity` or `reference`: `agreement` (1 if the whole
    model's option is predicted), `whole_predicted, whole_correct`, and of the first token of the answer `kl`,
    `jensen_shannon` (nat), `top1_agreement`, `answer_rank`. `attrs` hold the provenance.

    Raises
    ------
    ValueError
        If there is no question about a video, two videos have one name, `seed` is given and nothing draws, `shared`
        would change answers, or the reference is not that of the same questions.
    VideoError
        If a video cannot be read.

    Source: own.
    """
    require_choice("normalise", normalise, NORMALISE)
    if fidelity and reference is not None:
        raise ValueError("fidelity=True and reference=... given, expected one of the two")
    method, inside = _seeded(None if method is None else as_method(method), as_inner(inner), seed)
    once = _share(inside, shared)
    settings = _Settings(normalise, max_new_tokens, once, seed)
    tables = []
    for video in _read(model, videos, frames, questions):
        prompts = prompts_of(model, video.clip, [q.text for q in video.questions])
        rows = _rows(model, video, prompts, method=method, inner=inside, settings=settings)
        whole = reference
        if fidelity:
            whole = _rows(model, video, prompts, method=None, inner=(), settings=replace(settings, shared=True))
        tables.append(rows if whole is None else _compare(rows, whole))
    table = pd.concat(tables, ignore_index=True)
    table.attrs.update({k: str(v) for k, v in model_provenance(model).items()}, normalise=normalise)
    return table if keep_logits else table.drop(columns="logits")


def reads_question(inner: InnerGiven) -> bool:
    """Whether a method inside the model decides by the attention of the prompt's text, so that questions share nothing.

    Source: own.
    """
    return any(isinstance(m, InnerMethod) and m.queries != "none" for m in as_inner(inner))


def _share(inner: Inner, shared: bool | None) -> bool:
    reads = reads_question(inner)
    if shared and reads:
        raise ValueError(
            "shared=True given with a method inside the model that reads the question, expected shared=None or False"
        )
    return not reads if shared is None else shared


def _seeded(method: Method, inner: Inner, seed: int | None) -> tuple[Method, Inner]:
    """The methods with their seed replaced."""
    if seed is None:
        return method, inner

    def draws(m: Any) -> bool:
        return hasattr(m, "__dataclass_fields__") and "seed" in {f.name for f in fields(m)}

    def with_seed(m: Any) -> Any:
        return replace(m, seed=seed) if draws(m) else m

    if not any(draws(m) for m in (method, *inner)):
        raise ValueError(f"seed={seed} given and no method has a seed, expected seed=None")
    return with_seed(method), tuple(with_seed(m) for m in inner)


# what is read -----------------------------------------------------------------------------------------------------


def _read(
    model: VideoLLM,
    videos: Video | Sequence[Video],
    frames: int | None,
    questions: Sequence[Question] | Mapping[str, Sequence[Question]] | None,
) -> Iterator[_Video]:
    """Videos with their questions, one at a time; names and questions are checked before the first is read."""
    given = [videos] if isinstance(videos, VideoSource | VideoClip | str | Path) else list(videos)
    found: list[VideoSource | VideoClip] = []
    for video in given:
        found += list_videos([video]) if isinstance(video, str | Path) else [video]
    names = [v.name if isinstance(v, VideoSource) else v.source for v in found]
    if not found or len(set(names)) < len(names):
        raise ValueError(f"videos {names} given, expected at least one, with names that differ")
    asked = [_questions_of(v, name, questions) for v, name in zip(found, names, strict=True)]
    for video, name, about in zip(found, names, asked, strict=True):
        if isinstance(video, VideoClip):
            yield _Video(name, "user", video, about)
        else:
            yield _Video(name, video.kind, video.load(model, frames=frames), about)


def _questions_of(
    video: VideoSource | VideoClip,
    name: str,
    questions: Sequence[Question] | Mapping[str, Sequence[Question]] | None,
) -> tuple[Question, ...]:
    if isinstance(questions, Mapping):
        asked = tuple(questions.get(name, ()))
    elif questions is not None:
        asked = tuple(questions)
    else:
        record = video.record if isinstance(video, VideoSource) else None
        asked = () if record is None else record.questions
    if not asked:
        raise ValueError(f"no question about {name!r} given, expected questions=... or a source that brings its own")
    return asked


# rows -------------------------------------------------------------------------------------------------------------


def _rows(
    model: VideoLLM, video: _Video, prompts: Prompts, *, method: Method, inner: Inner, settings: _Settings
) -> pd.DataFrame:
    """Rows of one video, with the logits of each question."""
    with ExitStack() as stack:
        pruned = Pruned()
        if method is not None or inner:
            pruned = stack.enter_context(prune(model, method, inner=inner))
        scored = score_questions(
            model, prompts, video.questions, shared=settings.shared, max_new_tokens=settings.max_new_tokens
        )
    rows = []
    for i, one in enumerate(scored):
        call = 0 if one.shared else i
        outer = pruned.reductions[call] if pruned.reductions else None
        inside = pruned.inner[call * len(inner) : (call + 1) * len(inner)]
        rows.append(
            {"video": video.name, "kind": video.kind, "question": i}
            | _answer(one, settings)
            | _method(outer, inside)
            | {"seed": -1 if settings.seed is None else settings.seed}
            | _retention(one, outer, inside)
            | {"frames": len(video.clip.frames), "clip_sha256": video.clip.sha256, "shared": one.shared}
            | {"logits": one.logits.float().numpy()}
        )
    return pd.DataFrame(rows)


def _answer(scored: Scored, settings: _Settings) -> dict[str, Any]:
    question, predicted = scored.question, scored.predicted(settings.normalise)
    row = {
        "skill": question.skill,
        "text": question.text,
        "answer": question.answer,
        "options": list(question.options),
        "predicted": predicted,
        "correct": predicted == question.answer,
        "loglikelihood": scored.loglikelihood.tolist(),
        "probability": scored.probability(settings.normalise),
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


# fidelity ---------------------------------------------------------------------------------------------------------


def _compare(rows: pd.DataFrame, whole: pd.DataFrame) -> pd.DataFrame:
    """The rows with what the whole model says to the same questions, and how far its logits are."""
    missing = {*KEY, "predicted", "correct", "logits"} - set(whole.columns)
    if missing:
        raise ValueError(f"a reference without {sorted(missing)} given, expected rows of evaluate(keep_logits=True)")
    index = whole.set_index(list(KEY))
    wanted = pd.MultiIndex.from_frame(rows[list(KEY)])
    if not index.index.is_unique or not wanted.isin(index.index).all():
        raise ValueError(
            f"a reference of {len(whole)} rows given, expected exactly one for each question about "
            f"{rows['video'].iloc[0]!r}"
        )
    same = index.loc[wanted]
    p, q = (torch.from_numpy(np.stack(list(table["logits"]))) for table in (same, rows))
    return rows.assign(
        agreement=(same["predicted"].to_numpy() == rows["predicted"].to_numpy()).astype(float),
        whole_predicted=same["predicted"].to_numpy(),
        whole_correct=same["correct"].to_numpy(),
        **{name: measure(p, q).double().numpy() for name, measure in FIDELITY.items()},
    )
