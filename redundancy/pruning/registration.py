"""A user's own methods and parts under a name: in tables, texts, studies and figures like those of the package."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, overload

from redundancy.checks import described
from redundancy.pruning.base import InnerMethod, Method
from redundancy.pruning.part import Registry, plain
from redundancy.pruning.parts.budget import BUDGETS
from redundancy.pruning.parts.merge import MERGERS
from redundancy.pruning.parts.salience import SALIENCE_SOURCES
from redundancy.pruning.parts.segment import SEGMENTERS
from redundancy.pruning.parts.select import SELECTORS
from redundancy.pruning.table import INNER_METHODS, METHODS, InnerEntry, MethodEntry

REGISTRIES: tuple[Registry[Any], ...] = (MERGERS, BUDGETS, SELECTORS, SEGMENTERS, SALIENCE_SOURCES)
BASES: tuple[type[Any], ...] = (Method, InnerMethod, *(r.base for r in REGISTRIES))
EXPECTED = "expected a class or an instance of " + ", ".join(base.__name__ for base in BASES)

T = TypeVar("T")


@overload
def register(thing: T, name: str | None = None) -> T: ...
@overload
def register(thing: None = None, name: str | None = None) -> Callable[[T], T]: ...


def register(thing: Any = None, name: str | None = None) -> Any:
    """Give a method or a part a name; also as a decorator, `@register` or `@register(name="mine")`.

    Parameters
    ----------
    thing
        A frozen dataclass, whose settings all have defaults, or an instance, which becomes the default: a method in
        front of or inside the language model, a merger, budget, selector, segmenter or source of salience.
    name
        Under which it is found; by default the class's `name`, or that of the class in the style of the tables
        (`MyMethod` is `my_method`).

    Returns
    -------
    What was given, so that it decorates.

    Raises
    ------
    TypeError
        If it is none of these, or a class whose settings have no default.
    ValueError
        If the name is no name in texts, or taken. The same class of the same module may come again, as when a cell of a
        notebook runs twice.

    Example
    -------
    >>> @register(name="every_second")
    ... @dataclass(frozen=True)
    ... class EverySecond(Method):
    ...     def _decide(self, tokens):
    ...         return self._select(tokens, torch.arange(0, tokens.features[..., 0].numel(), 2))
    >>> as_method("every_second")
    EverySecond()
    """
    if thing is None:
        return lambda decorated: register(decorated, name)
    made = _instance(thing)
    key = _name(made, name)
    table, entry = _home(made)
    _require_free(key, made, table)
    table[key] = entry
    return thing


def _instance(thing: Any) -> Any:
    if not inspect.isclass(thing):
        return thing
    if not issubclass(thing, BASES) or inspect.isabstract(thing) or not hasattr(thing, "__dataclass_fields__"):
        raise TypeError(f"{described(thing)} given, {EXPECTED}, with its abstract methods written")
    cls: Any = thing
    lacking = [f.name for f in fields(cls) if f.init and f.default is MISSING and f.default_factory is MISSING]
    if lacking:
        raise TypeError(f"{described(thing)} given, whose settings {lacking} have no default: register an instance")
    return cls()


def _home(made: Any) -> tuple[MutableMapping[str, Any], Any]:
    """The table for a thing, and its entry there."""
    if isinstance(made, Method):
        return METHODS, MethodEntry(made)
    if isinstance(made, InnerMethod):
        return INNER_METHODS, InnerEntry(made)
    for registry in REGISTRIES:
        if isinstance(made, registry.base):
            return registry, made
    raise TypeError(f"{described(made)} given, {EXPECTED}")


def _name(made: Any, name: str | None) -> str:
    cls = type(made)
    # a class that inherits from a named one has no name of its own by that
    own = str(vars(cls).get("name") or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower())
    found = own if name is None else name
    if not isinstance(found, str) or not re.fullmatch(r"[^\W\d]\w*", found):
        raise ValueError(f"the name {described(found)} given, expected letters, digits and underscores")
    return found


def _require_free(key: str, made: Any, table: MutableMapping[str, Any]) -> None:
    """Refuse a name that is taken, also by the name of another class, for texts take either."""
    tables: tuple[Mapping[str, Any], ...] = (
        (METHODS, INNER_METHODS) if isinstance(made, Method | InnerMethod) else (table,)
    )
    for other, entry in ((name, entry) for taken in tables for name, entry in taken.items()):
        present = getattr(entry, "method", entry)
        same_key = plain(key) == plain(other)
        if not same_key and (plain(key) != plain(type(present).__name__) or type(present) is type(made)):
            continue
        if key == other and key in table and _where(present) == _where(made) and not _is_packaged(present):
            continue
        raise ValueError(
            f"the name {key!r} given, which is that of {'.'.join(_where(present))} ({other!r}), expected a free one"
        )


def _where(value: object) -> tuple[str, str]:
    return type(value).__module__, type(value).__qualname__


def _is_packaged(value: object) -> bool:
    return type(value).__module__.startswith("redundancy.")
