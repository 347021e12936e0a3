"""Rows of the language model's attention for chosen queries, per layer and head, without squares.

A hook on each chosen attention module projects the wanted queries again and takes the keys from the cache, so the model
keeps its own attention implementation and its output to the bit. Memory grows with rows x keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor, nn

from redundancy.models.base import Family, VideoSpan
from redundancy.models.hooks import Hooks, ShortVideo, TextEntry, on_text_entry

Rows = str | Sequence[int]


def attention_rows(
    query: Float[Tensor, "batch heads rows channels"],
    key: Float[Tensor, "batch key_heads keys channels"],
    *,
    scale: float,
    columns: Int[Tensor, "rows"],
    mask: Tensor | None = None,
) -> Float[Tensor, "batch heads rows keys"]:
    """Softmax of chosen queries over all keys, float32; heads that share keys are folded instead of repeating them.

    Parameters
    ----------
    query
        Rotated queries of the chosen rows.
    key
        Rotated keys of the whole sequence.
    scale
        Of the products.
    columns
        `[rows]` column of each query in the sequence of the keys; later keys are not seen.
    mask
        None; `[batch, keys]` with 0 at padding; or the rows of a 4-D mask, boolean or additive.

    Returns
    -------
    Rows sum to 1; a row that may see no key is 0.

    Source: own.
    """
    B, H, R, d = query.shape
    groups, S = key.shape[1], key.shape[2]
    folded = query.float().reshape(B, groups, (H // groups) * R, d)
    score = (folded @ key.float().transpose(2, 3)).view(B, H, R, S) * scale
    seen = torch.arange(S, device=key.device) <= columns.to(key.device)[:, None]
    score = score.masked_fill(~seen, -torch.inf)
    if mask is not None and mask.dim() == 2:
        score = score.masked_fill(~mask[:, None, None, :S].bool(), -torch.inf)
    elif mask is not None and mask.dtype == torch.bool:
        score = score.masked_fill(~mask[..., :S], -torch.inf)
    elif mask is not None:
        lowest = torch.finfo(mask.dtype).min
        score = torch.where(mask[..., :S] <= lowest, -torch.inf, score + mask[..., :S].float())
    rows: Tensor = score.softmax(-1).nan_to_num(0.0)
    return rows


@dataclass
class AttentionRecord:
    """Rows of one prefill.

    Parameters
    ----------
    columns
        `[rows]` columns of the queries in the sequence that the text model ran on.
    rows
        `[batch, heads, rows, keys]` per layer.
    entry
        The call: spans, and what was shortened.
    """

    columns: Tensor | None = None
    rows: dict[int, Tensor] = field(default_factory=dict)
    entry: TextEntry | None = None


@contextmanager
def record_attention(family: Family, rows: Rows, *, layers: Sequence[int] | None = None) -> Iterator[AttentionRecord]:
    """Record attention rows of every prefill that carries video, while the context is open; the last one stays.

    Parameters
    ----------
    family
        Adapter of the running model.
    rows
        `"last"`: the last prompt token; `"question"`: the prompt after the last video (a batch of one); or columns of
        the sequence that the text model runs on, negative ones counted from its end.
    layers
        Layers of the language model, negative ones counted from the last; None: all.

    Raises
    ------
    ValueError
        If a layer or a column does not exist, or `"question"` meets a batch.

    Source: own.
    """
    modules: Any = family.text_model.layers
    chosen = _layers(len(modules), layers)
    record = AttentionRecord()

    def enter(entry: TextEntry) -> None:
        record.entry, record.rows = entry, {}
        record.columns = _columns(entry, rows)

    def after(layer: int) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            hidden = kwargs.get("hidden_states", args[0] if args else None)
            if record.columns is not None and hidden is not None and layer not in record.rows:
                record.rows[layer] = layer_rows(module, hidden, kwargs, columns=record.columns)

        return hook

    with on_text_entry(family, enter), Hooks() as hooks:
        for layer in chosen:
            hooks.after(modules[layer].self_attn, after(layer))
        yield record


def _layers(count: int, layers: Sequence[int] | None) -> list[int]:
    bad = [i for i in layers or () if not -count <= i < count]
    if bad:
        raise ValueError(f"layers {bad} do not exist: the language model has {count} layers")
    return list(range(count)) if layers is None else [i % count for i in layers]


def _columns(entry: TextEntry, rows: Rows) -> Int[Tensor, "rows"]:
    embeds = entry.kwargs["inputs_embeds"]
    B, S = embeds.shape[:2]
    if rows == "last":
        wanted = [S - 1]
    elif rows == "question":
        if B != 1:
            raise ValueError(f'attention_rows="question" takes one prompt, given a batch of {B}; give columns instead')
        wanted = list(range(int(video_columns(entry, 0).max()) + 1, S)) if entry.spans else list(range(S))
    elif isinstance(rows, str):
        raise ValueError(f'attention rows are "last", "question" or columns, given {rows!r}')
    else:
        wanted = [int(column) for column in rows]
        bad = [c for c in wanted if not -S <= c < S]
        if bad or not wanted:
            raise ValueError(f"columns in {-S}..{S - 1} are expected, given {bad or 'none'}")
    return torch.remainder(torch.tensor(wanted, device=embeds.device), S)


def video_columns(entry: TextEntry, row: int) -> Int[Tensor, "columns"]:
    """Columns of the video tokens and their newlines, in the sequence that the text model runs on.

    Source: own.
    """
    seen: Sequence[VideoSpan | ShortVideo] = entry.spans if entry.shortened is None else entry.shortened
    videos = [video for span, video in zip(entry.spans, seen, strict=True) if span.row == row]
    return torch.cat([part for video in videos for part in (video.columns.flatten(), video.newlines)])


def attention_dataset(record: AttentionRecord, *, heads: str = "mean") -> xr.Dataset:
    """Recorded rows of one prompt with one video, labelled.

    Parameters
    ----------
    record
        What `record_attention` recorded.
    heads
        `"mean"` over heads, or `"all"`.

    Returns
    -------
    `attention` (layer, head, query, frame, token) on the video tokens, and `attention_mass` (layer, head, query, part)
    on all video tokens, all newlines and all text, which sums to 1; without the dim head for the mean over heads.
    Inside `prune` frame and token are one dim, kept. `query` is a column of the sequence that the text model ran on.

    Raises
    ------
    ValueError
        If nothing was recorded, there is more than one prompt or video, or `heads` is another word.

    Source: own.
    """
    entry, columns = record.entry, record.columns
    if entry is None or columns is None or not record.rows:
        raise ValueError("no attention was recorded; run a prefill that carries video inside record_attention")
    if heads not in ("mean", "all"):
        raise ValueError(f'heads is "mean" or "all", given {heads!r}')
    if len(entry.spans) != 1 or len(entry.input_ids) != 1:
        raise ValueError(f"one prompt with one video is expected, given {len(entry.input_ids)} with {len(entry.spans)}")
    rows = torch.stack([record.rows[layer][0] for layer in sorted(record.rows)]).cpu()
    rows = rows.mean(1) if heads == "mean" else rows
    video = entry.spans[0] if entry.shortened is None else entry.shortened[0]
    on_video, on_newline = rows[..., video.columns.cpu()], rows[..., video.newlines.cpu()].sum(-1)
    mass = on_video.flatten(2 + (heads == "all")).sum(-1)
    text = rows.sum(-1) - mass - on_newline
    lead = ("layer", "head", "query") if heads == "all" else ("layer", "query")
    rest = ("frame", "token") if entry.shortened is None else ("kept",)
    return xr.Dataset(
        {
            "attention": ((*lead, *rest), on_video.numpy(), {"units": "1", "range": "0..1"}),
            "attention_mass": ((*lead, "part"), torch.stack([mass, on_newline, text], -1).numpy()),
        },
        coords={
            "layer": sorted(record.rows),
            "query": columns.cpu().numpy(),
            "part": ["video", "newline", "text"],
        },
        attrs={"attention_heads": heads},
    )


def layer_rows(
    module: Any,
    hidden: Float[Tensor, "batch length channels"],
    arguments: dict[str, Any],
    *,
    columns: Int[Tensor, "rows"],
) -> Float[Tensor, "batch heads rows keys"]:
    """Attention of chosen columns of one decoder layer, from what its attention module was called with.

    Parameters
    ----------
    module
        Attention module of the layer, after its forward.
    hidden
        States that entered it.
    arguments
        Its keyword arguments: rotary tables, mask, cache.
    columns
        Of the states.

    Source: own.
    """
    cos, sin = arguments["position_embeddings"]
    cache, mask = arguments.get("past_key_values"), arguments.get("attention_mask")
    query = _project(module.q_proj, getattr(module, "q_norm", None), hidden[:, columns], module.head_dim)
    query = _rotate(query, cos[:, columns], sin[:, columns])
    if cache is not None:
        key = cache.layers[module.layer_idx].keys
    else:
        key = _rotate(_project(module.k_proj, getattr(module, "k_norm", None), hidden, module.head_dim), cos, sin)
    if mask is not None and mask.dim() == 4:
        mask = mask[:, :, columns]
    return attention_rows(query, key, scale=module.scaling, columns=columns, mask=mask)


def _project(projection: nn.Module, norm: nn.Module | None, hidden: Tensor, head_dim: int) -> Tensor:
    heads = projection(hidden).view(*hidden.shape[:-1], -1, head_dim)
    projected: Tensor = heads if norm is None else norm(heads)
    return projected.transpose(1, 2)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos[:, None] + torch.cat((-second, first), dim=-1) * sin[:, None]
