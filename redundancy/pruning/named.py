"""What a user may give where a method is expected: a method, its name with settings, its class, or a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from difflib import get_close_matches
from typing import Any

import torch

from redundancy.checks import described
from redundancy.pruning.base import InnerMethod, Method
from redundancy.pruning.grammar import WRONG, Call, parsed, written
from redundancy.pruning.part import Part, Registry, plain
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
        A method; a text (see `named_settings`) with a name of `METHODS`, or of its class; a class, whose defaults are
        taken; a function `VideoTokens -> Reduction`, taken as it is; a `Reduction` or a sequence of them, which are
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
    >>> as_method("fastvid:d=0.2;merger=drop") == FastVID(d=0.2, merger="drop")
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
        One, or a sequence of: methods, texts with names of `INNER_METHODS` (`"holitom_inner:layer=2;merge_rate=0.5"`),
        classes; or ready reductions of one layer, one per video. None: no method.

    Raises
    ------
    TypeError
        If one is something else: a method in front of the language model, a function (it names no layer).
    ValueError
        If there is no such name or setting.

    Example
    -------
    >>> as_inner("holitom_inner:layer=2;merge_rate=0.5") == (HoliTomInner(layer=2, merge_rate=0.5),)
    True
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
    try:
        return replace(entries[key], **_exact(settings, entries[key]))
    except ValueError:
        return replace(entries[key], **settings)  # refused again, with the value as it was given


def _exact(settings: Mapping[str, Any], default: Any) -> dict[str, Any]:
    """Settings with whole numbers as floats where floats belong: 1 equals 1.0, but digests tell them apart."""
    kinds = {f.name: {"float"} if f.type is float else set(str(f.type).split(" | ")) for f in fields(default)}
    floats = {n for n, kind in kinds.items() if "float" in kind and "int" not in kind}
    return {n: float(x) if n in floats and type(x) is int else x for n, x in settings.items()}


def named_settings(text: str) -> tuple[str, dict[str, Any]]:
    """Entry of `METHODS` and settings that a text names.

    `"fastvid"`, `"fastvid(0.25, c=4)"` and `"fastvid:retention=0.25;c=4"` (`;` or `,`) say the same way. Values are
    numbers, words (bare or in quotes), None, True and False; a part is its name, with settings in brackets where it has
    others than its default: `"fastvid:segmenter=fixed_interval(segments=4)"`. Nothing is evaluated.

    Raises
    ------
    ValueError
        If there is no such name or setting.
    """
    return _settings(text, {name: entry.method for name, entry in METHODS.items()})


def _settings(text: str, entries: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The entry of a name, and its settings."""
    call = parsed(text)
    key = _found(call.name, entries)
    known = [f.name for f in fields(entries[key])]
    first = call.given[0] if call.given else None
    if isinstance(first, int | float) and key in METHODS and "retention" not in known:
        advice = f"; {key}({known[0]}={first}) sets its first setting" if known else ""
        raise ValueError(f"{described(text)} given, but {key} has no retention: its rate follows from others{advice}")
    return key, _filled(call, key, entries[key], text)


def _filled(call: Call, key: str, default: Any, text: str) -> dict[str, Any]:
    """Settings of a method or a part by the names of its fields, parts made."""
    known = [f.name for f in fields(default)]
    if len(call.given) > len(known):
        raise ValueError(
            f"{described(text)} given with {len(call.given)} settings in order, but {key} has "
            f"{', '.join(known) or 'none'}"
        )
    settings = dict(zip(known, call.given, strict=False))
    for field, value in call.named:
        if field in settings:
            raise ValueError(f"{described(text)} given, which sets {field} twice")
        if field not in known:
            raise ValueError(
                f"{described(text)} given, but {key} has no setting {field!r}{_near(field, known)}; it has {known}"
            )
        settings[field] = value
    parts = {field: value for field, value in settings.items() if isinstance(value, Call)}
    return settings | {field: _part(value, field, default, settings, text) for field, value in parts.items()}


def _part(value: Call, field: str, default: Any, settings: Mapping[str, Any], text: str) -> Any:
    """A part in brackets as an object, with those of the method's settings that it takes over."""
    slot = getattr(default, "slots", {}).get(field)
    if slot is None:
        raise ValueError(
            f"{WRONG.format(described(text))}; {field}={value.name}(...) is no part: only parts have brackets"
        )
    key = slot.registry.key_of(value.name, field=field)
    part = slot.registry[key]
    own = {name: settings.get(name, getattr(default, name)) for name in slot.settings}
    return replace(slot.registry.resolved(key, **own), **_exact(_filled(value, key, part, text), part))


def _found(name: str, entries: Mapping[str, Any]) -> str:
    spellings: dict[str, str] = {plain(type(m).__name__): key for key, m in reversed([*entries.items()])}
    spellings |= {plain(key): key for key in entries}
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


def _of_class(cls: type[Any]) -> Any:
    if inspect.isabstract(cls):
        raise TypeError(f"the class {cls.__name__} given, which is a base of methods; {EXPECTED}")
    lacking = [f.name for f in fields(cls) if f.init and f.default is MISSING and f.default_factory is MISSING]
    if lacking:
        raise TypeError(f"the class {cls.__name__} given, whose settings {lacking} have no default: give an instance")
    return cls()


# labels ---------------------------------------------------------------------------------------------------------------


def label_of(method: Any, *, rate: bool = True) -> str:
    """The text of a method: its name, its retention where it has one, and the settings that differ from the default.

    `as_method` (of a method inside the language model: `as_inner`) makes an equal method of it, if the method's class
    and those of its parts are registered; of others it is a label only.

    Parameters
    ----------
    method
        A method in front of or inside the language model.
    rate
        False: without the retention, which is what methods at several retentions have in common.

    Raises
    ------
    TypeError
        If it is none.

    Example
    -------
    >>> label_of(FastVID(retention=0.25, c=4, merger="drop"))
    'fastvid(0.25, c=4, merger=drop)'
    """
    if not isinstance(method, Method | InnerMethod):
        raise TypeError(f"{described(method)} given, expected a method")
    table: Mapping[str, Any] = METHODS if isinstance(method, Method) else INNER_METHODS
    alike = {name: entry.method for name, entry in table.items() if type(entry.method) is type(method)}
    # of two defaults of one class the nearer
    key = min(alike, key=lambda name: len(_differing(method, alike[name])), default=None)
    everything = {f.name: getattr(method, f.name) for f in fields(method)}
    changed = everything if key is None else _differing(method, alike[key])
    asked = changed.pop("retention", getattr(method, "retention", None))
    inside = [] if asked is None or not rate else [written(float(asked))]
    inside += [f"{name}={_text(value, method, name)}" for name, value in changed.items()]
    name = type(method).__name__ if key is None else key
    return f"{name}({', '.join(inside)})" if inside else name


def _differing(one: Any, other: Any) -> dict[str, Any]:
    return {f.name: getattr(one, f.name) for f in fields(one) if getattr(one, f.name) != getattr(other, f.name)}


def _text(value: Any, owner: Any, field: str) -> str:
    """A setting as the grammar reads it."""
    if not isinstance(value, Part):
        return written(value)
    registry: Registry[Any] | None = owner.slots[field].registry if field in owner.slots else None
    key = None if registry is None else registry.named(value)
    if registry is None or key is None:
        return repr(value)
    # a part that shares a setting with its method has that of the method unless it says its own
    base = registry.resolved(key, **{name: getattr(owner, name) for name in owner.slots[field].settings})
    changed = _differing(value, base)
    inside = ", ".join(f"{n}={_text(x, value, n)}" for n, x in changed.items())
    return f"{key}({inside})" if inside else key
