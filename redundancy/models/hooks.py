"""Calls of a model as hooks see them: where its videos are when the text model begins, and what was cut of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from redundancy.models.base import Family, VideoSpan
from redundancy.models.hook_context import Arguments, Hooks
from redundancy.models.tower_calls import TowerCalls, arguments_of
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid

__all__ = [
    "Hooks",
    "LayerColumns",
    "ShortVideo",
    "TextEntry",
    "layer_columns",
    "note_layer_columns",
    "on_text_entry",
    "states_of",
]


def states_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Float[Tensor, "batch length channels"]:
    """Hidden states that a layer or its attention was called with."""
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
    videos
        Grids of the videos, each once, in the order in which the tower worked on them.
    shown
        For each span the number of its video: `generate` may repeat rows after the tower has run.
    """

    input_ids: Int[Tensor, "batch length"]
    spans: list[VideoSpan]
    kwargs: dict[str, Any]
    shortened: list[ShortVideo] | None = None
    videos: Sequence[TokenGrid] = ()
    shown: Sequence[int] = ()


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
    """Say which columns the decoder layers of the running prompt have, as far as they do not have all; it may grow."""
    _layer_columns[core] = layers


def layer_columns(core: nn.Module, layer: int) -> LayerColumns | None:
    """Which columns a decoder layer of the running prompt has, None where it has all."""
    return _layer_columns.get(core, {}).get(layer)


def _spans_of_copies(
    family: Family, input_ids: Int[Tensor, "batch length"], grids: Sequence[TokenGrid], copies: int
) -> tuple[list[VideoSpan], list[int]]:
    """Spans of a batch in which `generate` repeated each row, and for each the number of the video that it shows."""
    spans = list(enumerate(family.spans(input_ids[::copies], grids)))
    repeated = [(i, replace(span, row=span.row * copies + copy)) for i, span in spans for copy in range(copies)]
    repeated.sort(key=lambda entry: entry[1].row)
    return [span for _, span in repeated], [i for i, _ in repeated]


@dataclass
class _CoreCall:
    """A call of the core that is running."""

    arguments: dict[str, Any]
    video: bool
    reached: bool = False


class _Entries:
    """The hooks of `on_text_entry`."""

    def __init__(self, family: Family, callback: Callable[[TextEntry], dict[str, Any] | None], hooks: Hooks) -> None:
        self.family, self.callback = family, callback
        self.towers = TowerCalls(family, hooks)
        self.core: _CoreCall | None = None
        self.expected = False  # the running call of the whole model brings video, which has not been seen
        if family.model is not family.core:
            hooks.before(family.model, self.begin)
            hooks.after(family.model, self.end)
        hooks.before(family.core, self.enter_core)
        hooks.before(family.text_model, self.enter_text)
        hooks.after(family.core, self.check_core)
        hooks.after(family.core, self.leave_core, always=True)
        hooks.before_graphs(self.check_graph)

    def begin(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Note that the model runs."""
        self.expected = self.family.carries_video(arguments_of(module, args, kwargs))

    def end(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """Refuse the answer of a model whose video was not seen."""
        if self.expected:
            raise _not_reached("its core")

    def enter_core(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Note what the core was called with."""
        arguments = arguments_of(module, args, kwargs)
        self.core = _CoreCall(arguments, self.family.carries_video(arguments))
        _shortened.pop(self.family.core, None)

    def enter_text(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Arguments | None:
        """The text model begins."""
        core = self.core
        if core is None:
            if args or kwargs.get("inputs_embeds") is not None:
                raise NotImplementedError(
                    "the text model was called by itself, so the video tokens cannot be located in what it was given; "
                    "call the whole model"
                )
            return None
        core.reached = True
        if not core.video:
            return None
        self.expected = False
        entry = self.entry(core.arguments, kwargs)
        changed = self.callback(entry)
        if entry.shortened is not None:
            _shortened[self.family.core] = entry.shortened
        return None if changed is None else (args, changed)

    def entry(self, core: Mapping[str, Any], kwargs: dict[str, Any]) -> TextEntry:
        """Where the videos of this call are."""
        ids = core.get("input_ids")
        if ids is None:
            raise NotImplementedError(
                "the model was called with inputs_embeds and without input_ids, so the video tokens cannot be located; "
                "pass input_ids"
            )
        tower = self.towers.of_video(core)
        encoded = self.family.encoded_videos(core)
        try:
            grids = self.family.video_grids(core, None if tower is None else tower.grid)
            copies = 1 if encoded is None or not grids else encoded // len(grids)
            if not copies or len(ids) % copies:
                raise ValueError(f"the features of {encoded} videos are given, of {len(grids)} in {len(ids)} prompts")
            spans, shown = _spans_of_copies(self.family, ids, grids, copies)
        except ValueError as error:
            raise NotImplementedError(
                f"{error}; a prompt whose video does not come whole (chunked prefill) is not supported: prefill at once"
            ) from error
        return TextEntry(ids, spans, kwargs, _shortened.get(self.family.core), grids, shown)

    def check_core(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """Refuse the output of a core whose text model was not seen."""
        if self.core is not None and not self.core.reached:
            raise _not_reached("its text model")

    def check_graph(self, graph: nn.Module) -> None:
        """Refuse a graph that was made of the model before and holds its text model without the hooks."""
        if self.core is None and _share_weights(graph, self.family.text_model):
            raise _not_reached("the model")

    def leave_core(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """Forget the call."""
        self.core = None


def _share_weights(graph: nn.Module, model: nn.Module) -> bool:
    own = {p.data_ptr() for p in model.parameters()} - {0}  # 0: without memory
    return any(p.data_ptr() in own for p in graph.parameters())


def _not_reached(part: str) -> RuntimeError:
    return RuntimeError(
        f"the model ran, and the hooks of {part} were not called, so nothing was reduced or recorded: its forward is "
        "called directly, or it is exported, captured as a graph or replaced; run the model that was given, by calling "
        "it"
    )


@contextmanager
def on_text_entry(family: Family, callback: Callable[[TextEntry], dict[str, Any] | None]) -> Iterator[Hooks]:
    """Call `callback` at every entry of the text model that brings video features with it.

    A call brings video if its own arguments do, not if its ids contain the video token: a sampled token can be that.
    The callback may return other keyword arguments for the text model. One that shortens the prompt sets
    `entry.shortened`; callbacks of contexts opened later then see the shortened prompt, and are told so.

    Raises
    ------
    RuntimeError
        In a call of the model whose video does not reach the callback, because a hook was passed by.
    NotImplementedError
        In a call whose video cannot be located, and if the model is inside a context of another thread.
    """
    with Hooks(family.core) as hooks:
        _Entries(family, callback, hooks)
        try:
            yield hooks
        finally:
            _shortened.pop(family.core, None)
