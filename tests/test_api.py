"""The rules of the API itself: documented, few positional parameters, the paper named where there is one."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import redundancy
import studies
from redundancy.metrics.table import METRICS
from redundancy.models.torchvision_repair import import_torchvision
from redundancy.pruning import INNER_METHODS, METHODS, SEGMENTERS

import_torchvision()  # before transformers, as the loaders do


def modules() -> list[str]:
    names = []
    for package in (redundancy, studies):
        names.append(package.__name__)
        names += [m.name for m in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
    return [name for name in names if not name.split(".")[-1].startswith("_")]


def public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    """Classes and functions that a module defines under a public name."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value) or inspect.isroutine(value):
            yield name, value


def methods(cls: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that the class itself defines."""
    for name, value in vars(cls).items():
        field = name in getattr(cls, "__dataclass_fields__", {})  # the default of a field may be a function
        if not name.startswith("_") and not field and (inspect.isroutine(value) or isinstance(value, property)):
            yield name, value


def positional(function: Any) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind in kinds and p.name not in ("self", "cls")]


@pytest.mark.parametrize("name", modules())
def test_module(name: str) -> None:
    module = importlib.import_module(name)
    problems = [] if module.__doc__ else ["the module has no docstring"]
    for label, value in public(module):
        problems += check(label, value)
    assert not problems, "\n".join(problems)


def check(label: str, value: Any) -> list[str]:
    problems = [] if own_docstring(value) else [f"{label} has no docstring"]
    if inspect.isclass(value):
        for name, method in methods(value):
            if not (method.__doc__ or inherited_docstring(value, name)):
                problems.append(f"{label}.{name} has no docstring")
        return problems
    if len(positional(value)) > 3:
        problems.append(f"{label} has more than three positional parameters: {positional(value)}")
    if "Source:" in (value.__doc__ or "") and not sourced_at_the_end(value.__doc__):
        problems.append(f"{label}: the paragraph Source: is not the last one of the docstring")
    return problems


def own_docstring(value: Any) -> bool:
    """A docstring that was written: a dataclass without one is given its signature."""
    text = value.__doc__ or ""
    return bool(text) and not text.startswith(f"{value.__name__}(")


def inherited_docstring(cls: type, name: str) -> bool:
    return any(getattr(vars(base).get(name), "__doc__", None) for base in cls.__mro__[1:])


def sourced_at_the_end(text: str) -> bool:
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return paragraphs[-1].startswith("Source:")


PUBLISHED = {
    **{name: (type(entry.method), entry.paper) for name, entry in (METHODS | INNER_METHODS).items()},
    **{name: (metric.function, metric.source) for name, metric in METRICS.items()},
    **{name: (type(segmenter), segmenter.source) for name, segmenter in SEGMENTERS.items()},
}


@pytest.mark.parametrize("name", [name for name, (_, paper) in PUBLISHED.items() if "arXiv:" in paper])
def test_what_a_paper_defines_names_it(name: str) -> None:
    value, paper = PUBLISHED[name]
    text = value.__doc__ or ""
    assert sourced_at_the_end(text)
    assert re.findall(r"arXiv:[\d.]+\d", paper)[0] in text
