"""What a session holds of one clip on one model: prompts behind the tower, tokens and captures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from types import TracebackType
from typing import Any, TypeVar

import xarray as xr
from torch.nn import Parameter

from redundancy.apply.context import refuse_inside
from redundancy.checks import require_type
from redundancy.evaluation.prompts import Prompts, prompts_of
from redundancy.evaluation.rows import grid_text
from redundancy.models.identity import running_state
from redundancy.models.video_llm import Prepared, VideoLLM
from redundancy.questions import Question
from redundancy.recording.attention import Rows
from redundancy.recording.call_tokens import PromptEnd
from redundancy.recording.encode import encode
from redundancy.recording.record import capture_prompt, with_arrays_of
from redundancy.recording.tokens import (
    TokenRecorder,
    available_frame_features,
    available_salience,
    check_asked,
    record_prompt,
)
from redundancy.sources import VideoSource
from redundancy.tokens import VideoTokens
from redundancy.video import VideoClip

T = TypeVar("T")
CHANGED = (
    "the model's weights, its active adapters or torch's precision were changed since this session ran the vision "
    "tower; open another session"
)
Video = TypeVar("Video", bound="RecordedVideo")


class RecordedVideo:
    """One clip on one model, with one run of the vision tower: the base of `VideoSession`, which says what it takes."""

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
        self._watched: list[Parameter] = []
        self._counts: list[int] = []
        self._closed = False

    # what is shown ----------------------------------------------------------------------------------------------

    @cached_property
    def _shown(self) -> Prepared:
        """The prompt behind the tower; the one place where the tower runs."""
        state = running_state(self.model)
        shown = encode(self.model, self.model.prepare(self.clip, self.prompt), **self._reads)
        self._state = state
        counted = [tensor for tensor in self.model.model.parameters() if not tensor.is_inference()]
        self._watched, self._counts = counted, [tensor._version for tensor in counted]
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

    def _open(self) -> None:
        """Refuse a closed session, and weights that were changed: quickly, for what is held already."""
        if self._closed:
            raise RuntimeError("this session is closed; open another one")
        if self._counts != [tensor._version for tensor in self._watched]:
            raise RuntimeError(CHANGED)

    def _ready(self) -> None:
        """Refuse a model that would give other numbers than those that the session holds, before it runs."""
        self._open()
        refuse_inside(self.model.family, "a session")
        if self.model.model.training or self.model.family.tower.training:
            raise NotImplementedError(
                "a model in training mode given, whose dropout makes every run another one; call model.model.eval()"
            )
        if self._state is not None and running_state(self.model) != self._state:
            raise RuntimeError(CHANGED)

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
        self._open()
        return self._recorded.tokens[0]

    @property
    def prompt_end(self) -> PromptEnd:
        """Position of the last prompt token, and the number of columns behind the video."""
        self._open()
        return self._recorded.ends[0]

    @property
    def grid_text(self) -> str:
        """Temporal steps, rows and columns of the tokens, as `16x7x7`."""
        return grid_text(self.tokens.grid)

    def capture(self, prompt: str | None = None, rows: Rows | None = "last") -> xr.Dataset:
        """The capture with the attention of these queries, as `capture` gives it; its arrays are the session's.

        Parameters
        ----------
        prompt
            Text beside the video; None: the session's.
        rows
            `attention_rows` of `capture`; None: no attention, the language model is not run.
        """
        self._ready()
        asked = self.prompt if prompt is None else prompt
        key = (asked, key_of(rows))
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

    def once(self, key: object, make: Callable[[], T], *, owner: str = "") -> T:
        """What `make` returns, called once for each key: for what several conditions of a study share.

        Parameters
        ----------
        key
            Whatever can be a key of a dict.
        owner
            Whose key it is; modules of this package give their names, so that no key of a study is one of theirs.
        """
        self._open()
        if (owner, key) not in self._made:
            self._made[owner, key] = make()
        made: T = self._made[owner, key]
        return made

    # its end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Free what the session holds; its verbs are refused from then on."""
        self._closed = True
        self._captures.clear()
        self._made.clear()
        for name in [name for name in vars(self) if name in dir(type(self))]:  # cached properties
            del self.__dict__[name]

    def __enter__(self: Video) -> Video:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def key_of(rows: Rows | None) -> object:
    """Queries of attention as a key of what is kept."""
    return rows if rows is None or isinstance(rows, str) else tuple(rows)
