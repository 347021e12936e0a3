"""Refusals of values of a wrong kind or shape, in one wording: what was given, and what is expected."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import lru_cache
from numbers import Integral, Real
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import torch
from jaxtyping import AbstractArray, Shaped
from torch import Tensor

DTYPES: dict[str, Callable[[torch.dtype], bool]] = {
    "floating-point numbers": lambda d: d.is_floating_point,
    "whole numbers": lambda d: not (d.is_floating_point or d.is_complex or d == torch.bool),
    "int64": lambda d: d == torch.int64,
    "float64": lambda d: d == torch.float64,
}


def described(value: object) -> str:
    """A few words about a value of a wrong kind, never its contents."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, np.ndarray):
        return f"a numpy array of shape {value.shape} of {value.dtype}"
    if value is None or isinstance(value, bool | int | float | str):
        text = repr(value)
        return text if len(text) <= 80 else text[:77] + "..."
    if isinstance(value, list | tuple | dict | set | frozenset):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    return f"{'an' if type(value).__name__[0] in 'AEIOU' else 'a'} {type(value).__name__}"


def counted(number: int, what: str) -> str:
    """A number with what is counted: `1 video`, `2 videos`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def require_type(name: str, value: object, kind: type | UnionType, *, expected: str | None = None) -> None:
    """Refuse a value of another type.

    Raises
    ------
    TypeError
        With what was given and what is expected.
    """
    if not isinstance(value, kind):
        names = expected or " or ".join(k.__name__ for k in get_args(kind) or (kind,))
        raise TypeError(f"{name}: {described(value)} given, expected {names}")


def require_tensor(name: str, value: object, *, of: str, shape: tuple[int | str, ...]) -> None:
    """Refuse what is no torch tensor of this kind and shape.

    Parameters
    ----------
    of
        A name in `DTYPES`.
    shape
        A length or the name of each dimension; a name fits every length.

    Raises
    ------
    TypeError
        If it is no tensor, or one of other values: masks and floating-point numbers are no indices.
    ValueError
        If the shape is another.
    """
    expected = f"a torch tensor ({', '.join(map(str, shape))}) of {of}"
    if not isinstance(value, Tensor):
        advice = "; torch.from_numpy makes one" if isinstance(value, np.ndarray) else ""
        raise TypeError(f"{name}: {described(value)} given, expected {expected}{advice}")
    if not DTYPES[of](value.dtype):
        advice = "; mask.nonzero().flatten() makes indices of a mask" if value.dtype == torch.bool else ""
        raise TypeError(f"{name}: {described(value)} given, expected {expected}{advice}")
    fits = len(shape) == value.ndim and all(
        isinstance(want, str) or want == have for want, have in zip(shape, value.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"{name} has shape {tuple(value.shape)}, expected ({', '.join(map(str, shape))})")


def require_number(name: str, value: object) -> None:
    """Refuse what is no real number; True and False are none.

    Raises
    ------
    TypeError
        With what was given.
    """
    if not _is(value, float):
        raise TypeError(f"{name}: {described(value)} given, expected a number")


def require_device(device: object) -> torch.device:
    """The device of that name, if it is here.

    Raises
    ------
    TypeError
        If it is no name of a device.
    ValueError
        If torch has no such device on this machine.
    """
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device: {described(device)} given, expected a name such as 'cpu' or 'cuda:0'")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # what torch raises for unknown and for absent devices
        raise ValueError(f"device={str(device)!r} given, expected one of this machine ({error})") from error


def whole_number(name: str, value: object, *, least: int | None = None) -> int:
    """The value as Python's int.

    Raises
    ------
    TypeError
        If it is no whole number; True and False are none.
    ValueError
        If it is less than `least`, where that is given.
    """
    wrong = f"{name}: {described(value)} given, expected a whole number" + ("" if least is None else f" >= {least}")
    if isinstance(value, bool | np.bool_) or not hasattr(value, "__index__"):
        raise TypeError(wrong)
    try:
        number = operator.index(value)
    except TypeError:  # a tensor of more than one value, or of floating-point numbers
        raise TypeError(wrong) from None
    if least is not None and number < least:
        raise ValueError(f"{name}={number} given, expected at least {least}")
    return number


def indices(name: str, value: object) -> Shaped[Tensor, "kept"]:
    """Indices given as a tensor, an array or a list of whole numbers, as an int64 tensor.

    Raises
    ------
    TypeError
        If they are no whole numbers; a mask is none.
    ValueError
        If they have more than one dimension.
    """
    if isinstance(value, list | tuple | range):
        value = torch.tensor([whole_number(f"{name}[{i}]", one) for i, one in enumerate(value)]).long()
    elif isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        value = torch.from_numpy(value.astype(np.int64))
    require_tensor(name, value, of="whole numbers", shape=("kept",))
    assert isinstance(value, Tensor)
    return value.long()


def check_fields(settings: Any) -> None:
    """Refuse fields of a frozen dataclass of another kind than they are annotated with.

    True and False are no numbers, and a number with a fraction is no whole number. Numbers of numpy become Python's, so
    that settings can be stored.

    Raises
    ------
    TypeError
        With the field, what was given and what is expected.
    """
    cls: Any = type(settings)
    for name, kinds in _kinds(cls).items():
        value = getattr(settings, name)
        if isinstance(value, np.generic):
            value = value.item()
            object.__setattr__(settings, name, value)
        if not any(_is(value, kind) for kind in kinds):
            expected = " or ".join("None" if k is type(None) else getattr(k, "__name__", str(k)) for k in kinds)
            raise TypeError(f"{cls.__name__}: {name}={described(value)} given, expected {expected}")


@lru_cache(maxsize=256)
def _kinds(cls: Any) -> Mapping[str, tuple[Any, ...]]:
    """Types that each field may have; left out where its annotation says none (arrays, a class inside a function)."""
    try:
        hints = get_type_hints(cls)
    except (AttributeError, NameError, TypeError):
        return {}
    kinds = {f.name: _alternatives(hints[f.name]) for f in fields(cls)}
    return {name: known for name, known in kinds.items() if all(_can_be_asked(k) for k in known)}


def _can_be_asked(kind: Any) -> bool:
    """False for what `isinstance` does not take: Any, and protocols that are for type checkers alone."""
    try:
        isinstance(None, kind)
    except TypeError:
        return False
    return isinstance(kind, type)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) in (Union, UnionType):
        return tuple(kind for part in get_args(hint) for kind in _alternatives(part))
    plain = get_origin(hint) or hint
    return (None,) if isinstance(plain, type) and issubclass(plain, AbstractArray) else (plain,)


def _is(value: object, kind: type) -> bool:
    if kind in (int, float):
        number = Integral if kind is int else Real
        return isinstance(value, number) and not isinstance(value, bool)
    return isinstance(value, kind)
