"""Gram matrices of the tokens of each frame, in blocks of frames, and what is read off them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, TypeVar

import torch
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from torch import Tensor

ROUNDING = 1e-6  # of a cosine of float32 vectors
BLOCK = {"cpu": 2**22, "cuda": 2**27}  # elements of the largest temporary array: 16 MiB stay close to the cache

F = TypeVar("F", bound=Callable[..., Any])
_PARTS: ContextVar[dict[tuple[Any, ...], Any] | None] = ContextVar("parts", default=None)


@contextmanager
def shared_parts() -> Iterator[None]:
    """Inside this context metrics of one tensor compute their common parts once; it must not change meanwhile.

    Without it every metric stands alone. Results are the same.
    """
    outer = _PARTS.set({})
    try:
        yield
    finally:
        _PARTS.reset(outer)


def part(function: F) -> F:
    """Let the results of `function(tokens, **settings)` be shared inside `shared_parts`."""

    @wraps(function)
    def shared(tokens: Tensor, **settings: Any) -> Any:
        parts = _PARTS.get()
        if parts is None:
            return function(tokens, **settings)
        key = (function, id(tokens), *sorted(settings.items()))
        if key not in parts:
            parts[key] = tokens, function(tokens, **settings)  # holds the tensor, so that no other gets its id
        return parts[key][1]

    return shared  # type: ignore[return-value]


def frame_blocks(
    tokens: Shaped[Tensor, "frames tokens channels"], *, width: int = 0
) -> tuple[Shaped[Tensor, "block tokens channels"], ...]:
    """Parts of a video, as long as a block of rows of `max(tokens, channels, width)` numbers per token allows."""
    _, N, D = tokens.shape
    frames = BLOCK.get(tokens.device.type, BLOCK["cuda"]) // max(1, N * max(N, D, width))
    return torch.split(tokens, max(1, frames))


def cosines(tokens: Float[Tensor, "frames tokens channels"]) -> Float[Tensor, "frames tokens tokens"]:
    """Cosine of each two tokens of a frame, float32 in [-1, 1]; NaN with a zero token."""
    x = tokens.float()
    unit = x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.bmm(unit, unit.mT).clamp_(-1, 1)


def of_pairs(table: Float[Tensor, "frames tokens tokens"]) -> Float[Tensor, "frames pairs"]:
    """Entries above the diagonal, row by row."""
    N = table.shape[-1]
    first, second = torch.triu_indices(N, N, 1, device=table.device)
    return table.flatten(1).index_select(1, first * N + second)


@part
def singular_values(tokens: Float[Tensor, "frames tokens channels"]) -> Float64[Tensor, "frames values"]:
    """Singular values of each frame's tokens, largest first, `[T, min(N, D)]` float64.

    Roots of the eigenvalues of the smaller Gram matrix, products summed in float64: in float32 the values of dependent
    tokens, which are 0, come out as about 3e-4 of the largest, and many of them change the effective rank by 3%.
    """
    _, N, D = tokens.shape
    least = max(N, D) * torch.finfo(torch.float64).eps

    def of(block: Tensor) -> Tensor:
        x = block.double()
        power = torch.linalg.eigvalsh(x @ x.mT if N <= D else x.mT @ x).flip(-1)
        return torch.where(power > least * power[..., :1], power, 0).sqrt()

    return torch.cat([of(block) for block in frame_blocks(tokens)])


def component_labels(linked: Bool[Tensor, "*graphs points points"]) -> Int64[Tensor, "*graphs points"]:
    """Lowest index among the points that each one is connected with, directly or through others.

    Label propagation in all graphs at once: each point takes the lowest label among its neighbours, hands it to the
    point that its old label names, and jumps to the label of its label, so that long paths need few rounds.

    Source: after FastSV (Zhang, Azad and Hu 2020).
    """
    N = linked.shape[-1]
    label = torch.arange(N, device=linked.device).expand(linked.shape[:-1])
    while True:
        lowest = torch.where(linked, label.int()[..., None, :], N).amin(-1).long().minimum(label)
        following = label.scatter_reduce(-1, label, lowest, "amin").minimum(lowest)
        following = following.gather(-1, following)
        if torch.equal(following, label):
            return label
        label = following


def quantiles(
    values: Float[Tensor, "*rows points"], quantile: Sequence[int | float]
) -> Float[Tensor, "*rows quantiles"]:
    """Quantiles of each row, linear between the points as numpy's, NaN left out; NaN where nothing is left.

    `torch.nanquantile` does the same for at most 16 million points.

    Raises
    ------
    ValueError
        If a quantile is not in 0..1.
    """
    if not all(0 <= q <= 1 for q in quantile):
        raise ValueError(f"quantile={tuple(quantile)} given, expected numbers in 0..1")
    wanted = torch.tensor(tuple(quantile), dtype=torch.float64, device=values.device)
    if not values.shape[-1]:
        return values.new_full((*values.shape[:-1], len(wanted)), torch.nan)
    ordered = values.sort(-1).values
    at = wanted * ((~values.isnan()).sum(-1, keepdim=True) - 1).clamp(min=0)
    below, above = ordered.gather(-1, at.floor().long()), ordered.gather(-1, at.ceil().long())
    return torch.lerp(below, above, at.frac().to(values.dtype))
