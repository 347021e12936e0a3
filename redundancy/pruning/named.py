"""What a user may give where a method is expected: a method, its name with settings, its class, or a function."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from difflib import get_close_matches
from typing import Any

import torch

from redundancy.checks import described
from redundancy.pruning.base import InnerMethod, Method
from redundancy.pruning.table import INNER_METHODS, METHODS
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens

Outer = Callable[[VideoTokens], Reduction]
EXPECTED = (
    'expected a method, a name such as "fastvid" or "fastvid(retention=0.25)", a class of methods, or a function from '
    "VideoTokens to a Reduction; Reduction.from_selection(index, grid=tokens.grid) makes a Reduction of indices"
)


def as_method(value: Any) -> Outer | Reduction | Sequence[Reduction]:
    """The method that a user means.

    Parameters
    ----------
    value
        A method; a name of `METHODS`, or of its class, with or without settings in brackets; a class, whose defaults
        are taken; a function `VideoTokens -> Reduction`, taken as it is; a `Reduction` or a sequence of them, which are
        decisions made already.

    Raises
    ------
    TypeError
        If it is something else: indices, a number, a method inside the language model.
    ValueError
        If there is no such name (with near ones), or it has no such settings (with those it has).

    Example
    -------
    >>> as_method("fastvid(0.25, c=4)") == FastVID(retention=0.25, c=4)
    True
    """
    method: Outer | Reduction | Sequence[Reduction] = value
    if isinstance(value, str):
        method = _of_text(value, {name: entry.method for name, entry in METHODS.items()})
    elif inspect.isclass(value) and issubclass(value, Method):
        method = _of_class(value)
    elif isinstance(value, InnerMethod) or (inspect.isclass(value) and issubclass(value, InnerMethod)):
        raise TypeError(f"{described(value)} given, which decides inside the language model: give it as inner=[...]")
    elif inspect.isclass(value) or not (callable(value) or isinstance(value, Reduction) or _are_reductions(value)):
        raise TypeError(f"method: {described(value)} given, {EXPECTED}")
    return method


def as_inner(value: Any) -> tuple[InnerMethod | Sequence[Reduction], ...]:
    """The methods inside the language model that a user means.

    Parameters
    ----------
    value
        One, or a sequence of: methods, names of `INNER_METHODS` with or without settings, classes; or ready reductions
        of one layer, one per video. None: no method.

    Raises
    ------
    TypeError
        If one is something else: a method in front of the language model, a function (it names no layer).
    ValueError
        If there is no such name or setting.
    """
    if value is None:
        return ()
    single = isinstance(value, str | InnerMethod | Reduction) or inspect.isclass(value)
    if not single and not isinstance(value, Sequence):
        raise TypeError(f"inner: {described(value)} given, expected a sequence of methods inside the language model")
    return tuple(_one_inner(one) for one in ([value] if single else value))


def require_reduction(value: object, method: object) -> Reduction:
    """What a method returned, if it is a `Reduction`.

    Raises
    ------
    TypeError
        With what came instead.
    """
    if not isinstance(value, Reduction):
        name = getattr(method, "__name__", type(method).__name__)
        raise TypeError(
            f"{name} returned {described(value)}, expected a Reduction; Reduction.from_selection(index, "
            "grid=tokens.grid) makes one of indices"
        )
    return value


def require_whole_video(reduction: Reduction) -> None:
    """Refuse a reduction in front of the model that keeps nothing, or whose slots are not all tokens in order.

    On a GPU slots are counted and not compared, which would make it wait.

    Raises
    ------
    ValueError
        With what was given.
    """
    size = reduction.grid.frames * reduction.grid.tokens_per_frame
    if not reduction.kept:
        raise ValueError(f"{reduction.method} keeps none of the {size} tokens, expected at least one")
    slots = reduction.slots
    if len(slots) != size or (slots.device.type == "cpu" and not torch.equal(slots, torch.arange(size))):
        raise ValueError(f"{reduction} given with {len(slots)} other slots, expected the slots 0..{size - 1} in order")


def _one_inner(value: Any) -> Any:
    if isinstance(value, str):
        return _of_text(value, {name: entry.method for name, entry in INNER_METHODS.items()})
    if isinstance(value, InnerMethod) or _are_reductions(value):
        return value
    if isinstance(value, Reduction):
        return (value,)
    if inspect.isclass(value) and issubclass(value, InnerMethod):
        return _of_class(value)
    if isinstance(value, Method) or (inspect.isclass(value) and issubclass(value, Method)):
        raise TypeError(
            f"inner: {described(value)} given, which decides before the language model: give it as the method"
        )
    raise TypeError(
        f"inner: {described(value)} given, expected a method inside the language model, which names its layer: one of "
        f'{", ".join(INNER_METHODS)}, such as "fastv(layer=2)", or ready reductions'
    )


def _are_reductions(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(r, Reduction) for r in value)


# names ----------------------------------------------------------------------------------------------------------------


def _of_text(text: str, entries: Mapping[str, Any]) -> Any:
    key, settings = _settings(text, entries)
    return replace(entries[key], **settings)


def named_settings(text: str) -> tuple[str, dict[str, Any]]:
    """Entry of `METHODS` and settings that a text such as `"fastvid(0.25, c=4)"` names.

    Raises
    ------
    ValueError
        If there is no such name or setting.
    """
    return _settings(text, {name: entry.method for name, entry in METHODS.items()})


def _settings(text: str, entries: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The entry of a name, and the settings in its brackets, which are literals and never evaluated."""
    name, given, named = _parsed(text)
    key = _found(name, entries)
    known = [f.name for f in fields(entries[key])]
    if len(given) > len(known):
        raise ValueError(
            f"{described(text)} given with {len(given)} settings in order, but {key} has {', '.join(known) or 'none'}"
        )
    if given and isinstance(given[0], int | float) and key in METHODS and "retention" not in known:
        first = f"; {key}({known[0]}={given[0]}) sets its first setting" if known else ""
        raise ValueError(f"{described(text)} given, but {key} has no retention: its rate follows from others{first}")
    settings = dict(zip(known, given, strict=False))
    for field, value in named:
        if field in settings:
            raise ValueError(f"{described(text)} given, which sets {field} twice")
        if field not in known:
            raise ValueError(
                f"{described(text)} given, but {key} has no setting {field!r}{_near(field, known)}; it has {known}"
            )
        settings[field] = value
    return key, settings


def plain(name: str) -> str:
    """A name as it is compared: without case, underscores and hyphens, so that a class and its entry are one."""
    return name.strip().lower().replace("_", "").replace("-", "")


def _found(name: str, entries: Mapping[str, Any]) -> str:
    spellings = {plain(spelling): key for key, m in entries.items() for spelling in (key, type(m).__name__)}
    if plain(name) in spellings:
        return spellings[plain(name)]
    other = METHODS if entries.keys() == INNER_METHODS.keys() else INNER_METHODS
    if name in other:
        where = "as the method" if other is METHODS else "as inner=[...]"
        raise ValueError(f"{name!r} given, which belongs elsewhere: give it {where}")
    near = [spellings[s] for s in get_close_matches(plain(name), spellings, n=3, cutoff=0.6)]
    said = f" (did you mean {' or '.join(dict.fromkeys(near))}?)" if near else ""
    raise ValueError(f"there is no method {described(name)}{said}, expected some of {', '.join(entries)}")


def _near(name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _parsed(text: str) -> tuple[str, list[Any], list[tuple[str, Any]]]:
    """Name, settings in order, settings by name."""
    head, bracket, _ = text.partition("(")
    name = head.strip()
    if not bracket:
        return name, [], []
    wrong = f'{described(text)} given, expected a name with plain values as settings: "fastvid(retention=0.25, c=4)"'
    try:
        call = ast.parse("f" + text.strip()[len(name) :].strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(wrong) from None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise ValueError(wrong)
    try:
        given = [ast.literal_eval(a) for a in call.args]
        named = [(str(k.arg), ast.literal_eval(k.value)) for k in call.keywords if k.arg is not None]
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(f"{wrong}; a setting that is an object is given in Python") from None
    if len(named) < len(call.keywords):
        raise ValueError(wrong)
    return name, given, named


def _of_class(cls: type[Any]) -> Any:
    if inspect.isabstract(cls):
        raise TypeError(f"the class {cls.__name__} given, which is a base of methods; {EXPECTED}")
    lacking = [f.name for f in fields(cls) if f.init and f.default is MISSING and f.default_factory is MISSING]
    if lacking:
        raise TypeError(f"the class {cls.__name__} given, whose settings {lacking} have no default: give an instance")
    return cls()


def label_of(m: Any, *, retention: bool = True) -> str:
    """Stub until P."""
    for k, e in {**METHODS, **INNER_METHODS}.items():
        if type(e.method) is type(m):
            break
    d = e.method
    args = []
    if retention and "retention" in {f.name for f in fields(m)}:
        args.append(f"{m.retention:g}")
    args += [f"{f.name}={getattr(m, f.name)!r}" for f in fields(m) if f.name not in ("retention", "seed") and getattr(m, f.name) != getattr(d, f.name)]
    return f"{k}({', '.join(args)})" if args else k
