"""`VideoSession`: one clip on one model, asked as often as wanted, with one run of the vision tower."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import Any, Literal, TypeVar

import pandas as pd
import torch
import xarray as xr

from redundancy.apply.context import refuse_inside
from redundancy.apply.outer import Reads
from redundancy.checks import described, require_type, whole_number
from redundancy.evaluation.cost.flops import DecoderShape, fastvid_flops, holitom_flops
from redundancy.evaluation.decisions import Draw, decisions, random_like, suited
from redundancy.evaluation.prompts import Prompts, prompts_of
from redundancy.evaluation.rows import Asking, Inner, Method, compared, grid_text, rows_of
from redundancy.evaluation.sharing import share
from redundancy.metrics import coverage
from redundancy.metrics.kernels.outputs import error_of_outputs, video_outputs
from redundancy.metrics.kernels.sample import fixed_sample
from redundancy.metrics.measure import measure
from redundancy.models.identity import running_state
from redundancy.models.video_llm import Prepared, VideoLLM
from redundancy.provenance import commit
from redundancy.pruning import base
from redundancy.pruning.named import as_inner, as_method
from redundancy.questions import Question
from redundancy.recording.attention import Rows
from redundancy.recording.call_tokens import PromptEnd
from redundancy.recording.encode import encode
from redundancy.recording.record import capture_prompt
from redundancy.recording.tokens import (
    TokenRecorder,
    available_frame_features,
    available_salience,
    check_asked,
    record_prompt,
)
from redundancy.reduction import Reduction
from redundancy.sources import VideoSource
from redundancy.tokens import VideoTokens
from redundancy.video import VideoClip

T = TypeVar("T")
SAMPLE = 2000  # tokens on which k-means runs, as `reconstruction_gap` does by default
__all__ = ["Draw", "VideoSession"]
Against = Literal["full"] | pd.DataFrame | None


class VideoSession:
    """One clip on one model: its tokens, attention, decisions and answers, each computed at most once.

    The vision tower runs once, at the first verb that needs it, and all that is read inside it is recorded then; every
    prompt, capture and answer begins behind it. Numbers are those of `video_tokens`, `capture` and `evaluate`.

    Until `close`, or the end of a `with` block, a session holds the clip's pixels, the features of the tower, the
    tokens with all salience, the full model's rows, and a capture per prompt and rows that was asked for.

    Parameters
    ----------
    model
        A loaded model, in evaluation mode.
    clip
        The clip.
    questions
        About it, which `answers` asks.
    prompt
        Text beside the video for `tokens` and `capture`; None: the first question, if there is one.
    source
        Where the clip comes from, and what is known about it; for whoever asks.
    salience, keys
        What is read inside the tower beside its output: sources of salience and frame features (None: all that the
        model gives), and the keys of its last layer (None: with all sources). Less takes less time and memory; a
        method that reads what was not recorded is refused.

    Raises
    ------
    NotImplementedError
        In a verb, if the model is in training mode, or inside `prune`, whose decisions would be taken for the model's.
    RuntimeError
        In a verb, if weights, adapters or torch's precision were changed since the tower ran, or the session is closed.

    Examples
    --------
    >>> with VideoSession(model, clip, questions) as video:  # doctest: +SKIP
    ...     for draw in video.decide("fastvid(0.25)"):
    ...         rows = video.answers(draw.reduction)
    """

    def __init__(
        self,
        model: VideoLLM,
        clip: VideoClip,
        questions: Sequence[Question] = (),
        *,
        prompt: str | None = None,
        source: VideoSource | None = None,
        salience: Sequence[str] | None = None,
        keys: bool | None = None,
    ) -> None:
        check_asked(model, clip, prompt)
        self.model, self.clip, self.questions, self.source = model, clip, tuple(questions), source
        for question in self.questions:
            require_type("questions", question, Question, expected="a list of Question(skill, text, answer, options)")
        first = self.questions[0].text if self.questions else None
        self.prompt = first if prompt is None else prompt
        self._reads: dict[str, Any] = {"salience": salience, "keys": keys}
        self._captures: dict[tuple[str | None, Any], xr.Dataset] = {}
        self._made: dict[object, Any] = {}
        self._state: object = None
        self._closed = False

    # what is shown ----------------------------------------------------------------------------------------------

    @cached_property
    def _shown(self) -> Prepared:
        """The prompt behind the tower; the one place where the tower runs."""
        state = running_state(self.model)
        shown = encode(self.model, self.model.prepare(self.clip, self.prompt), **self._reads)
        self._state = state
        return shown

    def _prepared(self, prompt: str | None) -> Prepared:
        """Another prompt about the clip, behind the tower."""
        self._ready()
        shown = self._shown
        if prompt == self.prompt:
            return shown
        return self._prompts_of(prompt).inputs_of(0)

    def _prompts_of(self, *texts: str | None) -> Prompts:
        """Prompts of texts about the clip, behind the tower; its frames do not go through the processor again."""
        prompts = prompts_of(self.model, self.clip, [self.prompt, *texts], inputs=self._shown)
        return replace(prompts, ids=prompts.ids[1:])

    @cached_property
    def _prompts(self) -> Prompts:
        """Prompts of the questions."""
        if not self.questions:
            raise ValueError("a session without questions given, expected VideoSession(model, clip, questions)")
        return self._prompts_of(*(q.text for q in self.questions))

    def _ready(self) -> None:
        """Refuse a model that would give other numbers than those that the session holds."""
        if self._closed:
            raise RuntimeError("this session is closed; open another one")
        refuse_inside(self.model.family, "a session")
        if self.model.model.training or self.model.family.tower.training:
            raise NotImplementedError(
                "a model in training mode given, whose dropout makes every run another one; call model.model.eval()"
            )
        if self._state is not None and running_state(self.model) != self._state:
            raise RuntimeError(
                "the model's weights, its active adapters or torch's precision were changed since this session ran the "
                "vision tower; open another session"
            )

    # what is recorded -------------------------------------------------------------------------------------------

    @cached_property
    def _recorded(self) -> TokenRecorder:
        return record_prompt(self.model, self._prepared(self.prompt), **self._sources)

    @cached_property
    def _with_keys(self) -> VideoTokens:
        return record_prompt(self.model, self._prepared(self.prompt), **self._sources, keys=True).tokens[0]

    @property
    def _sources(self) -> dict[str, Any]:
        """What recordings can find, of what was read inside the tower."""
        read = self._reads["salience"]
        if read is None:
            return {}
        return {
            "salience": [s for s in available_salience(self.model) if s in (*read, "norm")],
            "frame_features": [s for s in available_frame_features(self.model) if s in (*read, "mean")],
        }

    @property
    def tokens(self) -> VideoTokens:
        """The tokens as they enter the language model, with every salience and frame feature that was read."""
        self._ready()
        return self._recorded.tokens[0]

    @property
    def prompt_end(self) -> PromptEnd:
        """Position of the last prompt token, and the number of columns behind the video."""
        self._ready()
        return self._recorded.ends[0]

    @property
    def grid_text(self) -> str:
        """Temporal steps, rows and columns of the tokens, as `16x7x7`."""
        return grid_text(self.tokens.grid)

    def capture(self, prompt: str | None = None, rows: Rows | None = "last") -> xr.Dataset:
        """The capture with the attention of these queries, as `redundancy.capture` gives it.

        Parameters
        ----------
        prompt
            Text beside the video; None: the session's.
        rows
            `attention_rows` of `capture`; None: no attention, the language model is not run.
        """
        self._ready()
        asked = self.prompt if prompt is None else prompt
        key = (asked, rows if rows is None or isinstance(rows, str) else tuple(rows))
        if key not in self._captures:
            inputs = self._prepared(asked)
            found = capture_prompt(self.model, self.clip, asked, inputs=inputs, sources=self._sources, rows=rows)
            first = next(iter(self._captures.values()), None)
            self._captures[key] = found if first is None else with_arrays_of(first, found)
        return self._captures[key].copy()

    def attention(self, rows: Rows = "last", over: Sequence[Question | str] | None = None) -> xr.Dataset:
        """The capture with the mean attention of several questions, each the mean of its queries.

        Parameters
        ----------
        rows
            `attention_rows` of `capture`.
        over
            Questions or texts; None: the session's questions, or its prompt if there are none.
        """
        asked = [q.text if isinstance(q, Question) else q for q in (self.questions if over is None else over)]
        captures = [self.capture(text, rows) for text in asked] or [self.capture(None, rows)]
        names = ["attention", "attention_mass"]
        mean = xr.concat([c[names].mean("query") for c in captures], "question").mean("question")
        return captures[0].drop_vars([*names, "query"]).merge(mean)

    def measure(
        self,
        reduction: Reduction | None = None,
        metrics: str | Sequence[str] = "default",
        *,
        capture: xr.Dataset | None = None,
        **settings: Any,
    ) -> xr.Dataset:
        """`redundancy.measure` of the session's tokens, or of a capture; `settings` are its further arguments."""
        return measure(self.tokens if capture is None else capture, reduction, metrics, **settings)

    # what is decided --------------------------------------------------------------------------------------------

    def suited(self, method: str | base.Method) -> tuple[base.Method, str]:
        """The method with sources that the model gives in place of those that it does not, and a note of that."""
        made = as_method(method) if isinstance(method, str) else method
        if not isinstance(made, base.Method):
            raise TypeError(f"method: {described(made)} given, expected a method of redundancy.pruning, or its name")
        return suited(made, self.tokens)

    def decide(self, method: str | base.Method, *, seeds: int = 1) -> Iterator[Draw]:
        """What a method decides on the clip, once per seed if it draws.

        Parameters
        ----------
        method
            A method or its name with settings.
        seeds
            Number of seeds, 0, 1 and so on; a method without a seed decides once.
        """
        whole_number("seeds", seeds, least=1)
        made, note = self.suited(method)
        tokens = self._with_keys if Reads.of(made, self.model.family).keys else self.tokens
        yield from decisions(made, tokens, seeds=seeds, note=note)

    def random_like(self, reduction: Reduction, *, seed: int, per_frame: bool = False) -> Reduction:
        """As many tokens as a reduction keeps, drawn over the whole video, or frame by frame.

        Parameters
        ----------
        reduction
            What it is held against.
        seed
            Of the draw.
        per_frame
            Keep in every frame as many as the reduction has anchors there.

        Raises
        ------
        ValueError
            If another number is drawn, which would be no control.
        """
        return random_like(reduction, self.tokens, seed=seed, per_frame=per_frame)

    # what is answered -------------------------------------------------------------------------------------------

    @cached_property
    def _full(self) -> pd.DataFrame:
        return self._run(None, (), Asking(self.clip.source))

    @property
    def full(self) -> pd.DataFrame:
        """Rows of the full model on all questions, with the logits of the first token of each answer."""
        self._ready()
        return self._full

    def answers(
        self,
        reduction: Method = None,
        inner: Any = (),
        against: Against = "full",
        *,
        shared: bool | None = None,
        normalise: str = "sum",
        max_new_tokens: int = 0,
        keep_logits: bool = False,
    ) -> pd.DataFrame:
        """Answers to the session's questions, one row each, as `redundancy.evaluate` gives them.

        Parameters
        ----------
        reduction, inner
            As `prune` takes them; neither: all tokens.
        against
            `"full"`: also compare with the full model; None: do not; or its rows, with logits.
        shared
            Run the video once for all questions; None: wherever that gives the same answers, see `evaluate`.
        normalise, max_new_tokens, keep_logits
            As `evaluate` takes them.
        """
        self._ready()
        method, inside = None if reduction is None else as_method(reduction), as_inner(inner)
        asking = Asking(
            self.clip.source, normalise=normalise, max_new_tokens=max_new_tokens, shared=share(inside, shared)
        )
        rows = self.ask(method, inside, asking, against=against, keep_logits=keep_logits)
        return rows.assign(model=self.model.name, commit=commit())

    def ask(self, method: Method, inner: Inner, asking: Asking, *, against: Against, keep_logits: bool) -> pd.DataFrame:
        """`answers` with everything said, for `evaluate`."""
        rows = self._rows(method, inner, asking)
        if against is not None:
            full = replace(asking, shared=True, seed=None, max_new_tokens=0)
            rows = compared(rows, self._full_as(full) if isinstance(against, str) else against)
        return rows if keep_logits else rows.drop(columns="logits")

    def _full_as(self, asking: Asking) -> pd.DataFrame:
        """The full model's rows; those that are kept, wherever they are what is asked for."""
        usual = Asking(asking.video, asking.kind)
        if asking != usual:
            return self._run(None, (), asking)
        return self.full.assign(video=asking.video, kind=asking.kind)

    def _rows(self, method: Method, inner: Inner, asking: Asking) -> pd.DataFrame:
        if method is None and not inner:
            return self._full_as(asking)
        return self._run(method, inner, asking)

    def _run(self, method: Method, inner: Inner, asking: Asking) -> pd.DataFrame:
        self._ready()
        return rows_of(
            self.model, self.clip, self._prompts, questions=self.questions, method=method, inner=inner, asking=asking
        )

    # what it costs ----------------------------------------------------------------------------------------------

    def flops(self, reduction: Reduction | None = None) -> dict[str, float]:
        """FLOPs of the language model for the video tokens that are kept, by the formulas of two papers."""
        grid = self.tokens.grid
        kept = grid.frames * grid.tokens_per_frame if reduction is None else reduction.kept
        shape = DecoderShape.from_config(self.model.family.text_model.config)
        return {"flops_fastvid": fastvid_flops(kept, shape), "flops_holitom": holitom_flops(kept, shape)}

    def kmeans_error(self, kept: int) -> float:
        """Reconstruction error of as many k-means centres as tokens are kept, to which `reconstruction_gap` refers."""

        def error() -> float:
            anything = Reduction.from_selection(torch.arange(kept), grid=self.tokens.grid)
            return coverage.kmeans_error(self.tokens.features.cpu(), anything, sample=SAMPLE).item()

        return self.once(("k-means", kept), error)

    def reconstruction_gap(self, reduction: Reduction) -> float:
        """The metric of that name, with k-means run once for all reductions that keep as many tokens."""
        best = self.kmeans_error(reduction.kept)
        points = self.once("sample", lambda: fixed_sample(self.tokens.features, seed=0, sample=SAMPLE))
        error = error_of_outputs(points, video_outputs(self.tokens.features, reduction)).item()
        return error / best if best > 0 else float("nan")

    def once(self, key: object, make: Callable[[], T]) -> T:
        """What `make` returns, called once for each key: for what several conditions of a study share."""
        self._ready()
        if key not in self._made:
            self._made[key] = make()
        made: T = self._made[key]
        return made

    # its end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Free what the session holds; its verbs are refused from then on."""
        self._closed = True
        self._captures.clear()
        self._made.clear()
        for name in ("_shown", "_prompts", "_recorded", "_with_keys", "_full"):
            self.__dict__.pop(name, None)

    def __enter__(self) -> VideoSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def with_arrays_of(first: xr.Dataset, other: xr.Dataset) -> xr.Dataset:
    """Another capture of the same clip, whose arrays are those of the first wherever they hold the same values."""
    held = {
        name: variable.copy(data=first[name].values)
        for name, variable in other.data_vars.items()
        if name in first and variable.dtype == first[name].dtype and variable.equals(first[name])
    }
    return other.assign(held)
