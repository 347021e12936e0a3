"""What may follow a reduced prompt in its cache, and what is refused because it would be answered wrongly.

`generate` counts the columns of the whole prompt, and a reduced cache has fewer: where a second question begins, it
would cut the ids at the wrong place. So one token follows another, in its place, while the context is open; whoever
adds more at once says so with `continuing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as remembered
from typing import Any, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor, nn

from redundancy.models.base import Family
from redundancy.models.cache_name import cache_in, cache_of
from redundancy.models.hooks import Hooks, TextEntry, on_text_entry
from redundancy.models.tower_calls import arguments_of

_continued: list[Any] = []


@dataclass(eq=False)
class Lease:
    """Whether the context that reduced a prompt is open."""

    open: bool = True


@dataclass(eq=False)
class CachedPrompt:
    """What is kept with the cache that a prompt filled, and with copies of the cache."""

    lease: Lease

    def __deepcopy__(self, memo: Any) -> CachedPrompt:
        return self


Kind = TypeVar("Kind", bound=CachedPrompt)


class _Reduced:
    """The part of a cache's class that knows which prompt it holds."""

    _prompts: dict[type[CachedPrompt], CachedPrompt]

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """As the cache does it, while the context is open."""
        if not all(prompt.lease.open for prompt in self._prompts.values()):
            raise NotImplementedError(
                "this cache holds a prompt that was reduced inside prune, and that context is closed, so its length is "
                "not the one that the model counts with; begin again without a cache, or stay inside the context"
            )
        return super().update(*args, **kwargs)  # type: ignore[misc]


@remembered
def _reduced_class(kind: Any) -> type[Any]:
    return type(kind.__name__, (_Reduced, kind), {"__module__": kind.__module__})


def remember(cache: Any, prompt: CachedPrompt) -> None:
    """Keep a prompt with the cache that it filled; copies of the cache keep it too."""
    if not isinstance(cache, _Reduced):
        kind: Any = type(cache)
        cache.__class__ = _reduced_class(kind)
        cache._prompts = {}
    cache._prompts = {**cache._prompts, type(prompt): prompt}


def remembered_prompt(cache: Any, kind: type[Kind]) -> Kind | None:
    """The prompt that a cache holds; None if it holds another, or nothing any more."""
    prompt: Kind | None = getattr(cache, "_prompts", {}).get(kind)
    if prompt is not None and int(cache.get_seq_length()) == 0:
        cache._prompts = {}
        return None
    return prompt


@contextmanager
def continuing(cache: Any) -> Iterator[None]:
    """Say that what is run on a cache meanwhile follows the prompt in it: several tokens at once are right then.

    The ids are those that follow, not those before; masks and positions are made here.
    """
    _continued.append(cache)
    try:
        yield
    finally:
        _continued.pop()


@dataclass(eq=False)
class _Turn(CachedPrompt):
    """The prompt as it was given, and how much of it layer 0 has in its cache."""

    whole: int
    short: int
    last: Int[Tensor, "rows batch"]


class Turns:
    """The hooks of one context that refuse what does not continue a reduced prompt.

    Parameters
    ----------
    family
        Adapter of the model.
    """

    def __init__(self, family: Family) -> None:
        self.family, self.lease = family, Lease()
        self.entering: tuple[int, Tensor] | None = None

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Refuse while the context is open; what it reduced is refused afterwards."""
        with on_text_entry(self.family, self.enter), Hooks(self.family.core) as hooks:
            hooks.before(self.family.core, self.begin)
            hooks.after(self.family.text_model, self.leave)
            try:
                yield
            finally:
                self.lease.open = False

    def begin(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        """Forget a prompt whose forward was broken off; refuse what cannot be right."""
        self.entering = None
        arguments = arguments_of(module, args, kwargs)
        cache = cache_in(arguments)
        turn = remembered_prompt(cache, _Turn)
        if turn is None:
            refuse_without_video(self.family, arguments)
        elif not any(cache is continued for continued in _continued):
            refuse_second_turn(self.family, arguments, turn)

    def enter(self, entry: TextEntry) -> None:
        """Note the whole prompt."""
        given, embeds = entry.kwargs.get("position_ids"), entry.kwargs["inputs_embeds"]
        length, mask = embeds.shape[1], entry.kwargs.get("attention_mask")
        last = self.family.position_ids(entry.kwargs)[:, :, -1]
        if len(last) > 1 and (given is None or len(given) < 4):  # no row of plain text, so it is counted here
            count = torch.full_like(last[0], length) if mask is None else mask.long().sum(1)
            last = torch.cat([count[None] - 1, last])
        elif len(last) > 1:
            last = entry.kwargs["position_ids"][:, :, -1]
        self.entering = length, last

    def leave(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        """Keep it with its cache."""
        cache = cache_of(output)
        if self.entering is not None and cache is not None:
            whole, last = self.entering
            remember(cache, _Turn(self.lease, whole, int(cache.get_seq_length()), last))
        self.entering = None


def refuse_second_turn(family: Family, arguments: dict[str, Any], turn: _Turn) -> None:
    """Refuse a call on a reduced cache that is not the next token after what is there.

    Raises
    ------
    NotImplementedError
        With what to do instead.
    """
    cache = cache_in(arguments)
    given = next(x for x in (arguments.get("input_ids"), arguments.get("inputs_embeds")) if x is not None)
    mask, positions = arguments.get("attention_mask"), arguments.get("position_ids")
    steps, added = given.shape[1], int(cache.get_seq_length()) - turn.short
    problem = None
    if steps != 1 or added < 0:
        problem = f"{steps} new tokens on a cache of {turn.short + added}"
    elif mask is not None and (not isinstance(mask, Tensor) or tuple(mask.shape[1:]) != (turn.whole + added + 1,)):
        problem = f"a mask {tuple(getattr(mask, 'shape', ()))} on a cache with {added} tokens after the prompt"
    elif positions is not None and not _follows(positions, turn.last + added + 1):
        problem = f"positions {positions.flatten().tolist()} on a cache with {added} tokens after the prompt"
    if problem is not None:
        raise NotImplementedError(
            f"{problem}, which holds a prompt of {turn.whole} columns reduced to {turn.short}: that is not the next "
            "token. A second turn, another question or assisted decoding on a reduced cache is not supported; begin "
            "again with the whole conversation and no cache"
        )


def _follows(positions: Int[Tensor, "..."], expected: Int[Tensor, "rows batch"]) -> bool:
    """Whether position ids `[B, 1]`, `[3, B, 1]` or `[4, B, 1]` are these: by plain text where given."""
    rows = positions[None, ..., 0] if positions.dim() == 2 else positions[..., 0]
    rows, expected = (rows, expected[1:]) if len(rows) == 3 else (rows[:1], expected[:1])
    return bool((rows.to(expected.device) == expected).all())


def refuse_without_video(family: Family, arguments: dict[str, Any]) -> None:
    """Refuse a prompt that begins without the video that its placeholders stand for.

    Raises
    ------
    NotImplementedError
        With what to do instead.
    """
    ids, cache = arguments.get("input_ids"), cache_in(arguments)
    starts = cache is None or int(cache.get_seq_length()) == 0
    if starts and ids is not None and not family.carries_video(arguments):
        placeholders = int((ids == family.video_token_id).sum())
        if placeholders > 1:
            raise NotImplementedError(
                f"the prompt begins with {placeholders} video placeholders and no video: chunked prefill is not "
                "supported; prefill at once"
            )
