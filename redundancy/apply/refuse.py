"""What a reduction cannot do rightly, refused with what to do instead."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from redundancy.models.base import Family


def refuse_unsupported(text_arguments: dict[str, Any]) -> None:
    """Refuse a prompt that cannot be shortened rightly.

    Raises
    ------
    NotImplementedError
        With what to do instead.

    Source: own.
    """
    mask, cache = text_arguments.get("attention_mask"), text_arguments.get("past_key_values")
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


def refuse_without_video(family: Family, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse a prompt that begins without the video that its placeholders stand for.

    Raises
    ------
    NotImplementedError
        With what to do instead.

    Source: own.
    """
    ids, cache = kwargs.get("input_ids", args[0] if args else None), kwargs.get("past_key_values")
    starts = cache is None or int(cache.get_seq_length()) == 0
    if starts and ids is not None and not family.carries_video(kwargs):
        placeholders = int((ids == family.video_token_id).sum())
        if placeholders > 1:
            raise NotImplementedError(
                f"the prompt begins with {placeholders} video placeholders and no video: chunked prefill is not "
                "supported; prefill at once"
            )
