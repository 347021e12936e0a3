"""Conditions: what a study does with a video, as values that have a label, coordinates and a digest; and their grid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cached_property
from itertools import product
from typing import Any

from redundancy.digest import digest_of
from redundancy.pruning.base import InnerMethod, Method
from redundancy.pruning.named import as_inner, as_method, label_of, named_settings
from redundancy.pruning.table import METHODS

Factor = str | int | float
# columns of all rows, and dims and coordinates of all summaries
TAKEN = frozenset(
    {"condition", "video", "kind", "grid", "seed", "model", "commit", "error", "error_type", "achieved", "replaced"}
    | {"measure", "statistic", "long_name", "units", "higher"}
)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One way to treat a video.

    Parameters
    ----------
    label
        Unique in a study.
    method, inner
        What reduces the tokens in front of the language model (None: nothing) and inside it.
    clip
        A change of the clip: `VideoClip -> VideoClip`.
    frames
        Frames sampled from the video; None: as the study's options say.
    parts
        Whatever else it is made of, by name: a segmenter, a metric, a second method.
    kind
        `"method"`, `"baseline"`, `"control"`, `"full"`, or a study's own.
    factors
        Coordinates in the summary and columns of the rows, such as `{"merger": "drop"}`; `method` (its name without the
        retention), `method_kind` and `requested` are added.

    Raises
    ------
    ValueError
        If a factor has the name of a column or dim that rows and summaries have anyway.
    """

    label: str
    method: Method | None = None
    inner: tuple[InnerMethod, ...] = ()
    clip: Any = None
    frames: int | None = None
    parts: Mapping[str, Any] = field(default_factory=dict)
    kind: str = "full"
    factors: Mapping[str, Factor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if taken := sorted(set(self.factors) & TAKEN):
            raise ValueError(
                f"the condition {self.label!r} has factors named {taken}, expected other names than {sorted(TAKEN)}"
            )
        requested = 1.0 if self.kind == "full" else getattr(self.method, "retention", float("nan"))
        known: dict[str, Factor] = {"method": self.label, "method_kind": self.kind, "requested": requested}
        object.__setattr__(self, "factors", known | dict(self.factors))

    @property
    def outer(self) -> Method:
        """The method in front of the language model, where there is one."""
        if self.method is None:
            raise ValueError(f"the condition {self.label!r} has no method")
        return self.method

    @cached_property
    def digest(self) -> str:
        """Of every setting of all that it is made of: rows of another digest are computed again."""
        made_of = {name: getattr(self, name) for name in ("method", "inner", "clip", "frames", "parts")}
        return digest_of(made_of)


FULL = Condition(label="full", factors={"method": "full"})


def grid(
    methods: str | Method | Sequence[str | Method],
    retentions: float | int | Sequence[float | int] = (),
    *,
    inner: Sequence[str | InnerMethod] = (),
    **settings: Sequence[Any],
) -> list[Condition]:
    """Every method at every retention, with every combination of further settings.

    What a method says itself stays: a retention or setting that its text names, or that an object has in place of its
    default. A method with a fixed rate stands once; settings that a method lacks are left out for it.

    Parameters
    ----------
    methods
        Methods, or their names with or without settings: `"fastvid"`, `"fastvid:c=4"`, `"fastvid(retention=0.2)"`; one
        of them, or several.
    retentions
        Shares of the tokens to keep; none: each method's own.
    inner
        Methods inside the language model, each combined with every method; none: no such method.
    settings
        Values of further fields of the methods, each a factor: `merger=("drop", "cluster_mean")`.

    Raises
    ------
    ValueError
        If a method is unknown, no method has a setting, a condition is there twice, or nothing is left to compare.

    Examples
    --------
    >>> [c.label for c in grid(["fastvid", "dycoke"], [0.5, 0.25])]
    ['fastvid(0.5)', 'fastvid(0.25)', 'dycoke']
    """
    methods = [methods] if isinstance(methods, str | Method) else list(methods)
    retentions = [retentions] if isinstance(retentions, int | float) else list(retentions)
    if not methods:
        raise ValueError(f"no method given, expected some of {[*METHODS]}")
    _check_settings(methods, settings)
    inside: list[tuple[InnerMethod, ...]] = [(m,) for m in as_inner(list(inner))] or [()]  # type: ignore[misc]
    made = [
        condition
        for given in methods
        for method, factors in _combinations(given, retentions, settings)
        for inner_methods in inside
        for condition in [_condition(method, inner_methods, factors)]
    ]
    twice = sorted(label for label, count in Counter(c.label for c in made).items() if count > 1)
    if twice:
        raise ValueError(f"{twice} given more than once, expected every condition once")
    return made


def _check_settings(methods: Sequence[str | Method], settings: Mapping[str, Sequence[Any]]) -> None:
    """Refuse settings that no method has, and values that are no sequence of values."""
    known = {f.name for method in map(as_method, methods) if isinstance(method, Method) for f in fields(method)}
    for name, values in settings.items():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            said = f" (did you mean {near[0]!r}?)" if near else ""
            raise ValueError(f"{name}={values!r} given, which no method has as a setting{said}: {sorted(known)}")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(f"{name}={values!r} given, expected values in a list: {name}=[...]")


def _said(given: str | Method, method: Any) -> set[str]:
    """Settings that a method says itself: those that its text names, or that are not its default."""
    if isinstance(given, str):
        return set(named_settings(given)[1])
    default = next((entry.method for entry in METHODS.values() if type(entry.method) is type(method)), None)
    return {f.name for f in fields(method) if getattr(method, f.name) != getattr(default or type(method), f.name, None)}


def _combinations(
    given: str | Method, retentions: Sequence[float | int], settings: Mapping[str, Sequence[Any]]
) -> Iterator[tuple[Method, dict[str, Factor]]]:
    """A method with every retention and every value of the settings that it has."""
    method: Any = as_method(given)
    if not isinstance(method, Method):
        raise TypeError(f"{given!r} given, expected a method or the name of one")
    own, said = {f.name for f in fields(method)}, _said(given, method)
    axes = {name: values for name, values in settings.items() if name in own - said}
    if "retention" in own - said and retentions:
        axes = {"retention": [float(r) for r in retentions], **axes}
    for values in product(*axes.values()):
        changed = replace(method, **dict(zip(axes, values, strict=True)))
        factors = {name: _text(getattr(changed, name)) for name in settings if name in own and name != "retention"}
        yield changed, factors


def _condition(method: Method, inner: tuple[InnerMethod, ...], factors: Mapping[str, Factor]) -> Condition:
    label = " + ".join([label_of(method), *map(label_of, inner)])
    name = " + ".join([label_of(method, rate=False), *map(label_of, inner)])
    kind = getattr(method, "kind", "method")
    about = {"inner": " + ".join(map(label_of, inner))} if inner else {}
    return Condition(label=label, method=method, inner=inner, kind=kind, factors={"method": name, **about, **factors})


def _text(value: Any) -> Factor:
    return value if isinstance(value, str | int | float) else str(value)
