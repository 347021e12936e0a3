"""What a reduction cannot do rightly, refused with what to do instead."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from redundancy.models.cache_name import cache_in


def refuse_unsupported(text_arguments: dict[str, Any]) -> None:
    """Refuse a prompt that cannot be shortened rightly.

    Raises
    ------
    NotImplementedError
        With what to do instead.
    """
    mask, cache = text_arguments.get("attention_mask"), cache_in(text_arguments)
    static = getattr(cache, "is_compileable", False)
    if static or (mask is not None and (not isinstance(mask, Tensor) or mask.dim() != 2)):
        raise NotImplementedError(
            "the attention mask is built already (4-D, or for a static cache); give a 2-D mask or none, and a dynamic "
            "cache: generate(..., cache_implementation='dynamic')"
        )
    if cache is not None and int(cache.get_seq_length()) > 0:
        raise NotImplementedError(
            "video enters on top of a cache that is filled already: a second turn or chunked prefill is not supported; "
            "give the whole conversation at once and no cache"
        )


def refuse_checkpointing(layers: nn.ModuleList) -> None:
    """Refuse layers that run again for their gradient: what was cut inside the model would not be cut then.

    Raises
    ------
    NotImplementedError
        With what to do instead.
    """
    if torch.is_grad_enabled() and any(getattr(x, "gradient_checkpointing", False) and x.training for x in layers):
        raise NotImplementedError(
            "methods inside the language model do not work with gradient checkpointing, which runs its layers again; "
            "call model.gradient_checkpointing_disable(), or use a method before the model"
        )
