"""The one place that registers hooks on a model, and takes them away again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from redundancy.models.base import Family, VideoSpan
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Hooks:
    """Forward hooks that exist while the context is open, and are removed on exit, also after an exception."""

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []

    def before(self, module: nn.Module, hook: Callable[[nn.Module, Any, dict[str, Any]], Arguments | None]) -> None:
        """Call `hook(module, args, kwargs)` before the module's forward; what it returns replaces both."""
        self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def after(self, module: nn.Module, hook: Callable[[nn.Module, Any, dict[str, Any], Any], Any]) -> None:
        """Call `hook(module, args, kwargs, output)` after the module's forward; what it returns replaces the output."""
        self._handles.append(module.register_forward_hook(hook, with_kwargs=True))

    def remove(self) -> None:
        """Take every hook away; safe to call twice."""
        while self._handles:
            self._handles.pop().remove()

    def __enter__(self) -> Hooks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()


def states_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Float[Tensor, "batch length channels"]:
    """Hidden states that a layer or its attention was called with.

    Source: own.
    """
    states: Tensor = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
    return states


@dataclass(frozen=True, eq=False)
class ShortVideo:
    """A video whose tokens an earlier hook of the same call reduced.

    Parameters
    ----------
    reduction
        What was decided.
    columns
        `[K]` columns of the shortened prompt, in output order.
    newlines
        Columns of the newlines that the video kept.
    """

    reduction: Reduction
    columns: Int[Tensor, "kept"]
    newlines: Int[Tensor, "newlines"]


@dataclass
class TextEntry:
    """A call of the text model whose prompt carries video, seen just before the text model runs.

    Parameters
    ----------
    input_ids
        `[B, L]` of the same call.
    spans
        Where each video sits in the prompt that was given, by rows and in order within a row.
    kwargs
        Keyword arguments of the text model: `inputs_embeds [B, L, D]`, `position_ids`, `attention_mask` and so on.
    shortened
        One entry per span if the prompt was shortened already, so that `kwargs` are those of the shorter one.
    """

    input_ids: Int[Tensor, "batch length"]
    spans: list[VideoSpan]
    kwargs: dict[str, Any]
    shortened: list[ShortVideo] | None = None


@dataclass(frozen=True, eq=False)
class LayerColumns:
    """Which columns of the prompt a decoder layer still has.

    Parameters
    ----------
    column
        `[B, S']` column of the prompt that entered the text model, 0 at padding.
    valid
        `[B, S']` False at padding.
    """

    column: Int[Tensor, "batch short"]
    valid: Bool[Tensor, "batch short"]

    def local(self, length: int) -> Int[Tensor, "batch length"]:
        """Place of every column of a prompt of that length in the layer, -1 for those that it no longer has."""
        places = torch.arange(self.column.shape[1], device=self.column.device).expand_as(self.column)
        local = self.column.new_full((len(self.column), length + 1), -1)
        return local.scatter(1, torch.where(self.valid, self.column, length), places)[:, :length]


_shortened: WeakKeyDictionary[nn.Module, list[ShortVideo]] = WeakKeyDictionary()  # of the running call, by core

_layer_columns: WeakKeyDictionary[nn.Module, dict[int, LayerColumns]] = WeakKeyDictionary()  # of the last prompt


def note_layer_columns(core: nn.Module, layers: dict[int, LayerColumns]) -> None:
    """Say which columns the decoder layers of the running prompt have, as far as they do not have all; it may grow.

    Source: own.
    """
    _layer_columns[core] = layers


def layer_columns(core: nn.Module, layer: int) -> LayerColumns | None:
    """Which columns a decoder layer of the running prompt has, None where it has all.

    Source: own.
    """
    return _layer_columns.get(core, {}).get(layer)


def _spans_of_copies(
    family: Family, input_ids: Int[Tensor, "batch length"], grids: Sequence[TokenGrid]
) -> list[VideoSpan]:
    """Spans of a batch in which `generate` repeats each row (beams, several sequences) and not the videos' grids."""
    placeholders = int((input_ids == family.video_token_id).sum())
    once = sum(family.run_length(grid) for grid in grids)
    copies = placeholders // once if once else 1
    if copies < 2 or placeholders % once or len(input_ids) % copies:
        return family.spans(input_ids, grids)
    spans = family.spans(input_ids[::copies], grids)
    repeated = [replace(span, row=span.row * copies + copy) for span in spans for copy in range(copies)]
    return sorted(repeated, key=lambda span: span.row)


@contextmanager
def on_text_entry(family: Family, callback: Callable[[TextEntry], dict[str, Any] | None]) -> Iterator[Hooks]:
    """Call `callback` at every entry of the text model that brings video features with it.

    A call brings video if its own arguments do, not if its ids contain the video token: a sampled token can be that.
    The callback may return other keyword arguments for the text model. One that shortens the prompt sets
    `entry.shortened`; callbacks of contexts opened later then see the shortened prompt, and are told so.

    Source: own.
    """
    call: dict[str, Any] = {}

    def note_tower(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        call["tower"] = family.tower_grid(args, kwargs)

    def note_core(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        call["ids"] = kwargs.get("input_ids", args[0] if args else None)
        call["video"] = family.carries_video(kwargs)
        call["core"] = kwargs
        _shortened.pop(module, None)

    def enter_text(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Arguments | None:
        if not call.get("video"):
            return None
        if call["ids"] is None:
            raise NotImplementedError(
                "the model was called with inputs_embeds and without input_ids, so the video tokens cannot be located; "
                "pass input_ids"
            )
        grids = family.video_grids(call["core"], call.get("tower"))
        try:
            spans = _spans_of_copies(family, call["ids"], grids)
        except ValueError as error:
            raise NotImplementedError(
                f"{error}; a prompt whose video does not come whole (chunked prefill) is not supported: prefill at once"
            ) from error
        entry = TextEntry(call["ids"], spans, kwargs, _shortened.get(family.core))
        changed = callback(entry)
        if entry.shortened is not None:
            _shortened[family.core] = entry.shortened
        return None if changed is None else (args, changed)

    with Hooks() as hooks:
        hooks.before(family.tower, note_tower)
        hooks.before(family.core, note_core)
        hooks.before(family.text_model, enter_text)
        try:
            yield hooks
        finally:
            _shortened.pop(family.core, None)
