"""Which sizes of vectors float32 can square: tokens beyond them are refused, not measured wrongly."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

# Squares of such norms, sums of 1e6 of them, and squares of differences 1e-4 as large are normal numbers of float32.
LEAST, LARGEST = 2.0**-50, 2.0**50
VECTORS = ("tokens", "frame_features", "points")  # inputs of metrics whose last dim is a vector

F = TypeVar("F", bound=Callable[..., Any])
_checked: ContextVar[bool] = ContextVar("checked", default=False)


def sizes_fit(vectors: Shaped[Tensor, "*others channels"]) -> Bool[Tensor, ""]:
    """Whether norms lie within `LEAST` and `LARGEST`, False also for NaN and zero vectors."""
    norm = _norms(vectors)
    return ((norm >= LEAST) & (norm <= LARGEST)).all()


def check_sizes(vectors: Shaped[Tensor, "frames *others channels"], name: str, *, start: int = 0) -> None:
    """Refuse vectors too large or too small to be squared in float32; zero vectors and NaN pass.

    Parameters
    ----------
    vectors
        `[T, ..., D]`.
    name
        What they are.
    start
        Number of the first frame.

    Raises
    ------
    ValueError
        Naming the first frame with such a vector, its norm and what is expected.
    """
    norm = _norms(vectors)
    doubtful = (norm < LEAST) | (norm > LARGEST)
    if not bool(doubtful.any()):
        return
    largest = torch.where(doubtful, torch.linalg.vector_norm(vectors.double(), dim=-1), 0).reshape(len(norm), -1)
    frames = ((largest > 0) & ~largest.isnan()).any(1).nonzero().flatten()
    if len(frames):
        found = largest[frames[0]]
        raise ValueError(
            f"frame {start + int(frames[0])} holds {name} of norm {float(found[found > 0][0]):.3g}, expected 0 or "
            f"{LEAST:.2g} to {LARGEST:.2g}, whose squares float32 can hold; multiply all of them by one power of two"
        )


@contextmanager
def sizes_known() -> Iterator[None]:
    """Inside this context metrics do not look again at sizes that the caller has checked."""
    token = _checked.set(True)
    try:
        yield
    finally:
        _checked.reset(token)


def of_checked_sizes(function: F) -> F:
    """Let a metric refuse tokens, frame features and points that float32 cannot square."""
    names = list(inspect.signature(function).parameters)
    if not set(names) & set(VECTORS):
        return function

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not _checked.get():
            given = dict(zip(names, args, strict=False)) | kwargs
            for name in (n for n in VECTORS if isinstance(given.get(n), Tensor)):
                check_sizes(given[name], name)
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]


def _norms(vectors: Shaped[Tensor, "*others channels"]) -> Float[Tensor, "*others"]:
    """Norms in float32, of float64 vectors in float64; too large ones are infinite, too small ones 0."""
    norm: Tensor = torch.linalg.vector_norm(vectors, dim=-1, dtype=torch.promote_types(vectors.dtype, torch.float32))
    return norm
