"""Models that others have wrapped, adapted, compiled or spread over devices: what is inside, and where inputs go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn

_WRAPPERS = {"OptimizedModule": "_orig_mod", "DistributedDataParallel": "module", "DataParallel": "module"}


def unwrapped(model: nn.Module) -> nn.Module:
    """The Hugging Face model inside what `torch.compile`, PEFT or data parallelism put around it.

    Examples
    --------
    >>> import torch
    >>> inside = torch.nn.Linear(2, 2)
    >>> unwrapped(torch.compile(inside, backend="eager")) is inside
    True

    Raises
    ------
    NotImplementedError
        If an adapter adds columns of its own to the prompt (prompt or prefix tuning) or puts itself around attention.
    """
    while True:
        kind = next((k.__name__ for k in type(model).__mro__ if k.__name__ in _WRAPPERS), None)
        if kind is not None:
            model = model._modules[_WRAPPERS[kind]]  # type: ignore[assignment]
        elif callable(getattr(type(model), "get_base_model", None)):
            _refuse_learned_prompts(model)
            model = model.get_base_model()  # type: ignore[operator]
        elif type(model).__name__ == "PeftMixedModel":  # it has LoRA's layout and no get_base_model
            model = model.base_model.model  # type: ignore[union-attr, assignment]
        else:
            return model


def _refuse_learned_prompts(model: Any) -> None:
    for name, config in (getattr(model, "peft_config", None) or {}).items():
        if getattr(config, "is_prompt_learning", False) or getattr(config, "is_adaption_prompt", False):
            raise NotImplementedError(
                f"the adapter {name!r} ({getattr(config, 'peft_type', type(config).__name__)}) adds columns of its own "
                "to the prompt or to its attention, so the video tokens cannot be located; give the model without it, "
                "or one tuned with LoRA"
            )


def input_device(model: nn.Module) -> torch.device:
    """Where the model takes its inputs: of a model that accelerate dispatched, its first execution device.

    Raises
    ------
    ValueError
        If every parameter and buffer is on the meta device and nothing says where the model runs.
    """
    for module in model.modules():
        hook = module.__dict__.get("_hf_hook")  # of accelerate; a SequentialHook holds several
        if hook is None:
            continue
        for part in (hook, *getattr(hook, "hooks", ())):
            place = getattr(part, "execution_device", None)
            if place is not None:
                return torch.device(place)
    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.device.type != "meta":
            return tensor.device
    raise ValueError(
        f"all parameters of {type(model).__name__} are on the meta device, so it cannot run; load its weights, or "
        "dispatch it with accelerate (device_map=..., cpu_offload), which says where it runs"
    )


@contextmanager
def parameters_loaded(module: nn.Module) -> Iterator[None]:
    """Load a module's own parameters (not those of its parts) meanwhile, if accelerate keeps them elsewhere.

    `generate` of transformers 5.23 reads some outside the forward of their module, where accelerate does not load them.
    """
    hook: Any = getattr(module, "_hf_hook", None)
    away = hook is not None and any(p.device.type == "meta" for p in module.parameters(recurse=False))
    if away:
        hook.pre_forward(module)
    try:
        yield
    finally:
        if away:
            hook.post_forward(module, None)


def float_dtype(model: nn.Module) -> torch.dtype:
    """Floating-point type of the parameters: of the first that has one, since quantised weights are integers.

    Raises
    ------
    ValueError
        If no parameter has a floating-point type.
    """
    for parameter in model.parameters():
        if parameter.is_floating_point():
            return parameter.dtype
    raise ValueError(f"a model with floating-point parameters is expected, {type(model).__name__} has none")
