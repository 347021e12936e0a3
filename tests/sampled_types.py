"""Types of arguments and results are checked in the first calls of each function in each test, not in every call.

jaxtyping's import hook decorates every function of the package by `jaxtyping.jaxtyped`; to check each of a million
calls took a third of the time of the tests. `install` has to run before the package is imported.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

import jaxtyping

CALLS = 2  # of each function in each test
_test = [0]  # counts tests: a function that was not called since the test began has all its calls before it
_checked_by_jaxtyping = jaxtyping.jaxtyped


def next_test() -> None:
    """From here the first calls of each function are checked again."""
    _test[0] += 1


def sampled(function: Callable[..., Any], typechecker: Any) -> Callable[..., Any]:
    """`function`, its types checked in the first calls of each test."""
    checked: Callable[..., Any] | None = None  # made when it is first called: most functions are not, in one process
    calls, test = 0, -1

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        nonlocal checked, calls, test
        if test != _test[0]:
            test, calls = _test[0], 0
        if calls >= CALLS:
            return function(*args, **kwargs)
        calls += 1
        if checked is None:
            checked = _checked_by_jaxtyping(function, typechecker=typechecker)
        return checked(*args, **kwargs)

    called.samples_types = True  # type: ignore[attr-defined]
    return called


def jaxtyped(function: Any = None, *, typechecker: Any = None) -> Any:
    """In the place of `jaxtyping.jaxtyped`, of which it is a decorator too: of functions, methods and dataclasses."""
    if function is None:
        return functools.partial(jaxtyped, typechecker=typechecker)
    if inspect.isclass(function):
        if is_dataclass(function) and not hasattr(function.__init__, "samples_types"):
            function.__init__ = sampled(function.__init__, typechecker)  # type: ignore[method-assign]
        return function
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(sampled(function.__func__, typechecker))
    if isinstance(function, property):
        parts = (function.fget, function.fset, function.fdel)
        return property(*(part and sampled(part, typechecker) for part in parts))
    return sampled(function, typechecker)


def install() -> None:
    """Check the first calls alone of what is imported from here on."""
    jaxtyping.jaxtyped = jaxtyped
