"""What is known of a metric before it is computed, as data beside its function.

From these facts `measure`, the tests, tables and the README are made.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from textwrap import fill
from typing import Any, TypeVar

from redundancy.metrics.kernels.sizes import of_checked_sizes

NULLS = ("shuffle_frames", "shuffle_tokens", "gaussian")
SCALINGS = ("raw", "unit")  # of the points of a trajectory
BEHAVIOURS = ("invariant", "equivariant", "none")
BLOCKS = ("frame", "transition", "video")
ELEMENT_DIMS = ("frame", "transition", "token", "layer", "head", "query", "kept", "rope_axis", "grid_axis")

PAPER = re.compile(r"arXiv:|doi:|\b(1[89]|20)\d\d\b")  # what a source holds that names one

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Metric:
    """Facts of one metric.

    Parameters
    ----------
    function
        Computes it from tensors; its positional parameters name what it reads: `tokens` `[T, N, D]`, `frame_features`
        `[T, F]`, `points` (frame features, raw or at unit length), `salience` `[T, N]`, `grid`, `frame_time` and so on.
    dims
        Per output the dims; a metric with one output has one of its own name. Dims that are not `ELEMENT_DIMS` are a
        parameter's own: the keyword of that name, or 0, 1, ... where there is none.
    unit
        `"1"` for numbers without one.
    bounds
        Least and largest value.
    higher
        What a higher value means.
    known
        Known answers in words; the tests hold them as numbers.
    source
        Paper and section, or `"own"`.
    nulls
        Names of the null models under which the metric is meaningful, from `NULLS`.
    undefined
        When values are NaN, in words; empty if they never are.
    scale
        Power of s by which the metric grows when everything is multiplied by s; None: no claim.
    frame_order, token_order
        What a permutation of frames, or of places alike in all frames, does: `"invariant"`, `"equivariant"` or
        `"none"` (no claim).
    block
        What one value depends on: `"frame"` (its frame alone), `"transition"` (its frame and the next), `"video"`.
        The first two may be computed on parts of a video.
    parts
        For metrics of a whole video's tokens that can be computed without holding them: `fold(carry, block, before,
        **own)` of what was carried so far (None at first), frames in a row and the frame before them (None at first),
        and `finish(carry, **own)`.
    default
        True if `measure` computes it unless asked otherwise.
    group
        Folder or module of `redundancy.metrics`; of a user's metric its module's name, unless it is told otherwise.
    """

    function: Callable[..., Any]
    dims: Mapping[str, tuple[str, ...]]
    unit: str
    bounds: tuple[int | float, int | float]
    higher: str
    known: tuple[str, ...]
    source: str = "own"
    nulls: tuple[str, ...] = ()
    undefined: str = ""
    scale: int | float | None = None
    frame_order: str = "none"
    token_order: str = "none"
    block: str = "video"
    parts: tuple[Callable[..., Any], Callable[..., Any]] | None = None
    default: bool = True
    group: str = ""

    def __post_init__(self) -> None:
        for behaviour in (self.frame_order, self.token_order):
            if behaviour not in BEHAVIOURS:
                raise ValueError(f"{self.name}: {behaviour!r} given, expected one of {BEHAVIOURS}")
        if self.block not in BLOCKS:
            raise ValueError(f"{self.name}: block {self.block!r} given, expected one of {BLOCKS}")
        if unknown := set(self.nulls) - set(NULLS):
            raise ValueError(f"{self.name}: nulls {sorted(unknown)} given, expected some of {NULLS}")
        for output in self.dims:
            if output.endswith("_mean"):
                raise ValueError(f"{output}: the ending _mean is that of a video's summary, expected another name")
        for what in ("unit", "higher", "source", "known"):
            if not getattr(self, what):
                raise ValueError(f"{self.name}: the fact {what!r} is empty")

    @property
    def name(self) -> str:
        """Name of the function."""
        return str(self.function.__name__)

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the function must be given."""
        parameters = inspect.signature(self.function).parameters.values()
        return tuple(p.name for p in parameters if p.default is inspect.Parameter.empty)

    @property
    def parameters(self) -> dict[str, Any]:
        """Settings with their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}

    @property
    def attrs(self) -> dict[str, Any]:
        """Attributes of a labelled result."""
        low, high = self.bounds
        return {"units": self.unit, "range": f"{low:g}..{high:g}", "higher": self.higher, "source": self.source}


FACTS: dict[str, Metric] = {}


def metric(*, dims: tuple[str, ...] | Mapping[str, tuple[str, ...]], **facts: Any) -> Callable[[F], F]:
    """Note the facts of the function below, and let it refuse vectors that float32 cannot square (`check_sizes`).

    The facts are written into its docstring, as the section Notes and the paragraph Source.

    Parameters
    ----------
    dims
        Of the one output, or per field of the named tuple that the function returns.
    facts
        The other fields of `Metric`.

    Raises
    ------
    ValueError
        If a fact is missing or unknown, or the name is that of another metric; one that is defined again (a cell of a
        notebook, a reloaded module) takes its own place.
    """

    def note(function: F) -> F:
        name = str(function.__name__)
        if name in FACTS and FACTS[name].function.__module__ != function.__module__:
            raise ValueError(f"there is a metric {name!r} of {FACTS[name].function.__module__} already")
        named = dict(dims) if isinstance(dims, Mapping) else {name: dims}
        checked = of_checked_sizes(function)
        FACTS[name] = Metric(checked, named, **{"group": _group_of(function.__module__)} | facts)
        checked.__doc__ = with_facts(function.__doc__ or "", FACTS[name])
        return checked

    return note


def _group_of(module: str) -> str:
    names = module.split(".")
    return names[2] if names[:2] == ["redundancy", "metrics"] else names[-1]


def with_facts(text: str, m: Metric) -> str:
    """A docstring with the facts of its metric: Notes before any Examples, and Source as its last paragraph.

    Parameters
    ----------
    text
        As it was written.
    m
        The facts; a source that is no paper is not named.
    """
    low, high = (f"{bound:g}".replace("inf", "infinity") for bound in m.bounds)
    notes = [f"Unit: {m.unit}." if m.unit != "1" else "Unit: none."]
    notes += [f"Range: {low} to {high}.", f"Higher: {m.higher}."]
    notes += [f"NaN: {m.undefined}."] if m.undefined else []
    notes += [f"Known answers: {'; '.join(m.known)}."]
    section = "\n".join(["Notes", "-----", *(_item(note) for note in notes)])
    body, examples, shown = inspect.cleandoc(text).partition("\n\nExamples\n--------\n")
    paper = m.source.removeprefix("own").removesuffix("own").strip(";, ")
    parts = [body, section, (examples + shown).strip(), f"Source: {paper}." if PAPER.search(paper) else ""]
    return "\n\n".join(part for part in parts if part)


def _item(note: str) -> str:
    return fill(note, width=112, initial_indent="- ", subsequent_indent="  ")
