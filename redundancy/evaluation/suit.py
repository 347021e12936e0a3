"""A method with the sources that a model gives, and a note of what was put in place of what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from redundancy.pruning.base import Method
from redundancy.tokens import VideoTokens

SALIENCE = ("pooling_head", "mean_query", "received", "norm")  # what published methods read first


def salience_of(tokens: VideoTokens) -> str:
    """The first source of salience that the tokens carry, the published methods' choices first.

    Raises
    ------
    ValueError
        If they carry none.
    """
    found = next((s for s in SALIENCE if s in tokens.salience), None)
    if found is None:
        raise ValueError(f"tokens with salience {sorted(tokens.salience)} given, expected some of {SALIENCE}")
    return found


def suited(method: Method, tokens: VideoTokens) -> tuple[Method, str]:
    """The method with sources that the tokens carry, and what was put in place of what (empty: nothing)."""
    needs, changed = method.needs(tokens.layout), {}
    if needs.salience is not None and needs.salience not in tokens.salience:
        changed["salience"] = (needs.salience, salience_of(tokens))
    if needs.frame_features not in (None, "mean") and needs.frame_features not in tokens.frame_features:
        changed["features"] = (str(needs.frame_features), "mean")
    if not changed:
        return method, ""
    note = ", ".join(f"{new} in place of {old} as {field}" for field, (old, new) in changed.items())
    sources: Any = {field: new for field, (_, new) in changed.items()}
    return replace(method, **sources), note
