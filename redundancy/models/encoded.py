"""What the vision tower made of the videos of a prompt, so that further prompts about them begin behind the tower.

Transformers 5.23 takes these features in place of pixels (`mm_encoder_outputs`, as its own `generate` does). 5.17 has
no such argument, and a hook cannot keep a module from running: there the core's `get_video_features` hands the features
out, for as long as one call of the model takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from redundancy.models.base import Family
from redundancy.models.hook_context import Hooks
from redundancy.models.tower_calls import TowerCall, same_values, showing
from redundancy.models.wrapped import parameters_loaded

PIXELS = "pixel_values_videos"
FEATURES = "mm_encoder_outputs"


@dataclass(frozen=True, eq=False)
class Encoded:
    """Features of the videos of a prompt or batch.

    Parameters
    ----------
    features
        What the model's own `get_video_features` returned, as far as its core reads it.
    pixels
        What it was made of.
    call
        The call of the tower that made it, with what was read inside the tower.
    """

    features: Any
    pixels: Tensor
    call: TowerCall


def run_tower(family: Family, tensors: Mapping[str, Any]) -> Any:
    """Run the vision tower on the videos of a prompt, by the call that the core makes.

    Raises
    ------
    ValueError
        If the prompt shows no video.
    """
    if tensors.get(PIXELS) is None:
        raise ValueError("a prompt without video given, which has nothing for the vision tower")
    core: Any = family.core
    pixels, *names = [name for name in inspect.signature(core.get_video_features).parameters if name != "kwargs"]
    more = {name: tensors[name] for name in names if name in tensors}
    with parameters_loaded(core):  # the newline is the core's own
        output = core.get_video_features(**{pixels: tensors[PIXELS]}, **more, return_dict=True)
    read = {"pooler_output", "deepstack_features"}  # by the core; states of every layer of the tower are not kept
    return type(output)(**{name: value for name, value in output.items() if name in read})


def takes_features(core: nn.Module) -> bool:
    """Whether the running version's model takes features in place of pixels."""
    return FEATURES in inspect.signature(type(core).forward).parameters


@contextmanager
def features_given(family: Family, tensors: Mapping[str, Any], encoded: Encoded | None) -> Iterator[dict[str, Any]]:
    """Arguments of a call of the model that begins behind the tower; without `encoded` those that are given.

    Raises
    ------
    NotImplementedError
        If another thread holds the model, or something else stands in the place of its `get_video_features`.
    """
    if encoded is None:
        yield dict(tensors)
        return
    core = family.core
    with ExitStack() as stack:
        stack.enter_context(Hooks(core))  # another thread's call would get the features of this one
        stack.enter_context(showing(core, encoded.call))
        if takes_features(core):
            rest = {name: value for name, value in tensors.items() if name != PIXELS}
            yield {**rest, FEATURES: {"video": copy(encoded.features)}}
        else:
            stack.enter_context(_handed_out(core, encoded))
            yield dict(tensors)


@contextmanager
def _handed_out(core: Any, encoded: Encoded) -> Iterator[None]:
    """For transformers 5.17: the core gets what was made of these pixels when it asks for their features."""
    if "get_video_features" in vars(core):
        raise NotImplementedError(
            "the model's get_video_features was replaced by something else, so its features cannot be shared; put the "
            "class's own back"
        )
    run = core.get_video_features

    def get_video_features(*args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else next((v for v in kwargs.values() if isinstance(v, Tensor)), None)
        if torch.is_grad_enabled() or not same_values(given, encoded.pixels):  # `generate` may have repeated rows
            return run(*args, **kwargs)
        return copy(encoded.features)

    core.get_video_features = get_video_features
    try:
        yield
    finally:
        del core.get_video_features
