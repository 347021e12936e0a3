"""Steps of the path that frame features take through feature space: their lengths, and the way as a whole.

`points` are frame features, raw or at unit length (`frame_representation`); lengths are in the units of the features.
Differences of frames and their sums of squares are float64, results float32.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.registry import metric

ORDER_NULLS = ("shuffle_frames", "gaussian")


class Speed(NamedTuple):
    """Length of each step, per frame and per second."""

    speed: Float[Tensor, "transitions"]
    speed_per_second: Float[Tensor, "transitions"]


@metric(
    dims={"speed": ("transition",), "speed_per_second": ("transition",)},
    unit="feature units per frame, or per second where the name says so",
    bounds=(0, float("inf")),
    higher="more change from frame to frame",
    known=("straight and uniform: constant",),
    nulls=ORDER_NULLS,
    undefined="per second between frames at the same time",
    scale=1,
    block="transition",
)
def speed(points: Float[Tensor, "frames channels"], frame_time: Float[Tensor, "frames"]) -> Speed:
    """Length of each step, `||f[t+1] - f[t]||`, and the same divided by the time between the two frames.

    Parameters
    ----------
    points
        `[T, F]`.
    frame_time
        `[T]` seconds.

    Returns
    -------
    Two `[T-1]` float32, per frame and per second.
    """
    length = norm(steps(points))
    seconds = frame_time.double().diff().to(length.device)
    per_second = torch.where(seconds > 0, length / seconds, torch.nan)
    return Speed(length.float(), per_second.float())


@metric(
    dims=(),
    unit="feature units",
    bounds=(0, float("inf")),
    higher="a longer way through feature space",
    known=("line: its length", "closed square: its circumference", "no motion: 0"),
    nulls=ORDER_NULLS,
    undefined="with a single frame",
    scale=1,
)
def arc_length(points: Float[Tensor, "frames channels"]) -> Float[Tensor, ""]:
    """Sum of the lengths of all steps.

    Parameters
    ----------
    points
        `[T, F]`.

    Returns
    -------
    A scalar.
    """
    length: Tensor = norm(steps(points)).sum()
    return length.float() if len(points) > 1 else torch.full_like(length, torch.nan, dtype=torch.float32)


@metric(
    dims=(),
    unit="1",
    bounds=(0, 1),
    higher="a straighter path: 1 a line walked in one direction",
    known=("line: 1", "closed loop: 0", "two sides of a square: sqrt(2) / 2"),
    nulls=ORDER_NULLS,
    undefined="with a single frame and where nothing moves",
    scale=0,
)
def straightness(points: Float[Tensor, "frames channels"]) -> Float[Tensor, ""]:
    """Distance from the first frame to the last over the arc length.

    Parameters
    ----------
    points
        `[T, F]`.

    Returns
    -------
    A scalar.
    """
    f = points.double()
    ratio: Tensor = norm(f[-1] - f[0]) / norm(steps(points)).sum()  # 0 / 0 is NaN: no motion
    return ratio.float()


def steps(points: Float[Tensor, "frames channels"]) -> Float[Tensor, "transitions channels"]:
    """Differences of neighbouring frames, float64."""
    return points.double().diff(dim=0)


def norm(x: Float[Tensor, "*others channels"]) -> Float[Tensor, "*others"]:
    """Euclidean length of the last axis."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1)
    return length
