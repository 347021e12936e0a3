"""Parts of methods - mergers, budgets, selectors, segmenters, sources of salience - and the registry of each kind.

A part is a frozen dataclass with its own settings. A method takes it as a field: the object, or its name in the
registry. A setting of the method that the slot lists (FastVID's `beta` for its merger) goes into a part given by name.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from difflib import get_close_matches
from typing import Any, ClassVar, TypeVar

from redundancy.checks import check_fields, described
from redundancy.pruning.settings import Needs, plain_value
from redundancy.tokens import TokenLayout


class WithParts:
    """What methods and parts share: fields that take parts, and their settings as data.

    `slots` says which fields take parts, in the order in which they are brought into one form.
    """

    slots: ClassVar[Mapping[str, Slot]] = {}

    def part(self, field: str) -> Any:
        """The part behind a field; None where nothing, or a word such as `"auto"`, stands."""
        return self.slots[field].part(self, field)

    @property
    def settings(self) -> dict[str, Any]:
        """The fields, as plain values of json, parts with their own settings."""
        named: Any = self
        found = {f.name: plain_value(getattr(self, f.name)) for f in fields(named)}
        parts = {name: self.part(name) for name in self.slots}
        return found | {name: part.as_setting for name, part in parts.items() if part is not None}

    @property
    def digest_parts(self) -> dict[str, Any]:
        """What stands behind names in fields; `digest_of` takes it beside the fields themselves."""
        return {name: self.part(name) for name in self.slots}

    def _check(self) -> None:
        check_fields(self)
        if getattr(self, "seed", 0) < 0:  # -1 says in rows that nothing was drawn
            raise ValueError(f"seed={getattr(self, 'seed')} given, expected 0 or more")  # noqa: B009
        for field, slot in self.slots.items():
            slot.fit(self, field)


@dataclass(frozen=True)
class Part(WithParts, ABC):
    """Base of the parts of methods; `name` is that of the registry, `source` says where the part was published."""

    name: ClassVar[str] = ""
    source: ClassVar[str] = "own"

    def __post_init__(self) -> None:
        self._check()  # a subclass that checks more calls this first

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """What the part reads beyond the features, on a family's layout where that matters."""
        return Needs()

    @property
    def as_setting(self) -> Any:
        """The part as plain data of json: its name if it has no settings."""
        return {"name": type(self).__name__} | self.settings if self.settings else type(self).name or repr(self)


P = TypeVar("P", bound=Part)


class Registry(dict[str, P]):
    """Parts of one kind by name: default instances, in the order in which they were registered.

    Parameters
    ----------
    name
        Of the variable that holds it: `"MERGERS"`.
    what
        The kind in words, for messages: `"merger"`.
    base
        Base class of the kind.
    *parts
        Instances whose class has a `name`.
    """

    def __init__(self, name: str, what: str, base: type[Any], *parts: P) -> None:
        super().__init__({part.name: part for part in parts})
        self.name, self.what, self.base = name, what, base
        self.__module__ = "redundancy.pruning"  # where pickle finds it by its name

    def __reduce__(self) -> str:
        # one object a process: copies and digests of a class that has a slot are not those of all that is registered
        return self.name

    def key_of(self, name: str, *, field: str | None = None) -> str:
        """The name of an entry, given by it or by its class's name.

        Parameters
        ----------
        field
            The field that was given, for the message.

        Raises
        ------
        ValueError
            If there is none, with near names and all there are.
        """
        spelled = {plain(type(p).__name__): key for key, p in reversed(self.items())}
        spelled |= {plain(key): key for key in self}
        if plain(name) in spelled:
            return spelled[plain(name)]
        near = get_close_matches(name, self, n=1)
        said = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"{field or self.what}={described(name)} given, expected one of {(*self,)}{said}")

    def resolved(self, value: P | str, **settings: Any) -> P:
        """The part that a field holds; one given by name has the method's settings of the names that it knows."""
        if not isinstance(value, str):
            return value
        part = self[self.key_of(value)]
        own = {f.name for f in fields(part)}
        return replace(part, **{name: x for name, x in settings.items() if name in own})

    def named(self, part: P) -> str | None:
        """The name of the part, or of the first one of its class; None if the class is not registered."""
        equal = (name for name, one in self.items() if one == part)
        alike = (name for name, one in self.items() if type(one) is type(part))
        return next(equal, next(alike, None))


@dataclass(frozen=True)
class Slot:
    """A field of a method that takes a part.

    Parameters
    ----------
    registry
        Of the parts that it takes.
    settings
        Fields of the method that a part given by name takes over.
    words
        Words that are no names of parts but mean something to the method, for example `"auto"`.
    """

    registry: Registry[Any]
    settings: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def fit(self, method: Any, field: str) -> None:
        """Bring a field into one form: the name of a part if that and the method's settings say all, else the object.

        So `FastVID(merger=AnchorCentric(beta=0.3))` equals `FastVID(beta=0.3)`, and `merger=Drop()` is `merger="drop"`.

        Raises
        ------
        ValueError
            If there is no part of that name, or a part and the method set one setting to two values.
        """
        value = getattr(method, field)
        if value is None or (isinstance(value, str) and value in self.words):
            return
        if isinstance(value, str):
            object.__setattr__(method, field, self.registry.key_of(value, field=field))
            return
        shared = self._shared(value)
        self._require_one_value(method, field, shared)
        key = self.registry.named(value)
        own = None if key is None else self.registry[key]
        if own is not None and replace(value, **{name: getattr(own, name) for name in shared}) == own:
            for name in shared:
                object.__setattr__(method, name, getattr(value, name))
            object.__setattr__(method, field, key)

    def part(self, method: Any, field: str) -> Any:
        """The part behind a field; None where a word or nothing stands."""
        value = getattr(method, field)
        if value is None or (isinstance(value, str) and value in self.words):
            return None
        return self.registry.resolved(value, **{name: getattr(method, name) for name in self.settings})

    def _shared(self, part: Any) -> list[str]:
        own = {f.name for f in fields(part)}
        return [name for name in self.settings if name in own]

    def _require_one_value(self, method: Any, field: str, shared: list[str]) -> None:
        part, defaults = getattr(method, field), {f.name: f.default for f in fields(method)}
        for name in shared:
            ours, theirs = getattr(method, name), getattr(part, name)
            if ours != theirs and (defaults[name] is MISSING or ours != defaults[name]):
                raise ValueError(
                    f"{field}={part} beside {name}={ours!r} given, expected {name} once: give it to the "
                    f"{self.registry.what}, or to the method and the {self.registry.what} by its name"
                )


def plain(name: str) -> str:
    """A name as it is compared: without case, underscores and hyphens, so that a class and its entry are one."""
    return name.strip().lower().replace("_", "").replace("-", "")
