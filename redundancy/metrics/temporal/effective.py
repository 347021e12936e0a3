"""How many unlike frames a video holds, from one feature per frame.

Everything is computed in float32 from whatever dtype comes in, sums over a video in float64. A zero vector has no
direction and is left out.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.registry import metric
from redundancy.metrics.temporal.cosines import (
    directions,
    effective_number,
)


@metric(
    dims=(),
    unit="frames",
    bounds=(1, float("inf")),
    higher="less redundant: the video says as much as that many unlike frames",
    source="own, the exponential of the von Neumann entropy of the frames' cosines",
    known=("static video: 1", "T orthonormal frames: T", "two directions, equally often: 2"),
    nulls=("gaussian",),
    undefined="if all frames are zero vectors",
    scale=0,
    frame_order="invariant",
)
def effective_frames(frame_features: Float[Tensor, "frames channels"]) -> Float[Tensor, ""]:
    """Number of unlike frames that hold as much information as the video.

    `exp(-sum of l ln l)`, l the eigenvalues of `F F^T / T`, rows of F the features at unit length.

    Parameters
    ----------
    frame_features
        `[T, F]`; zero vectors are left out, of T as well.

    Returns
    -------
    Float32, at most T. Computed in float64.
    """
    return effective_number(directions(frame_features).unit).float()


@metric(
    dims=(),
    unit="1",
    bounds=(0, 1),
    higher="more redundant: fewer unlike frames than frames",
    known=("static video: 1", "orthonormal frames: 0", "four frames of two directions, equally often: 2/3"),
    nulls=("gaussian",),
    undefined="with fewer than two frames that are no zero vectors",
    scale=0,
    frame_order="invariant",
)
def temporal_redundancy(frame_features: Float[Tensor, "frames channels"]) -> Float[Tensor, ""]:
    """Share of the frames that is redundant, `(T - effective_frames) / (T - 1)`.

    Parameters
    ----------
    frame_features
        `[T, F]`; zero vectors are left out, of T as well.

    Returns
    -------
    Float32.
    """
    unit = directions(frame_features).unit
    T = len(unit)
    redundant = (T - effective_number(unit)) / (T - 1) if T > 1 else unit.new_tensor(torch.nan)
    return redundant.float()
