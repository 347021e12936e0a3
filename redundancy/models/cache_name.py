"""The key-value cache in arguments and outputs of forwards, by every name that transformers gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = ("cache", "past_key_values")  # since transformers 5.24, and before


def cache_in(arguments: Mapping[str, Any]) -> Any:
    """The cache among the arguments of a forward, under whichever name the caller knows; None where there is none.

    Raises
    ------
    NotImplementedError
        If one stands there under another name: taken for none, a step on a reduced prompt would be left as it is.
    """
    return next(iter(_named(arguments).values()), None)


def named_cache(output: Any) -> dict[str, Any]:
    """The cache that a forward returned, by the name under which the model takes it again; empty where there is none.

    Raises
    ------
    NotImplementedError
        As `cache_in`.
    """
    if isinstance(output, tuple):
        cache = next((part for part in output if hasattr(part, "get_seq_length")), None)
        return {} if cache is None else {NAMES[-1]: cache}
    return _named(output if isinstance(output, Mapping) else {})


def cache_of(output: Any) -> Any:
    """The cache that a forward returned; None where there is none, as `named_cache`."""
    return next(iter(named_cache(output).values()), None)


def _named(values: Mapping[str, Any]) -> dict[str, Any]:
    for name in NAMES:  # an output of today answers to both
        if (cache := values.get(name)) is not None:
            return {name: cache}
    if other := [name for name, value in values.items() if hasattr(value, "get_seq_length")]:
        raise NotImplementedError(
            f"a key-value cache is given as {other[0]!r}, expected one of the names {list(NAMES)}: this version of "
            "transformers is newer than what redundancy knows; install an earlier one"
        )
    return {}
