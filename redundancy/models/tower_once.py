"""The vision tower once per video: what it made of the same pixels is handed out again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from redundancy.models.video_llm import VideoLLM

_OWN_HOOKS = "transformers.utils.output_capturing"  # which collect the output that is stored, and do nothing else


@contextmanager
def tower_once(model: VideoLLM) -> Iterator[None]:
    """While the context is open, a call of the tower on what it was given last returns what it returned then.

    Many prompts about one video differ behind the tower only. The tower runs nevertheless where something reads inside
    it (a hook on one of its modules: salience, a recording of the user's), where gradients are wanted, in training, and
    in models that are wrapped or dispatched over devices. Weights must stay the same meanwhile. A context inside
    another one does nothing.

    Parameters
    ----------
    model
        A loaded model.
    """
    tower = model.family.tower
    if model.model is not model.family.model or "forward" in vars(tower):
        yield
        return
    run = tower.forward
    last: list[tuple[list[Any], object, Any]] = []

    def forward(*args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() or tower.training or _is_read_inside(tower):
            return run(*args, **kwargs)
        given, structure = tree_flatten((args, kwargs))
        before = last[0] if last else None  # another thread may put its own there meanwhile
        if before is None or before[1] != structure or not _all_alike(before[0], given):
            kept = [value.clone() if isinstance(value, Tensor) else value for value in given]
            before = kept, structure, run(*args, **kwargs)
            last[:] = [before]
        return copy(before[2])  # transformers writes into what it gets

    tower.forward = forward
    try:
        yield
    finally:
        del tower.forward


def _is_read_inside(tower: nn.Module) -> bool:
    inside = (module for module in tower.modules() if module is not tower)
    hooks = (hook for m in inside for table in (m._forward_hooks, m._forward_pre_hooks) for hook in table.values())
    return any(getattr(hook, "__module__", "") != _OWN_HOOKS for hook in hooks)


def _all_alike(kept: list[Any], given: list[Any]) -> bool:
    return all(_alike(one, other) for one, other in zip(kept, given, strict=True))


def _alike(one: Any, other: Any) -> bool:
    if not (isinstance(one, Tensor) and isinstance(other, Tensor)):
        return type(one) is type(other) and bool(one == other)
    place = (one.device, one.dtype, one.shape) == (other.device, other.dtype, other.shape)
    return place and torch.equal(one, other)
