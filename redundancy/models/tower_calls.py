"""Calls of the vision tower: images and videos go through the same one, and what was passed tells them apart."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn

from redundancy.models.base import Family
from redundancy.models.hook_context import Hooks


def arguments_of(module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a forward by name, those given by place too."""
    if not args:
        return dict(kwargs)
    return {**inspect.signature(module.forward).bind_partial(*args).arguments, **kwargs}


@dataclass(eq=False)
class TowerCall:
    """One call of the tower.

    Parameters
    ----------
    grid
        What `Family.tower_grid` reads of it.
    pixels
        What it works on; None once it is done.
    notes
        What a reader keeps of it.
    """

    grid: Any
    pixels: Tensor | None
    notes: Any = None


_shown: WeakKeyDictionary[nn.Module, TowerCall] = WeakKeyDictionary()  # by core, while its call shows what was made


@contextmanager
def showing(core: nn.Module, call: TowerCall) -> Iterator[None]:
    """Say that the core runs on features of an earlier call of the tower, and not on pixels."""
    before = _shown.get(core)
    _shown[core] = call
    try:
        yield
    finally:
        del _shown[core]
        if before is not None:
            _shown[core] = before


class TowerCalls:
    """Which call of the tower made the features of the videos that a call of the core brings with it.

    The core's own pixels are those that the tower got inside it; `generate` may run the tower before, and hands its
    output to the core; and the features may be those of an earlier call, see `showing`.

    Parameters
    ----------
    family
        Adapter of the running model.
    hooks
        Where to register; the calls are known as long as these exist.
    """

    def __init__(self, family: Family, hooks: Hooks) -> None:
        self.family = family
        self.running: TowerCall | None = None
        self.last: TowerCall | None = None  # that is done
        self._core: dict[str, Any] | None = None
        self._inside: TowerCall | None = None
        self._made: list[tuple[Callable[[], Any], TowerCall]] = []  # by outputs that are alive
        hooks.before(family.core, self._enter_core)
        hooks.after(family.core, self._leave_core, always=True)
        hooks.before(family.tower, self._enter)
        hooks.after(family.tower, self._leave, always=True)

    def of_video(self, core: Mapping[str, Any] | None = None) -> TowerCall | None:
        """The call that made the features of the videos of the core's running call; None if it was not seen."""
        core = (self._core or {}) if core is None else core
        encoded = (core.get("mm_encoder_outputs") or {}).get("video")
        shown = _shown.get(self.family.core)
        if encoded is not None:
            return next((call for output, call in self._made if _is_output(output(), encoded)), shown)
        return self._inside or shown

    def _enter_core(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._core, self._inside = arguments_of(module, args, kwargs), None

    def _leave_core(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        self._core, self._inside = None, None

    def _enter(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        pixels = args[0] if args else next((v for v in kwargs.values() if isinstance(v, Tensor)), None)
        self.running = TowerCall(self.family.tower_grid(args, kwargs), pixels)

    def _leave(self, module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        call, self.running = self.running, None
        if call is None or output is None:  # None after an error
            return
        self.last = call
        if self._core is not None and same_values(call.pixels, self._core.get("pixel_values_videos")):
            self._inside = call
        call.pixels = None
        self._made = [entry for entry in self._made if entry[0]() is not None]
        if not isinstance(output, tuple):  # a plain tuple has no weak references, and `generate` hands none on
            self._made.append((ref(output), call))


def _is_output(output: Any, encoded: Any) -> bool:
    """Whether `encoded` is an output of the tower, or what accelerate made of it on the way to the core."""
    if output is encoded:
        return True
    return same_values(getattr(output, "last_hidden_state", None), getattr(encoded, "last_hidden_state", None))


def same_values(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether two tensors hold the same values: in another shape, type or place perhaps."""
    if one is None or other is None or one.numel() != other.numel():
        return False
    if one.dtype == other.dtype and one.data_ptr() == other.data_ptr():
        return True
    return torch.allclose(one.flatten(), other.flatten().to(one), rtol=0, atol=0, equal_nan=True)
