"""How far the outputs of a reduction stand from where their content came from, and how far their sources lie apart.

Two coordinate systems, never mixed: `grid` (temporal step, row, column) and `position` (the model's own ids). In both,
newlines and entries of weight 0 are no sources, and the weights of the others are normalised (`placement`). Computed in
float64, returned in float32.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from redundancy.metrics.kernels.placement import (
    assigned_positions,
    check_positions,
    grid_coordinates,
    on_device,
    position_coordinates,
    video_sources,
)
from redundancy.metrics.registry import metric
from redundancy.reduction import Reduction

NO_SOURCE = "for outputs without a video token among their sources"
NO_PLACE = "for outputs whose anchor is a newline, or without a video token among their sources"
NOT_GIVEN = "; renumbered outputs of a reduction inside the model unless `assigned` is given"


class GridDisplacement(NamedTuple):
    """Displacement per grid axis `[K, 3]`, and its size in space (cells) and time (steps, seconds) `[K]`."""

    grid_displacement: Float[Tensor, "kept grid_axis"]
    grid_displacement_space: Float[Tensor, "kept"]
    grid_displacement_steps: Float[Tensor, "kept"]
    grid_displacement_seconds: Float[Tensor, "kept"]


@metric(
    dims={
        "grid_displacement": ("kept", "grid_axis"),
        "grid_displacement_space": ("kept",),
        "grid_displacement_steps": ("kept",),
        "grid_displacement_seconds": ("kept",),
    },
    unit="steps or cells",
    bounds=(-math.inf, math.inf),
    higher="the content comes from later, lower, or further right than the output stands",
    known=("keep-all: 0", "two tokens dt steps apart, placed on the first: dt/2"),
    undefined="where the placement is renumbered or given, which leaves the grid; " + NO_PLACE,
)
def grid_displacement(reduction: Reduction, frame_time: Float[Tensor, "frames"]) -> GridDisplacement:
    """Weighted mean place of an output's sources on the grid minus the place it takes, `sum_n w_kn p_n - q_k`.

    Parameters
    ----------
    reduction
        Its placement says what q is: the anchor's cell, the sources' centroid (then the displacement is 0), or no cell
        at all (renumbered, given).
    frame_time
        `[T]` seconds of the temporal steps.

    Returns
    -------
    Per axis (t, row, col) in steps and cells; the Euclidean length over (row, col), the absolute value over t, and the
    absolute value in seconds of the steps' own times.
    """
    reduction = on_device(reduction, frame_time.device)
    sources = video_sources(reduction)
    coordinates = _with_time(sources.token, reduction, frame_time)
    if reduction.placement == "centroid":
        place = sources.mean(coordinates)
    else:
        place = _with_time(reduction.anchor_token, reduction, frame_time)
    if reduction.placement in ("renumbered", "given"):
        place = torch.full_like(place, torch.nan)
    moved = sources.mean(coordinates - place[sources.output]).float()
    return GridDisplacement(
        moved[:, :3], torch.linalg.vector_norm(moved[:, 1:3], dim=1), moved[:, 0].abs(), moved[:, 3].abs()
    )


def _with_time(token: Tensor, reduction: Reduction, frame_time: Tensor) -> Float64[Tensor, "places four"]:
    """Step, row, column and seconds of tokens."""
    coordinates = grid_coordinates(token, reduction.grid)
    seconds = frame_time.double()[token.clamp(min=0) // reduction.grid.tokens_per_frame]
    return torch.cat([coordinates, seconds.masked_fill(token < 0, torch.nan)[:, None]], 1)


@metric(
    dims=("kept", "grid_axis"),
    unit="squared steps or cells",
    bounds=(0, math.inf),
    higher="the sources lie further apart",
    known=("keep-all: 0", "two tokens dt steps apart, equal weights: dt^2/4"),
    undefined=NO_SOURCE,
)
def grid_spread(reduction: Reduction) -> Float[Tensor, "kept grid_axis"]:
    """Variance of an output's sources about their centroid on the grid, `sum_n w_kn (p_n - centroid_k)^2`.

    Parameters
    ----------
    reduction
        In any placement: the spread is that of the sources.

    Returns
    -------
    `[K, 3]` over (t, row, col).

    Examples
    --------
    >>> grid_spread(Reduction.keep_all(tokens.grid)).max()
    tensor(0.)
    """
    sources = video_sources(reduction)
    coordinates = grid_coordinates(sources.token, reduction.grid)
    centroid = sources.mean(coordinates)
    return sources.mean((coordinates - centroid[sources.output]).square()).float()


class PositionDisplacement(NamedTuple):
    """Displacement per position axis `[K, A]`, and its size on the first axis and over the others `[K]`."""

    position_displacement: Float[Tensor, "kept rope_axis"]
    position_displacement_space: Float[Tensor, "kept"]
    position_displacement_time: Float[Tensor, "kept"]


@metric(
    dims={
        "position_displacement": ("kept", "rope_axis"),
        "position_displacement_space": ("kept",),
        "position_displacement_time": ("kept",),
    },
    unit="position ids",
    bounds=(-math.inf, math.inf),
    higher="the content comes from larger position ids than the output gets",
    known=("keep-all: 0", "two tokens dt apart, placed on the first: dt/2"),
    undefined=NO_PLACE + NOT_GIVEN + "; space on a one-dimensional index",
)
def position_displacement(
    reduction: Reduction,
    positions: Shaped[Tensor, "axes frames tokens"],
    *,
    assigned: Shaped[Tensor, "axes kept"] | None = None,
) -> PositionDisplacement:
    """Weighted mean position id of an output's sources minus the id it gets, `sum_n w_kn p_n - q_k`.

    Parameters
    ----------
    positions
        `[A, T, N]` the model's ids: A = 1, the index in the prompt, or 3 (t, h, w).
    assigned
        `[A, K]` ids of the outputs where they are known; `assigned_positions` says what is taken otherwise.

    Returns
    -------
    Per axis; Euclidean length over (h, w), NaN for A = 1; absolute value on the first axis, which for A = 1 is the
    index that runs through time and space.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    reduction = on_device(reduction, positions.device)
    place = assigned_positions(reduction, positions, assigned=assigned)
    sources = video_sources(reduction)
    moved = sources.mean(position_coordinates(sources.token, positions) - place[sources.output]).float()
    space = torch.linalg.vector_norm(moved[:, 1:], dim=1)
    if moved.shape[1] == 1:
        space = torch.full_like(space, torch.nan)
    return PositionDisplacement(moved, space, moved[:, 0].abs())


@metric(
    dims=("kept", "rope_axis"),
    unit="squared position ids",
    bounds=(0, math.inf),
    higher="the sources lie further apart",
    known=("keep-all: 0", "two tokens dt apart, equal weights: dt^2/4"),
    undefined=NO_SOURCE,
)
def position_spread(
    reduction: Reduction, positions: Shaped[Tensor, "axes frames tokens"]
) -> Float[Tensor, "kept rope_axis"]:
    """Variance of the position ids of an output's sources about their mean, `sum_n w_kn (p_n - centroid_k)^2`.

    Parameters
    ----------
    positions
        `[A, T, N]` the model's ids.

    Returns
    -------
    `[K, A]`, whatever the placement.

    Raises
    ------
    ValueError
        If the positions are not those of the reduction's video.
    """
    check_positions(reduction, positions)
    reduction = on_device(reduction, positions.device)
    sources = video_sources(reduction)
    coordinates = position_coordinates(sources.token, positions)
    centroid = sources.mean(coordinates)
    return sources.mean((coordinates - centroid[sources.output]).square()).float()
