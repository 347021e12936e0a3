"""Recorded attention and hidden states of one prompt with one video, labelled."""

from __future__ import annotations

from typing import Any

import torch
import xarray as xr
from torch import Tensor

from redundancy.models.base import VideoSpan
from redundancy.models.hooks import ShortVideo, TextEntry
from redundancy.recording.attention import AttentionRecord
from redundancy.recording.hidden import HiddenRecord
from redundancy.tokens import labelled


def attention_dataset(record: AttentionRecord, *, heads: str = "mean") -> xr.Dataset:
    """Recorded attention of one prompt with one video, labelled.

    Parameters
    ----------
    record
        What `record_attention` recorded.
    heads
        `"mean"` over heads, or `"all"`.

    Returns
    -------
    `attention` (layer, head, query, frame, token) on the video tokens, and `attention_mass` (layer, head, query, part)
    on all video tokens, all newlines and all text, which sums to 1; `attention_received` (layer, head, frame, token) if
    it was recorded. Without the dim head for the mean over heads. Inside `prune` frame and token are one dim, kept.
    `query` is a column of the sequence that the text model ran on; generated tokens follow the prompt.

    Raises
    ------
    ValueError
        If nothing was recorded, there is more than one prompt or video, or `heads` is another word.
    """
    if heads not in ("mean", "all"):
        raise ValueError(f'heads is "mean" or "all", given {heads!r}')
    video = _one_video(record.entry)
    lead, place = (("layer", "head") if heads == "all" else ("layer",)), _place_dims(record.entry)
    data: dict[str, Any] = {}
    coords: dict[str, Any] = {"layer": sorted(record.rows)}

    def stacked(per_layer: dict[int, Tensor]) -> Tensor:
        layers = torch.stack([per_layer[layer][0] for layer in sorted(per_layer)]).cpu()
        return layers.mean(1) if heads == "mean" else layers

    if record.columns:
        rows, beyond = stacked(record.rows), stacked(record.beyond)
        on_video, on_newline = rows[..., video.columns.cpu()], rows[..., video.newlines.cpu()].sum(-1)
        mass = on_video.flatten(len(lead) + 1).sum(-1)
        text = rows.sum(-1) + beyond - mass - on_newline
        data["attention"] = ((*lead, "query", *place), on_video.numpy(), {"units": "1", "range": "0..1"})
        data["attention_mass"] = ((*lead, "query", "part"), torch.stack([mass, on_newline, text], -1).numpy())
        coords |= {"query": record.columns, "part": ["video", "newline", "text"]}
    if record.received:
        on_video = stacked(record.received)[..., video.columns.cpu()]
        data["attention_received"] = ((*lead, *place), on_video.numpy(), {"units": "1", "range": "0..1"})
    return xr.Dataset(data, coords=coords, attrs={"attention_heads": heads})


def hidden_dataset(record: HiddenRecord) -> xr.Dataset:
    """Recorded hidden states of one prompt with one video, labelled.

    Returns
    -------
    `hidden_video` (layer, frame, token, channel) and `hidden_text` (layer, text_column, channel), the states that enter
    each layer (the number of layers: what leaves the last). Inside `prune` frame and token are one dim, kept. States of
    columns that a layer no longer has are NaN.

    Raises
    ------
    ValueError
        If nothing was recorded, or there is more than one prompt or video.
    """
    video = _one_video(record.entry)
    layers = sorted(record.states)
    states = torch.stack([record.states[layer][0] for layer in layers]).cpu()
    text = torch.ones(states.shape[1], dtype=torch.bool)
    text[torch.cat([video.columns.flatten(), video.newlines]).cpu()] = False
    return xr.Dataset(
        {
            "hidden_video": labelled(
                ("hidden_layer", *_place_dims(record.entry), "hidden_channel"), states[:, video.columns.cpu()]
            ),
            "hidden_text": labelled(("hidden_layer", "text_column", "hidden_channel"), states[:, text]),
        },
        coords={"hidden_layer": layers, "text_column": text.nonzero().flatten().numpy()},
    )


def _one_video(entry: TextEntry | None) -> VideoSpan | ShortVideo:
    if entry is None:
        raise ValueError("nothing was recorded; run a prefill that carries video while recording")
    if len(entry.spans) != 1 or len(entry.input_ids) != 1:
        raise ValueError(f"one prompt with one video is expected, given {len(entry.input_ids)} with {len(entry.spans)}")
    return entry.spans[0] if entry.shortened is None else entry.shortened[0]


def _place_dims(entry: TextEntry | None) -> tuple[str, ...]:
    return ("frame", "token") if entry is None or entry.shortened is None else ("kept",)
