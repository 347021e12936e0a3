"""Checks of settings, and what methods and parts say that they read."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from redundancy.checks import require_number


@dataclass(frozen=True)
class Needs:
    """What a method or a part reads beyond the features: sources of salience and frame features, and keys.

    Parameters
    ----------
    salience, frame_features
        Name of the source in `VideoTokens`, None if none is read.
    keys
        True if the tower's keys are read. `prune` then records them; a capture holds them if made with `keys=True`.
    """

    salience: str | None = None
    frame_features: str | None = None
    keys: bool = False

    def also(self, other: Needs) -> Needs:
        """What two stages of one method read together; means of frames, which any tokens give, need not be named.

        Raises
        ------
        ValueError
            If they read two sources of one kind.
        """
        found: dict[str, str | None] = {}
        for name in ("salience", "frame_features"):
            named = {getattr(self, name), getattr(other, name)} - {None}
            named = named - {"mean"} or named
            if len(named) > 1:
                raise ValueError(f"two sources of {name} given, {sorted(named)}, expected one in a method")
            found[name] = next(iter(named), None)
        return Needs(found["salience"], found["frame_features"], self.keys or other.keys)


def require_range(
    name: str, value: int | float, *bounds: int | float, open_low: bool = False, open_high: bool = False
) -> None:
    """Refuse a setting outside `[low, high]`; without the bound itself where that end is open.

    Parameters
    ----------
    bounds
        Low, or low and high.

    Raises
    ------
    TypeError
        If it is no number; True and False are none.
    ValueError
        With what was given and what is expected; NaN is outside.
    """
    require_number(name, value)
    low, high = bounds if len(bounds) == 2 else (*bounds, math.inf)
    if not (low < value if open_low else low <= value) or not (value < high if open_high else value <= high):
        left, right = "(" if open_low else "[", ")" if open_high else "]"
        raise ValueError(f"{name}={value} given, expected a value in {left}{low}, {high}{right}")


def require_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuse a setting that is not one of the allowed words.

    Raises
    ------
    ValueError
        With what was given and what is expected.
    """
    if value not in allowed:
        raise ValueError(f"{name}={value!r} given, expected one of {allowed}")


def plain_value(value: Any) -> Any:
    """A setting as plain data of json: objects by the name of their class and their fields."""
    if is_dataclass(value):
        return {"name": type(value).__name__} | {f.name: plain_value(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(k): plain_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(v) for v in value]
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)
