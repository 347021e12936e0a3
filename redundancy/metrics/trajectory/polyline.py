"""Approximation of a trajectory by straight pieces between some of its own frames."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from redundancy.metrics.registry import metric
from redundancy.metrics.trajectory.steps import ORDER_NULLS
from redundancy.metrics.trajectory.turns import curvature, sharpest


class PolylineError(NamedTuple):
    """Least error of a polyline of k vertices, and those of two other choices of as many."""

    polyline_error: Float[Tensor, "k"]
    polyline_uniform_error: Float[Tensor, "k"]
    polyline_turn_error: Float[Tensor, "k"]


@metric(
    dims={"polyline_error": ("k",), "polyline_uniform_error": ("k",), "polyline_turn_error": ("k",)},
    unit="squared feature units",
    bounds=(0, float("inf")),
    higher="the path is less well drawn through k of its frames",
    known=("piecewise linear with k corners: 0 at k",),
    nulls=ORDER_NULLS,
    undefined="where k exceeds the number of frames; with turn frames, also the number that have a curvature",
    scale=2,
    default=False,
)
def polyline_error(
    points: Float[Tensor, "frames channels"], *, k: tuple[int, ...] = (2, 3, 4, 6, 8, 12, 16)
) -> PolylineError:
    """Least `sum_t ||f[t] - f~[t]||^2` of linear interpolation in time between exactly k frames, both ends included.

    Beside the best choice (`best_vertices`, exact) the error of k frames at equal distance, and of both ends with the
    k - 2 frames of largest geometric curvature; other choices go through `polyline_error_of`. More vertices may raise
    the error: a path must pass through each of them.

    Parameters
    ----------
    points
        `[T, F]`.
    k
        Numbers of vertices, each at least 2.

    Returns
    -------
    Three `[k]` float32.

    Raises
    ------
    ValueError
        If a k is below 2.
    """
    if not k or min(k) < 2:
        raise ValueError(f"k={k} given, expected numbers of at least 2")
    possible = tuple(count for count in k if count <= len(points))
    best = dict(zip(possible, best_vertices(points, k=possible), strict=True))
    uniform = {count: uniform_vertices(len(points), count) for count in possible}
    turns = _turn_vertices(points, possible)
    return PolylineError(*(_errors(points, chosen, k) for chosen in (best, uniform, turns)))


def polyline_error_of(
    points: Float[Tensor, "frames channels"], vertices: Int64[Tensor, "vertices"]
) -> Float[Tensor, ""]:
    """Squared error of interpolating linearly in time between given frames, `sum_t ||f[t] - f~[t]||^2`.

    Parameters
    ----------
    points
        `[T, F]`, raw or at unit length.
    vertices
        `[k]` ascending indices of frames, with both ends; ends of segments are `lengths.cumsum(0) - 1`, and 0.

    Returns
    -------
    A scalar in squared feature units, float32; residuals and their sum in float64.

    Raises
    ------
    ValueError
        If the vertices do not ascend from 0 to T - 1.
    """
    T = len(points)
    given = vertices.tolist()
    if not given or given[0] != 0 or given[-1] != T - 1 or any(a >= b for a, b in pairwise(given)):
        raise ValueError(f"vertices={given} given, expected ascending frames from 0 to {T - 1}")
    f = points.double()
    vertices = vertices.to(f.device)
    time = torch.arange(T, device=f.device)
    right = torch.searchsorted(vertices, time)
    left = (right - 1).clamp_min(0)
    start, end = vertices[left], vertices[right]
    share = ((time - start).double() / (end - start).clamp_min(1))[:, None]
    error: Tensor = (f - torch.lerp(f[start], f[end], share)).square().sum()
    return error.float()


def segment_costs(points: Float[Tensor, "frames channels"]) -> Float[Tensor, "frames frames"]:
    """Squared error of one straight piece from frame i to frame j, for all pairs.

    With `w = (s - i) / (j - i)` the sum over s of `||f[s] - (1 - w) f[i] - w f[j]||^2` is expanded into inner products;
    sums over s are differences of prefix sums of the Gram matrix, so that all pairs cost O(T^2 F). Points are centred
    and everything is float64: what cancels is about 1e-16 T times the sum of squares.

    Parameters
    ----------
    points
        `[T, F]`.

    Returns
    -------
    `[T, T]` float64 in squared feature units, infinite where j <= i.
    """
    f = points.double()
    f = f - f.mean(0)
    gram = f @ f.T
    time = torch.arange(len(f), dtype=torch.float64, device=f.device)
    start, length = time[:, None], (time - time[:, None]).clamp_min(1)
    square = gram.diagonal()
    # sums over start <= s < end of <f[s], f[start]> and <f[s], f[end]>, plain and weighted by w
    plain_start, plain_end = _sums_between(gram)
    timed_start, timed_end = _sums_between(gram * time)
    weighted_start = (timed_start - start * plain_start) / length
    weighted_end = (timed_end - start * plain_end) / length
    total = square.cumsum(0) - square
    cost = (
        total
        - total[:, None]
        - 2 * (plain_start - weighted_start + weighted_end)
        + square[:, None] * (length + 1) * (2 * length + 1) / (6 * length)
        + 2 * gram * (length**2 - 1) / (6 * length)
        + square * (length - 1) * (2 * length - 1) / (6 * length)
    ).clamp_min(0)
    return cost.masked_fill(time <= start, torch.inf)


def best_vertices(points: Float[Tensor, "frames channels"], *, k: tuple[int, ...]) -> list[Int64[Tensor, "_"]]:
    """For each k the k frames, both ends among them, between which linear interpolation has the least squared error.

    A dynamic programme over the last vertex but one, O(k T^2) after `segment_costs`; exact up to their rounding, ties
    to the lowest index.

    Parameters
    ----------
    points
        `[T, F]`.
    k
        Numbers of vertices, each from 2 to T.

    Returns
    -------
    One tensor of ascending indices per k.

    Raises
    ------
    ValueError
        If a k is below 2 or above T.
    """
    T = len(points)
    if not all(2 <= count <= T for count in k):
        raise ValueError(f"k={k} given, expected numbers from 2 to T = {T}")
    cost = segment_costs(points).cpu().numpy()
    total, before = cost[0], {}
    for count in range(3, max(k, default=2) + 1):
        through = total[:, None] + cost
        before[count] = through.argmin(0)
        total = through.min(0)
    return [_path(before, count, T - 1).to(points.device) for count in k]


def uniform_vertices(frames: int, k: int) -> Int64[Tensor, "k"]:
    """Frames at equal distance, k of them with both ends, rounded to the nearest frame, halves up.

    Raises
    ------
    ValueError
        If k is below 2 or above the number of frames.
    """
    if not 2 <= k <= frames:
        raise ValueError(f"k={k} given, expected a number from 2 to T = {frames}")
    return (2 * torch.arange(k) * (frames - 1) + k - 1) // (2 * (k - 1))


def _sums_between(
    products: Float[Tensor, "frames frames"],
) -> tuple[Float[Tensor, "frames frames"], Float[Tensor, "frames frames"]]:
    """Sums over i <= s < j of row i, and of row j, for all i < j."""
    prefix = products.cumsum(1) - products
    at_own = prefix.diagonal()
    return prefix - at_own[:, None], at_own - prefix.T


def _path(before: dict[int, Shaped[np.ndarray, "frames"]], count: int, last: int) -> Int64[Tensor, "_"]:
    """The vertices that lead to the last one, followed backwards."""
    path = [last]
    for left in range(count, 2, -1):
        path.append(int(before[left][path[-1]]))
    return torch.tensor([0, *reversed(path)])


def _turn_vertices(points: Float[Tensor, "frames channels"], k: tuple[int, ...]) -> dict[int, Int64[Tensor, "_"]]:
    """Both ends and the k - 2 sharpest turns, for each k for which there are as many."""
    kappa = curvature(points, convention="geometric")
    inner = {count: sharpest(kappa, count - 2).sort().values for count in k}
    last = len(points) - 1
    return {
        count: torch.tensor([0, *frames.tolist(), last]) for count, frames in inner.items() if len(frames) == count - 2
    }


def _errors(
    points: Float[Tensor, "frames channels"], vertices: dict[int, Int64[Tensor, "_"]], k: tuple[int, ...]
) -> Float[Tensor, "k"]:
    """Error for each k, NaN where no vertices are given."""
    nothing = points.new_full((), torch.nan, dtype=torch.float32)
    return torch.stack([polyline_error_of(points, vertices[n]) if n in vertices else nothing for n in k])
