"""The language model's attention while it runs: rows of chosen queries, and what every column receives, by layer.

A hook on each chosen attention module computes them beside the model's own work, whose output stays the same to the
bit. Memory grows with rows x keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from redundancy.checks import whole_number
from redundancy.models.base import Family, VideoSpan
from redundancy.models.cache_name import cache_in
from redundancy.models.hooks import Hooks, LayerColumns, ShortVideo, TextEntry, layer_columns, on_text_entry, states_of
from redundancy.recording.rows import layer_rows

Rows = str | Sequence[int]
CHUNK = 128  # rows at a time of what every column receives


@dataclass
class AttentionRecord:
    """Attention of one prefill, and of the tokens generated after it. Keys are columns of the prompt.

    Parameters
    ----------
    columns
        Columns of the queries, in the sequence that the text model ran on; generated tokens follow the prompt.
    rows
        `[batch, heads, rows, keys]` per layer; 0 at keys that the layer no longer has, NaN for such queries.
    beyond
        `[batch, heads, rows]` per layer: the mass of each row on generated tokens.
    received
        `[batch, heads, keys]` per layer: mean over the queries of the prompt that are no padding.
    entry
        The call: spans, and what was shortened.
    """

    columns: list[int] = field(default_factory=list)
    rows: dict[int, Float[Tensor, "batch heads rows keys"]] = field(default_factory=dict)
    beyond: dict[int, Float[Tensor, "batch heads rows"]] = field(default_factory=dict)
    received: dict[int, Float[Tensor, "batch heads keys"]] = field(default_factory=dict)
    entry: TextEntry | None = None

    @property
    def length(self) -> int:
        """Columns of the prompt."""
        return 0 if self.entry is None else int(self.entry.kwargs["inputs_embeds"].shape[1])


@contextmanager
def record_attention(
    family: Family, rows: Rows | None, *, layers: Sequence[int] | None = None, received: bool = False
) -> Iterator[AttentionRecord]:
    """Record the attention of every prefill that carries video, while the context is open; the last one stays.

    Parameters
    ----------
    family
        Adapter of the running model.
    rows
        `"last"`: the last prompt token; `"question"`: the prompt after the last video (a batch of one); `"generated"`:
        the query behind each generated token, the last prompt token first; or columns of the sequence that the text
        model runs on, negative ones counted from its end; None: no rows.
    layers
        Layers of the language model, negative ones counted from the last; None: all.
    received
        Also record what each column receives from all queries of the prompt, in chunks of rows.

    Raises
    ------
    ValueError
        If a layer or a column does not exist, or `"question"` meets a batch.
    RuntimeError
        On leaving, if a prompt was seen and the attention of a layer was not, naming the layers.
    """
    modules: Any = family.text_model.layers
    recorder = _Recorder(family, rows, received=received)
    chosen = chosen_layers(len(modules), layers)
    with on_text_entry(family, recorder.enter), Hooks(family.core) as hooks:
        for layer in chosen:
            hooks.after(modules[layer].self_attn, recorder.after(layer))
        yield recorder.record
    require_recorded("attention", chosen, recorder.record.rows, entry=recorder.record.entry)


class _Recorder:
    def __init__(self, family: Family, rows: Rows | None, *, received: bool) -> None:
        self.family, self.rows, self.received = family, rows, received
        self.record = AttentionRecord()
        self.prompt_columns: Tensor | None = None
        self.cache: Any = None

    def enter(self, entry: TextEntry) -> None:
        """Begin a prompt."""
        record = self.record
        record.entry, record.rows, record.beyond, record.received = entry, {}, {}, {}
        self.prompt_columns = _columns(entry, self.rows)
        record.columns = self.prompt_columns.tolist()
        self.cache = cache_in(entry.kwargs)

    def after(self, layer: int) -> Any:
        """The hook behind the attention of one layer."""

        @torch.no_grad()
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            if self.record.entry is None:
                return
            hidden = states_of(args, kwargs)
            if layer not in self.record.rows:
                self.prompt(layer, module, hidden, kwargs)
            elif self.rows == "generated":
                self.step(layer, module, hidden, kwargs)

        return hook

    def prompt(self, layer: int, module: nn.Module, hidden: Tensor, kwargs: dict[str, Any]) -> None:
        """Rows, and what is received, of the prompt."""
        record, wanted = self.record, self.prompt_columns
        assert record.entry is not None
        assert wanted is not None
        if self.cache is None:
            self.cache = cache_in(kwargs)
        left = layer_columns(self.family.core, layer)
        rows = _rows_of_layer(module, hidden, kwargs, wanted, left, record.length)
        record.rows[layer], record.beyond[layer] = rows, rows.new_zeros(rows.shape[:3])
        if self.received:
            record.received[layer] = _received(module, hidden, kwargs, left, record.entry)

    def step(self, layer: int, module: nn.Module, hidden: Tensor, kwargs: dict[str, Any]) -> None:
        """The row of a token that was generated."""
        cache, record = cache_in(kwargs), self.record
        if cache is None or cache is not self.cache:
            return
        if hidden.shape[1] != 1:
            raise NotImplementedError(
                f"rows of generated tokens are recorded one token a step, given a step of {hidden.shape[1]}: no "
                "assistant model, no second turn"
            )
        left = layer_columns(self.family.core, layer)
        row = layer_rows(module, hidden, kwargs, columns=torch.zeros(1, dtype=torch.int64, device=hidden.device))
        length = record.length if left is None else left.column.shape[1]
        own, new = row[..., :length], row[..., length:].sum(-1)
        record.rows[layer] = torch.cat([record.rows[layer], _spread(own, left, record.length)], 2)
        record.beyond[layer] = torch.cat([record.beyond[layer], new], 2)
        count = record.rows[layer].shape[2]
        while len(record.columns) < count:
            record.columns.append(record.columns[-1] + 1)


def _rows_of_layer(
    module: nn.Module, hidden: Tensor, kwargs: dict[str, Any], wanted: Tensor, left: LayerColumns | None, length: int
) -> Float[Tensor, "batch heads rows keys"]:
    """Rows of chosen columns of the prompt, in a layer that may no longer have them all."""
    if left is None or not len(wanted):
        rows = layer_rows(module, hidden, kwargs, columns=wanted)
        return rows if left is None else _spread(rows, left, length)
    place = left.local(length)[:, wanted]
    used, inverse = torch.unique(place.clamp(min=0), return_inverse=True)  # batch rows may keep different columns
    rows = layer_rows(module, hidden, kwargs, columns=used)
    picked = rows.gather(2, inverse[:, None, :, None].expand(-1, rows.shape[1], -1, rows.shape[3]))
    return _spread(picked.masked_fill((place < 0)[:, None, :, None], torch.nan), left, length)


def _spread(
    rows: Float[Tensor, "batch heads rows short"], left: LayerColumns | None, length: int
) -> Float[Tensor, "batch heads rows keys"]:
    """Rows over all columns of the prompt, 0 at those that the layer no longer has."""
    if left is None:
        return rows
    B, H, R, _ = rows.shape
    index = torch.where(left.valid, left.column, length)[:, None, None].expand(B, H, R, -1)
    return rows.new_zeros(B, H, R, length + 1).scatter(3, index, rows)[..., :length]


def _received(
    module: nn.Module, hidden: Tensor, kwargs: dict[str, Any], left: LayerColumns | None, entry: TextEntry
) -> Float[Tensor, "batch heads keys"]:
    """Mean over the queries that are no padding of what each column of the prompt receives."""
    length = int(entry.kwargs["inputs_embeds"].shape[1])
    real = _real_columns(entry)
    real = real if left is None else real.gather(1, left.column) & left.valid
    total: Tensor | None = None
    for part in torch.split(torch.arange(hidden.shape[1], device=hidden.device), CHUNK):
        rows = layer_rows(module, hidden, kwargs, columns=part)
        summed = (rows * real[:, None, part, None]).sum(2, keepdim=True)
        total = summed if total is None else total + summed
    assert total is not None
    return _spread(total / real.sum(1)[:, None, None, None], left, length)[:, :, 0]


def _real_columns(entry: TextEntry) -> Bool[Tensor, "batch length"]:
    embeds, mask = entry.kwargs["inputs_embeds"], entry.kwargs.get("attention_mask")
    if mask is None:
        return torch.ones(embeds.shape[:2], dtype=torch.bool, device=embeds.device)
    real: Tensor = mask.bool()
    return real


def require_recorded(what: str, asked: Sequence[int], recorded: Mapping[int, Any], *, entry: TextEntry | None) -> None:
    """Refuse a record that lacks layers which were asked for, of a prompt that was seen.

    Raises
    ------
    RuntimeError
        With the layers.
    """
    missing = [layer for layer in asked if layer not in recorded]
    if entry is not None and missing:
        raise RuntimeError(
            f"{what} of layers {missing} asked for and not recorded: the language model ran without their hooks or was "
            "broken off; run the model that was given, by calling it"
        )


def chosen_layers(count: int, layers: Sequence[int] | None) -> list[int]:
    """Layers from 0; negative ones count from the last, None is all.

    Raises
    ------
    ValueError
        If a layer does not exist.
    """
    bad = [i for i in layers or () if not -count <= i < count]
    if bad:
        raise ValueError(f"layers {bad} do not exist: the language model has {count} layers")
    return list(range(count)) if layers is None else [i % count for i in layers]


def _columns(entry: TextEntry, rows: Rows | None) -> Int[Tensor, "rows"]:
    embeds = entry.kwargs["inputs_embeds"]
    B, S = embeds.shape[:2]
    if rows is None:
        wanted = []
    elif rows in ("last", "generated"):
        wanted = [S - 1]
    elif rows == "question":
        if B != 1:
            raise ValueError(f'attention_rows="question" takes one prompt, given a batch of {B}; give columns instead')
        wanted = list(range(int(video_columns(entry, 0).max()) + 1, S)) if entry.spans else list(range(S))
    elif isinstance(rows, str):
        raise ValueError(f'attention rows are "last", "question", "generated" or columns, given {rows!r}')
    else:
        wanted = [whole_number(f"attention_rows[{i}]", column) for i, column in enumerate(rows)]
        bad = [c for c in wanted if not -S <= c < S]
        if bad or not wanted:
            raise ValueError(f"columns in {-S}..{S - 1} are expected, given {bad or 'none'}")
    return torch.remainder(torch.tensor(wanted, dtype=torch.int64, device=embeds.device), S)


def video_columns(entry: TextEntry, row: int) -> Int[Tensor, "columns"]:
    """Columns of the video tokens and their newlines, in the sequence that the text model runs on."""
    seen: Sequence[VideoSpan | ShortVideo] = entry.spans if entry.shortened is None else entry.shortened
    videos = [video for span, video in zip(entry.spans, seen, strict=True) if span.row == row]
    return torch.cat([part for video in videos for part in (video.columns.flatten(), video.newlines)])
