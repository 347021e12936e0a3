"""`VideoTokens` of one call of a model, from what enters its text model and what the tower showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import xarray as xr
from torch import Tensor

from redundancy.models.base import Family, VideoSpan
from redundancy.models.hooks import ShortVideo, TextEntry
from redundancy.recording.salience import TowerRecord
from redundancy.tokens import VideoTokens, labelled
from redundancy.video import VideoClip


class PromptEnd(NamedTuple):
    """Position id of the last prompt token, and the number of columns behind a video's tokens and row newlines."""

    last_position: int
    text_after: int


def prompt_end(family: Family, entry: TextEntry, span: VideoSpan) -> PromptEnd:
    """Where the prompt behind a whole video ends."""
    ids = family.position_ids(entry.kwargs)[:, span.row]
    behind = ids.shape[1] - 1 - int(span.columns.max()) - (family.layout.newline == "row")
    return PromptEnd(int(ids[:, -1].max()), behind)


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
