"""`VideoTokens` from a running model, through hooks that leave it as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import xarray as xr
from torch import Tensor

from redundancy.checks import require_type
from redundancy.models.base import Family, VideoSpan
from redundancy.models.hooks import ShortVideo, TextEntry, on_text_entry
from redundancy.models.video_llm import Prepared, VideoLLM
from redundancy.recording.salience import TowerRecord, record_tower
from redundancy.tokens import VideoTokens, labelled
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


class PromptEnd(NamedTuple):
    """Position id of the last prompt token, and the number of columns behind a video's tokens and row newlines."""

    last_position: int
    text_after: int


def prompt_end(family: Family, entry: TextEntry, span: VideoSpan) -> PromptEnd:
    """Where the prompt behind a whole video ends."""
    ids = family.position_ids(entry.kwargs)[:, span.row]
    behind = ids.shape[1] - 1 - int(span.columns.max()) - (family.layout.newline == "row")
    return PromptEnd(int(ids[:, -1].max()), behind)


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


def tokens_of_call(
    family: Family,
    entry: TextEntry,
    tower: TowerRecord,
    *,
    salience: Sequence[str],
    frame_features: Sequence[str],
    clips: Sequence[VideoClip] | None = None,
) -> list[VideoTokens]:
    """Tokens of every video of one call, in order of rows and videos.

    Parameters
    ----------
    family
        Adapter of the running model.
    entry
        The call.
    tower
        What the tower showed of its videos.
    salience, frame_features
        Sources that the tokens shall carry.
    clips
        One per video that the tower worked on, for times in seconds.
    """
    of_videos, of_frames = tower.salience(family, entry.videos), tower.frame_features(entry.videos)
    keys = tower.token_keys(family, entry.videos)
    return [
        tokens_of_span(
            family,
            entry,
            span,
            tower_salience=of_videos[i],
            tower_features=of_frames[i],
            keys=keys[i],
            salience=salience,
            frame_features=frame_features,
            clip=None if clips is None else clips[i],
        )
        for i, span in zip(entry.shown, entry.spans, strict=True)
    ]


def tokens_of_span(
    family: Family,
    entry: TextEntry,
    span: VideoSpan,
    *,
    tower_salience: Mapping[str, Tensor],
    tower_features: Mapping[str, Tensor],
    salience: Sequence[str],
    frame_features: Sequence[str],
    keys: Tensor | None = None,
    clip: VideoClip | None = None,
) -> VideoTokens:
    """The tokens of one video at the entry of the text model.

    Parameters
    ----------
    family
        Adapter of the running model.
    entry, span
        The call, and where the video sits in it.
    tower_salience, tower_features
        What the tower showed of this video, by source.
    salience, frame_features
        Sources that the tokens shall carry; one that the model does not give is left out, and `salience_from` says so.
    keys
        `[T, N, d]` keys of the tower, or None.
    clip
        The clip, for times in seconds; without it they are NaN.
    """
    features = entry.kwargs["inputs_embeds"][span.row, span.columns]
    scores = {"norm": features.float().norm(dim=-1), **tower_salience}
    of_frames = {"mean": features.float().mean(1), **tower_features}
    T = span.grid.frames
    members = family.frame_members(span.grid, T * family.clip_frames_per_step if clip is None else len(clip.frames))
    time = torch.full((T,), torch.nan, dtype=torch.float64)
    deepstack = family.deepstack(entry.kwargs, span)
    extra: dict[str, Any] = {"deepstack": deepstack} if deepstack else {}
    if keys is not None:
        extra["keys"] = keys
    return VideoTokens(
        features=features,
        grid=span.grid,
        frame_time=time if clip is None else torch.from_numpy(clip.timestamps)[members].mean(1),
        frame_members=members,
        salience={s: scores[s] for s in salience if s in scores},
        frame_features={s: of_frames[s] for s in frame_features if s in of_frames},
        positions=family.position_ids(entry.kwargs)[:, span.row, span.columns],
        rotary=family.rotary(),
        layout=family.layout,
        extra=extra,
    )


def reduced_tokens(
    family: Family, entry: TextEntry, span: VideoSpan, *, video: ShortVideo, clip: VideoClip
) -> xr.Dataset:
    """The tokens of a reduced video as the model sees them, labelled by their anchors, with the Reduction's map.

    Dims: kept, channel, rope_axis, and those of `Reduction.to_xarray`.
    """
    anchor = video.reduction.anchor.cpu()
    frame, cell = anchor // span.grid.tokens_per_frame, anchor % span.grid.tokens_per_frame
    members = family.frame_members(span.grid, len(clip.frames))
    ids = family.position_ids(entry.kwargs)[:, span.row]
    positions = ids[:, video.columns]
    tokens = labelled(("kept", "channel"), entry.kwargs["inputs_embeds"][span.row, video.columns])
    return (
        video.reduction.to_xarray()
        .assign(
            tokens=tokens,
            positions=labelled(("rope_axis", "kept"), positions),
        )
        .assign_coords(
            rope_axis=list(family.rotary().axes),
            anchor_frame=("kept", frame.numpy()),
            anchor_row=("kept", (cell // span.grid.cols).numpy()),
            anchor_col=("kept", (cell % span.grid.cols).numpy()),
            anchor_time=("kept", clip.timestamps[members.numpy()].mean(1)[frame.numpy()], {"units": "s"}),
        )
        .assign_attrs(last_position=int(ids[:, -1].max()))
    )


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
