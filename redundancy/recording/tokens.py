"""`VideoTokens` from a running model, through hooks that leave it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import torch
import xarray as xr

from redundancy.checks import require_type
from redundancy.models.hooks import TextEntry, on_text_entry
from redundancy.models.video_llm import Prepared, VideoLLM
from redundancy.recording.call_tokens import PromptEnd, prompt_end, reduced_tokens, tokens_of_call
from redundancy.recording.salience import TowerRecord, record_tower
from redundancy.tokens import VideoTokens
from redundancy.video import VideoClip


def check_asked(model: object, clip: object, prompt: object) -> None:
    """Refuse what is no model, no single clip and no text.

    Raises
    ------
    TypeError
        With what was given and what is expected.
    """
    require_type("model", model, VideoLLM, expected="what load_model returns")
    require_type("clip", clip, VideoClip, expected="one VideoClip: what load_video returns")
    require_type("prompt", prompt, str | None, expected="a text, or None")


class _PromptSeen(Exception):  # noqa: N818 - it ends a forward early and is no error
    """The text model's inputs are recorded; nothing after them is needed."""


@dataclass
class TokenRecorder:
    """Collects the tokens of every video that enters the text model while `record_tokens` is open."""

    model: VideoLLM
    salience: tuple[str, ...]
    frame_features: tuple[str, ...]
    tokens: list[VideoTokens] = field(default_factory=list)
    reduced: list[xr.Dataset] = field(default_factory=list)
    clips: list[VideoClip] = field(default_factory=list)
    ends: list[PromptEnd] = field(default_factory=list)

    def read(self, entry: TextEntry, tower: Callable[[], TowerRecord]) -> None:
        """Append the tokens of each video of one call, in order of rows and videos.

        Inside `prune` the model sees fewer tokens: those are appended to `reduced`.
        """
        if entry.shortened is not None:
            self.reduced += [
                reduced_tokens(self.model.family, entry, span, video=video, clip=self.clips[i])
                for i, span, video in zip(entry.shown, entry.spans, entry.shortened, strict=True)
            ]
            return
        self.ends += [prompt_end(self.model.family, entry, span) for span in entry.spans]
        sources = {"salience": self.salience, "frame_features": self.frame_features}
        self.tokens += tokens_of_call(self.model.family, entry, tower(), **sources, clips=self.clips)


def available_salience(model: VideoLLM) -> tuple[str, ...]:
    """Salience sources that a model can give, the methods' preferred ones first."""
    head = ("pooling_head",) if model.pooling_head is not None else ()
    return (*head, *model.family.attention_sources, "norm")


def available_frame_features(model: VideoLLM) -> tuple[str, ...]:
    """Sources of frame features that a model can give."""
    return ("pooling_head", "mean") if model.pooling_head is not None else ("mean",)


def _choose(asked: Sequence[str] | None, available: tuple[str, ...], what: str, model: VideoLLM) -> tuple[str, ...]:
    if asked is None:
        return available
    unknown = [s for s in asked if s not in available]
    if unknown:
        advice = " load_model(..., salience_head=FOLDER) adds the SigLIP pooling head." * ("pooling_head" in unknown)
        raise ValueError(f"{model.name!r} gives no {what} of source {unknown}; it gives {list(available)}.{advice}")
    return tuple(asked)


@contextmanager
def record_tokens(
    model: VideoLLM,
    clips: Sequence[VideoClip],
    *,
    salience: Sequence[str] | None = None,
    frame_features: Sequence[str] | None = None,
    salience_layer: int = -1,
    keys: bool = False,
    stop: bool = False,
) -> Iterator[TokenRecorder]:
    """Record the tokens of `clips` whenever the model sees them, while the context is open.

    Parameters
    ----------
    model
        A loaded model.
    clips
        The clips of the call that will be recorded, in order of rows and videos.
    salience, frame_features
        Sources to record; None records all that the model gives.
    salience_layer
        Layer of the vision tower whose attention gives `received` and `mean_query`.
    keys
        Record the keys of that layer too, mean over heads, pooled to tokens: `VideoTokens.extra["keys"]`.
    stop
        End each call before the language model runs; use it through `video_tokens`.

    Raises
    ------
    ValueError
        If a source is asked for that the model does not give, or inside `prune`.
    """
    recorder = TokenRecorder(
        model,
        _choose(salience, available_salience(model), "salience", model),
        _choose(frame_features, available_frame_features(model), "frame features", model),
        clips=list(clips),
    )
    sources = list(recorder.salience)
    if "pooling_head" in recorder.frame_features and "pooling_head" not in sources:
        sources.append("pooling_head")

    with record_tower(model.family, sources, pooling_head=model.pooling_head, layer=salience_layer, keys=keys) as tower:

        def read(entry: TextEntry) -> None:
            recorder.read(entry, tower)
            if stop:
                raise _PromptSeen

        with on_text_entry(model.family, read):
            yield recorder


@torch.no_grad()
def record_prompt(
    model: VideoLLM,
    inputs: Prepared,
    *,
    salience: Sequence[str] | None = None,
    frame_features: Sequence[str] | None = None,
    salience_layer: int = -1,
    keys: bool = False,
) -> TokenRecorder:
    """What enters the text model for a prepared prompt or batch; the language model is not run.

    Raises
    ------
    ValueError
        If a source is asked for that the model does not give.
    RuntimeError
        If no video reached the language model.
    """
    clips = [clip for row in inputs.clips for clip in row]
    with (
        model.family.state_kept(),
        record_tokens(
            model,
            clips,
            salience=salience,
            frame_features=frame_features,
            salience_layer=salience_layer,
            keys=keys,
            stop=True,
        ) as recorder,
        suppress(_PromptSeen),
    ):
        model.prefill(inputs)
    if not (recorder.tokens or recorder.reduced):
        raise RuntimeError(
            f"the prompt {inputs.tensors['input_ids'].shape} shows no video, so it has no tokens to record; prepare it "
            "with a clip"
        )
    return recorder


def tokens_of_prompt(
    model: VideoLLM,
    inputs: Prepared,
    *,
    salience: Sequence[str] | None = None,
    frame_features: Sequence[str] | None = None,
    salience_layer: int = -1,
    keys: bool = False,
) -> list[VideoTokens]:
    """Tokens of every video of a prepared prompt or batch, in order of rows and videos; the language model is not run.

    Raises
    ------
    ValueError
        If a source is asked for that the model does not give, or inside `prune`.
    """
    sources = {"salience": salience, "frame_features": frame_features}
    recorder = record_prompt(model, inputs, **sources, salience_layer=salience_layer, keys=keys)
    if recorder.reduced:
        raise ValueError(
            "the model is inside prune, so whole videos do not reach its language model; leave the context, or use "
            "redundancy.recording, which records the reduced tokens"
        )
    return recorder.tokens


def video_tokens(
    model: VideoLLM,
    clip: VideoClip,
    prompt: str | None = None,
    *,
    salience: Sequence[str] | None = None,
    frame_features: Sequence[str] | None = None,
    salience_layer: int = -1,
    keys: bool = False,
) -> VideoTokens:
    """The tokens of a clip as they enter the language model, with salience, frame features and positions.

    Parameters
    ----------
    model
        A loaded model.
    clip
        The clip to show.
    prompt
        Text beside the video; it moves the positions of some families and nothing else.
    salience, frame_features
        Sources to record; None records all that the model gives.
    salience_layer
        Layer of the vision tower whose attention gives `received` and `mean_query`.
    keys
        Record the keys of that layer too, mean over heads, pooled to tokens: `VideoTokens.extra["keys"]`.

    Raises
    ------
    ValueError
        If a source is asked for that the model does not give.

    Examples
    --------
    >>> rd.video_tokens(model, clip).grid
    TokenGrid(frames=4, rows=7, cols=7)
    """
    check_asked(model, clip, prompt)
    (tokens,) = tokens_of_prompt(
        model,
        model.prepare(clip, prompt),
        salience=salience,
        frame_features=frame_features,
        salience_layer=salience_layer,
        keys=keys,
    )
    return tokens
