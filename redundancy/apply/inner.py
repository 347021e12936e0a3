"""Reductions inside the language model: from their layer on, decoder layers see fewer columns of the video.

Layers below keep the long prompt and a long cache, layers from there on the short one. What the text model prepares
once for all layers (rotary tables, masks) is cut to the columns that a layer still has; DeepStack features are added
here, because the text model would add them at columns that are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Shaped
from torch import Tensor, nn

from redundancy.apply.inner_video import InnerVideo, at_columns, right_aligned, score, shrink
from redundancy.apply.layer_mask import prompt_mask, step_mask
from redundancy.apply.refuse import refuse_checkpointing, refuse_unsupported
from redundancy.apply.turns import CachedPrompt, Lease, remember, remembered_prompt
from redundancy.models.base import Family
from redundancy.models.cache_name import cache_in, cache_of
from redundancy.models.hooks import Hooks, LayerColumns, TextEntry, note_layer_columns, on_text_entry, states_of
from redundancy.pruning.base import InnerMethod
from redundancy.recording.rows import layer_rows
from redundancy.reduction import Reduction, compose


@dataclass(frozen=True, eq=False)
class _Ready:
    """Decisions made before, one per video of a call."""

    reductions: Sequence[Reduction]

    queries: ClassVar[str] = "none"

    @property
    def layer(self) -> int:
        layers = {r.layer for r in self.reductions}
        if len(layers) != 1 or None in layers:
            raise ValueError(
                f"reductions of one layer inside the model are expected, given layers {sorted(map(str, layers))}"
            )
        return int(self.reductions[0].layer or 0)

    @property
    def with_newlines(self) -> bool:
        return any(bool((r.slots < 0).any()) for r in self.reductions)


@dataclass
class _Run:
    """One prefill."""

    length: int
    videos: list[InnerVideo]
    levels: list[Tensor]
    left: LayerColumns | None = None
    layers: dict[int, LayerColumns] = field(default_factory=dict)
    scores: list[Tensor] = field(default_factory=list)
    memo: dict[tuple[str, int], tuple[Any, Any]] = field(default_factory=dict)


@dataclass(eq=False)
class _Prompt(CachedPrompt):
    """What decoding needs; lives as long as its cache."""

    length: int
    layers: dict[int, LayerColumns]
    whole: dict[int, bool]


class InnerReducer:
    """The hooks of one context.

    Parameters
    ----------
    family
        Adapter of the model.
    methods
        At most one per layer; or decisions made before, one per video of each call.
    decided
        Grows by one reduction per call, layer, row and video.
    lease
        Of the context.

    Raises
    ------
    ValueError
        If a layer does not exist, is the first one, or is named twice.
    """

    def __init__(
        self,
        family: Family,
        methods: Sequence[InnerMethod | Sequence[Reduction]],
        *,
        decided: list[Reduction],
        lease: Lease,
    ) -> None:
        self.family, self.decided, self.lease = family, decided, lease
        chosen = [method if isinstance(method, InnerMethod) else _Ready(method) for method in methods]
        text: Any = family.text_model
        self.decoder = text.layers
        self.methods = {method.layer: method for method in chosen}
        _check_layers([method.layer for method in chosen], len(self.decoder))
        if "sliding_attention" in (getattr(text.config, "layer_types", None) or ()):
            raise NotImplementedError("layers with a sliding window keep parts of the prompt only: not supported")
        self.implementation = str(text.config._attn_implementation)
        if "flex" in self.implementation:
            raise NotImplementedError(
                f"attn_implementation={self.implementation!r} has masks that cannot be cut; use sdpa, eager or flash"
            )
        self.run: _Run | None = None

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Reduce while the context is open."""
        with on_text_entry(self.family, self.enter), Hooks(self.family.core) as hooks:
            hooks.before(self.family.core, self.forget)
            hooks.after(self.family.text_model, self.remember)
            for i, layer in enumerate(self.decoder):
                hooks.before(layer, self.before_layer(i))
                hooks.after(layer, self.after_layer(i))
                if i + 1 in self.methods and self.methods[i + 1].queries != "none":
                    hooks.after(layer.self_attn, self.after_attention(self.methods[i + 1]))
            try:
                yield
            finally:
                note_layer_columns(self.family.core, {})

    # the prompt -------------------------------------------------------------------------------------------------

    def enter(self, entry: TextEntry) -> dict[str, Any]:
        """Note where the videos are, and take DeepStack over."""
        given = entry.kwargs
        refuse_unsupported(given)
        refuse_checkpointing(self.decoder)
        videos = [InnerVideo.of(entry, i) for i in range(len(entry.spans))]
        self.run = _Run(given["inputs_embeds"].shape[1], videos, self.family.deepstack_columns(given))
        note_layer_columns(self.family.core, self.run.layers)
        return given | self.family.without_deepstack(given)

    def forget(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Forget a prefill that was broken off."""
        self.run = None

    def remember(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """Tie what decoding needs to the cache that the prefill filled."""
        run, self.run = self.run, None
        if run is None:
            return
        missed = [i for i in range(min(self.methods), len(self.decoder)) if i not in run.layers]
        if missed:
            raise RuntimeError(
                f"the language model ran, and the hooks of its layers {missed} were not called, so they saw the whole "
                "video: run the model that was given, by calling it"
            )
        cache = cache_of(output)
        if cache is not None:
            whole = {i: bool(left.valid.all()) for i, left in run.layers.items()}
            remember(cache, _Prompt(self.lease, run.length, run.layers, whole))

    def before_layer(self, index: int) -> Callable[..., Any]:
        """The hook in front of one decoder layer."""

        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
            run = self.run
            if run is None:
                return self.step(index, args, kwargs)
            hidden = states_of(args, kwargs)
            if index in self.methods:
                hidden = self.reduce(run, self.methods[index], hidden)
            if run.left is None:
                return None
            run.layers[index] = run.left
            changed = self.shortened(run, run.left, kwargs, hidden)
            if "hidden_states" in kwargs:
                return args, changed | {"hidden_states": hidden}
            return (hidden, *args[1:]), changed

        return hook

    def after_layer(self, index: int) -> Callable[..., Any]:
        """The hook behind one decoder layer: its DeepStack features."""

        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
            if self.run is None or index >= len(self.run.levels):
                return None
            if isinstance(output, tuple):
                return (output[0] + self.run.levels[index].to(output[0]), *output[1:])
            return output + self.run.levels[index].to(output)

        return hook

    def after_attention(self, method: InnerMethod | _Ready) -> Callable[..., Any]:
        """The hook behind the attention of the layer before a reduction: what its method reads of it."""

        @torch.no_grad()
        def hook(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
            run = self.run
            if run is None:
                return
            hidden = states_of(args, kwargs)
            S = hidden.shape[1]
            first = S - 1 if method.queries == "last" else S - run.length + min(v.question for v in run.videos)
            rows = layer_rows(module, hidden, kwargs, columns=torch.arange(first, S, device=hidden.device))
            local = None if run.left is None else run.left.local(run.length)
            shift = S - run.length - first  # from a column of the prompt to its row
            run.scores = [
                score(rows[v.row], v.places(local), queries=method.queries, first=v.question + shift)
                for v in run.videos
            ]

        return hook

    def reduce(
        self, run: _Run, method: InnerMethod | _Ready, hidden: Shaped[Tensor, "batch given channels"]
    ) -> Shaped[Tensor, "batch short channels"]:
        """Decide for every video, note what is left, and give the states of the columns that stay.

        The decision has no gradient, the states have.
        """
        local = None if run.left is None else run.left.local(run.length)
        places = [video.places(local) for video in run.videos]
        chosen = [method.with_newlines | (video.slots >= 0) for video in run.videos]
        reductions = self._decide(run, method, hidden.detach(), places, chosen)
        self.decided += reductions
        B, S = hidden.shape[:2]
        keep = hidden.new_ones(B, S, dtype=torch.bool) if run.left is None else run.left.valid.clone()
        merges = []
        for video, place, use, reduction in zip(run.videos, places, chosen, reductions, strict=True):
            at, anchor = place[use], reduction.anchor.to(place.device)
            keep[video.row, at] = False
            keep[video.row, at[anchor]] = True
            merges.append((video.row, at, at[anchor], reduction))
            stays = ~use
            stays[use.nonzero().flatten()[anchor]] = True
            video.columns, video.slots = video.columns[stays], video.slots[stays]
            video.outer = reduction if video.outer is None else compose(video.outer, reduction)
        index = right_aligned(keep)
        place, valid = index
        column = place if run.left is None else run.left.column.gather(1, place)
        run.left = LayerColumns(column * valid, valid)
        run.memo, run.scores = {}, []
        run.levels = [shrink(level, merges, index) for level in run.levels]
        return shrink(hidden, merges, index)

    @torch.no_grad()
    def _decide(
        self,
        run: _Run,
        method: InnerMethod | _Ready,
        hidden: Shaped[Tensor, "batch given channels"],
        places: Sequence[Tensor],
        chosen: Sequence[Tensor],
    ) -> list[Reduction]:
        """One reduction per video, of the chosen ones among its places."""
        if isinstance(method, _Ready):
            reductions = list(method.reductions)
        else:
            reductions = []
            for i, (video, place, use) in enumerate(zip(run.videos, places, chosen, strict=True)):
                received = run.scores[i][use] if run.scores else hidden.new_zeros(int(use.sum()))
                states, slots = hidden[video.row, place[use]], video.slots[use]
                reductions.append(method(states, received, slots=slots, grid=video.grid, outer=video.outer))
        _check(reductions, [video.slots[use] for video, use in zip(run.videos, chosen, strict=True)])
        return reductions

    def shortened(self, run: _Run, left: LayerColumns, kwargs: dict[str, Any], hidden: Tensor) -> dict[str, Any]:
        """Arguments of a decoder layer at the columns that are left; made once for all layers that share them."""

        def once(name: str, make: Callable[[Any], Any]) -> Any:
            value = kwargs.get(name)
            if (name, id(value)) not in run.memo:
                run.memo[name, id(value)] = (value, make(value))  # the value is kept, so that its id stays its own
            return run.memo[name, id(value)][1]

        def mask(given: Tensor | None) -> Tensor | None:
            return prompt_mask(given, left, hidden.dtype, implementation=self.implementation)

        changed = dict(kwargs)
        changed["position_embeddings"] = once(
            "position_embeddings", lambda tables: tuple(at_columns(t, left.column) for t in tables)
        )
        changed["attention_mask"] = once("attention_mask", mask)
        if kwargs.get("position_ids") is not None:  # of plain text: flash attention reads packed sequences from them
            changed["position_ids"] = (left.valid.long().cumsum(1) - 1).clamp(min=0)
        if kwargs.get("cache_position") is not None:
            changed["cache_position"] = kwargs["cache_position"][: left.column.shape[1]]
        return changed

    # decoding ---------------------------------------------------------------------------------------------------

    def step(self, index: int, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]] | None:
        """The mask of a step in one layer, whose cache has a length of its own."""
        cache = cache_in(kwargs)
        prompt = remembered_prompt(cache, _Prompt)
        if prompt is None or index not in prompt.layers:
            return None
        left = prompt.layers[index]
        steps = states_of(args, kwargs).shape[1]
        generated = int(cache.layers[0].get_seq_length()) - prompt.length
        own = int(cache.layers[index].get_seq_length()) - left.column.shape[1] + steps
        if own != generated:
            raise NotImplementedError(
                f"layer {index} has {own} tokens after the prompt in its cache and layer 0 has {generated}: a cache "
                "that was cut to one length (assisted decoding) is not supported after a reduction inside the model"
            )
        mask = step_mask(
            kwargs.get("attention_mask"),
            left,
            length=prompt.length,
            generated=generated,
            whole=prompt.whole[index],
            flash="flash" in self.implementation,
        )
        return args, kwargs | {"attention_mask": mask}


def _check_layers(layers: Sequence[int], count: int) -> None:
    for layer in layers:
        if not 1 <= layer < count:
            raise ValueError(
                f"layer={layer} given, expected a layer in 1..{count - 1}: the language model has {count} layers, and "
                "a reduction reads the attention of the layer before"
            )
    if len(set(layers)) < len(layers):
        raise ValueError(f"layers {list(layers)} given, expected at most one method inside the model per layer")


def _check(reductions: Sequence[Reduction], slots: Sequence[Tensor]) -> None:
    """Refuse decisions that are not on these spans, or that reorder them."""
    if len(reductions) != len(slots):
        raise ValueError(f"one reduction per video is expected, given {len(reductions)} for {len(slots)} videos")
    for reduction, span in zip(reductions, slots, strict=True):
        if not torch.equal(reduction.slots.to(span.device), span):
            raise ValueError(
                f"a reduction of the {len(span)} places that enter its layer is expected, given one of other "
                f"{len(reduction.slots)} places"
            )
        if bool((reduction.anchor.diff() <= 0).any()):
            raise ValueError(f"{reduction.method} orders its outputs anew; inside the model they must keep their order")
