"""`evaluate`: questions about videos, answered by a model with and without reduction, one row per question."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from redundancy.apply.outer import Reads
from redundancy.checks import require_type, whole_number
from redundancy.digest import digest_of
from redundancy.evaluation.cells import CannotStoreError, Cell, Cells, NothingMeasuredError, open_cells, own_folder
from redundancy.evaluation.failures import FAILURE, failure_of, with_failures
from redundancy.evaluation.given import NamedVideo, Questions, Video, check_questions, questions_of, videos_of
from redundancy.evaluation.rows import Asking, Inner, Method
from redundancy.evaluation.scoring import NORMALISE
from redundancy.evaluation.session import Against, VideoSession
from redundancy.evaluation.sharing import InnerGiven, share
from redundancy.models.identity import memory_digest, rounding
from redundancy.models.video_llm import VideoLLM
from redundancy.pruning.base import require_choice
from redundancy.pruning.named import as_inner, as_method
from redundancy.recording import model_provenance
from redundancy.sources import VideoSource
from redundancy.video import VideoReader

VERSION = 2  # of the rows; those of another are computed again


@dataclass(frozen=True)
class _Settings:
    normalise: str
    max_new_tokens: int
    shared: bool
    seed: int | None
    frames: int | None
    fidelity: bool
    keep_logits: bool


def evaluate(
    model: VideoLLM,
    videos: Video | Sequence[Video],
    method: Method = None,
    *,
    inner: InnerGiven = (),
    frames: int | None = None,
    questions: Questions = None,
    seed: int | None = None,
    normalise: str = "sum",
    max_new_tokens: int = 0,
    shared: bool | None = None,
    fidelity: bool = False,
    reference: pd.DataFrame | None = None,
    keep_logits: bool = False,
    out: str | Path | None = None,
    decoder: str = "auto",
    decode_timeout: float | int = 60.0,
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
        Also run the full model, and compare with it.
    reference
        Rows of the full model on the same questions, made with `keep_logits=True`, to compare with instead.
    keep_logits
        Add a column of the logits `[vocabulary]` of the first token of the answer.
    out
        Folder in which the rows of each video are stored as they are made, so that the same call goes on where another
        was stopped: new, or of earlier calls. Rows are taken from there if video, questions, model (as it is in
        memory), method and all settings are the same.
    decoder
        What reads files, see `load_video`.
    decode_timeout
        Seconds that reading one file may take; files are read in a process beside, see `VideoReader`.

    Returns
    -------
    One row per question, videos and questions in order. Columns: `video, kind, question` (its number), `skill, text,
    answer, options, predicted, correct, loglikelihood` (a number per option, nat), `probability` (of the right option
    among the options), `chance`; `method, settings, inner, inner_settings` (json), `seed` (-1 if none was given),
    `requested`, `achieved` and `achieved_with_newlines` (shares of the video tokens that enter the language model;
    `requested` is NaN for a fixed rate), `kept` and `video_tokens` (numbers), `achieved_inside` (share left behind the
    last layer that reduces); `frames, clip_sha256, shared`; `grid` (temporal steps, rows and columns of the video's
    tokens before any reduction, as `16x7x7`), `model, commit`. A video that failed is one row with its `error` and
    `error_type`, which are None elsewhere; `answered` leaves it out. With `fidelity` or `reference`: `agreement` (1 if
    the full model's option is predicted), `full_predicted, full_correct`, and of the first token of the answer `kl`,
    `jensen_shannon` (nat), `top1_agreement`, `answer_rank`. `attrs` hold the provenance.

    Raises
    ------
    ValueError
        If two videos have one name, `seed` is given and nothing draws, `shared` would change answers, or there is no
        question about any of the videos.
    NotImplementedError
        If the model is in training mode, or inside `prune`.
    NothingMeasuredError
        If several videos are given and all fail, with all messages; an only video raises its own error.
    FileExistsError, FolderInUseError
        If `out` holds something else, or another run works there.
    """
    require_type("model", model, VideoLLM, expected="what load_model returns")
    check_questions(questions)
    require_choice("normalise", normalise, NORMALISE)
    whole_number("max_new_tokens", max_new_tokens, least=0)
    if fidelity and reference is not None:
        raise ValueError("fidelity=True and reference=... given, expected one of the two")
    method, inside = _seeded(None if method is None else as_method(method), as_inner(inner), seed)
    once = share(inside, shared)
    settings = _Settings(normalise, max_new_tokens, once, seed, frames, fidelity, keep_logits)
    run = _Run(model, method, tuple(inside), settings, questions, reference)
    with ExitStack() as stack:
        reader = stack.enter_context(VideoReader(decoder=decoder, timeout=decode_timeout))
        found = videos_of(videos, reader)
        cells = None
        if out is not None:
            folder = Path(out).expanduser()
            stack.enter_context(own_folder(folder, "evaluate"))
            cells = stack.enter_context(open_cells(folder / "cells"))
        tables = _tables(run, found, cells, decoder)
    for file in () if cells is None else cells.damaged:
        print(f"{file} was damaged and was computed again", file=sys.stderr)
    provenance = model_provenance(model)
    table = pd.concat(tables, ignore_index=True).assign(model=model.name, commit=provenance["commit"])
    table = with_failures(table)
    if table["error"].notna().all():
        told = "; ".join(f"{row.video}: {row.error_type}: {row.error}" for row in table.itertuples())
        raise NothingMeasuredError(f"no video could be measured: {told}")
    table.attrs.update({k: str(v) for k, v in provenance.items()}, normalise=normalise)
    return table


def answered(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of `evaluate` without those of videos that failed, and without the columns about failures."""
    require_type("rows", rows, pd.DataFrame, expected="rows of evaluate")
    if not set(FAILURE) <= set(rows.columns):
        return rows
    return rows[rows["error"].isna()].drop(columns=list(FAILURE)).infer_objects()


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


# rows -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Run:
    """One call of `evaluate`, for one video at a time."""

    model: VideoLLM
    method: Method
    inner: Inner
    settings: _Settings
    questions: Questions
    reference: pd.DataFrame | None

    def table_of(self, named: NamedVideo) -> pd.DataFrame:
        """Rows of one video."""
        asked = questions_of(named.given, named.name, self.questions)
        clip = named.given
        if isinstance(clip, VideoSource):
            clip = clip.load(self.model, frames=self.settings.frames)
        settings = self.settings
        asking = Asking(
            named.name, named.kind, settings.normalise, settings.max_new_tokens, settings.shared, settings.seed
        )
        against: Against = "full" if settings.fidelity else None
        if self.reference is not None:
            against = answered(self.reference)
        reads = Reads.of(self.method, self.model.family)  # and no more: attention over a large tower takes its time
        with VideoSession(self.model, clip, asked, salience=reads.sources, keys=reads.keys) as session:
            return session.ask(self.method, self.inner, asking, against=against, keep_logits=settings.keep_logits)

    def context(self, decoder: str) -> dict[str, Any]:
        """All that rows depend on beside the video and what is asked about it."""
        told = model_provenance(self.model)
        how = {name: told[name] for name in ("attn_implementation", "redundancy_version")}
        how |= {"evaluate": VERSION, "decoder": decoder, "device": self.model.device.type}
        how |= {"precision": rounding(self.model.device.type)}
        return how | {
            "model": memory_digest(self.model),
            "method": self.method,
            "inner": self.inner,
            "settings": self.settings,
        }

    def asked_of(self, named: NamedVideo) -> object:
        """Questions about a video, and what the reference says about it."""
        reference = None
        if self.reference is not None:
            reference = self.reference[self.reference["video"] == named.name].to_dict("list")
        return [questions_of(named.given, named.name, self.questions), reference]


def _tables(run: _Run, found: Sequence[NamedVideo], cells: Cells | None, decoder: str) -> list[pd.DataFrame]:
    """A table per video; an only video raises its error."""
    context = None if cells is None else digest_of(run.context(decoder))
    tables: list[pd.DataFrame] = []
    for named in tqdm(found, desc="evaluate", unit="video", disable=True if len(found) == 1 else None):
        try:
            tables.append(run.table_of(named) if cells is None else _stored(run, named, cells, context))
        except CannotStoreError:
            raise
        except Exception as error:
            if len(found) == 1:
                raise
            tables.append(pd.DataFrame([{"video": named.name, "kind": named.kind, **failure_of(error)}]))
    return tables


def _stored(run: _Run, named: NamedVideo, cells: Cells, context: object) -> pd.DataFrame:
    """Rows of one video from its cell, which is made if need be."""
    key = digest_of([context, named.digest, run.asked_of(named)])[:24]
    cell = cells.load(key)
    if cell is None:
        cells.save(key, Cell(run.table_of(named), {}, {}))
        cell = cells.load(key)
    if cell is None:
        raise CannotStoreError(f"{cells.damaged[-1]} is not what was written: does the disk fail?")
    rows = cell.rows.assign(video=named.name, kind=named.kind)
    for name in ("options", "loglikelihood"):  # Parquet gives arrays
        rows[name] = [list(value) for value in rows[name]]
    return rows
