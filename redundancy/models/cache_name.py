"""The key-value cache in arguments and outputs, by whichever name transformers gives it: `cache` since 5.24."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

NAMES = ("cache", "past_key_values")


def cache_in(arguments: Mapping[str, Any]) -> Any:
    """The cache among the arguments of a forward; None where there is none. Callers may use either name."""
    return next((arguments[name] for name in NAMES if arguments.get(name) is not None), None)


def cache_of(output: Any) -> Any:
    """The cache that a forward returned; None where there is none."""
    return next((cache for name in NAMES if (cache := getattr(output, name, None)) is not None), None)


def as_argument(model: Any, cache: Any) -> dict[str, Any]:
    """The cache as an argument of a model's forward."""
    known = inspect.signature(type(model).forward).parameters
    return {next((name for name in NAMES if name in known), NAMES[-1]): cache}
