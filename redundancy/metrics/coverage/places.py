"""Which frames and cells a reduction covers: those of its anchors; anchors on newlines count nowhere."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import max_pool2d

from redundancy.metrics.kernels.placement import anchors_per_frame, on_device
from redundancy.metrics.registry import metric
from redundancy.metrics.trajectory import turn_frames
from redundancy.reduction import Reduction


class LargestGap(NamedTuple):
    """Longest run of frames without an anchor, in steps and in seconds."""

    largest_gap: Float[Tensor, ""]
    largest_gap_seconds: Float[Tensor, ""]


@metric(
    dims={"largest_gap": (), "largest_gap_seconds": ()},
    unit="steps",
    bounds=(0, math.inf),
    higher="a longer stretch of the video left no token",
    known=("keep-all: 0", "frames 0 and 4 of 6 at 2 s each: 3 steps, 8 s", "only frame 0 of T: T - 1"),
)
def largest_gap(reduction: Reduction, frame_time: Float[Tensor, "frames"]) -> LargestGap:
    """Longest run of frames without an anchor, and the time from the kept frame before it to the one after it.

    A run at an end of the clip counts; its time is to the clip's first or last frame.

    Parameters
    ----------
    frame_time
        `[T]` seconds.

    Returns
    -------
    Steps, and seconds of the same run (of equally long runs the one that takes longest); 0 and 0 without a gap.
    """
    reduction = on_device(reduction, frame_time.device)
    T, time = reduction.grid.frames, frame_time.double()
    marks = torch.cat(
        [time.new_tensor([-1]).long(), anchors_per_frame(reduction).nonzero().flatten(), time.new_tensor([T]).long()]
    )
    steps = marks.diff() - 1
    seconds = time[marks[1:].clamp(max=T - 1)] - time[marks[:-1].clamp(min=0)]
    longest = steps.max()
    of_longest = seconds.masked_fill((steps < longest) | (steps == 0), 0).max()
    return LargestGap(longest.float(), of_longest.float())


@metric(
    dims=(),
    unit="1",
    bounds=(0, 1),
    higher="more frames keep a token",
    known=("keep-all: 1", "k of T frames with an anchor: k/T"),
)
def frames_covered(reduction: Reduction) -> Float[Tensor, ""]:
    """Share of frames with at least one anchor.

    Returns
    -------
    A scalar.

    Examples
    --------
    >>> frames_covered(Reduction.from_selection([0, 1], grid=tokens.grid))
    tensor(0.2500)
    """
    return (anchors_per_frame(reduction) > 0).float().mean()


@metric(
    dims=(),
    unit="1",
    bounds=(0, 1),
    higher="turns of the trajectory keep their share of tokens",
    known=("keep-all: 1", "one of two turn frames kept alone: 1/2"),
    undefined="where no frame has a curvature: fewer than 3 frames, or no motion",
)
def turn_coverage(
    reduction: Reduction, points: Float[Tensor, "frames channels"], *, share: int | float = 0.1
) -> Float[Tensor, ""]:
    """Share of turn frames whose number of anchors is at least the mean over all frames.

    Parameters
    ----------
    points
        `[T, F]` the trajectory.
    share
        Of all frames that are turn frames, see `turn_frames`.

    Returns
    -------
    A scalar.

    Raises
    ------
    ValueError
        If the share is outside (0, 1].
    """
    count = anchors_per_frame(on_device(reduction, points.device))
    turns = turn_frames(points, share=share)
    covered: Tensor = (turns * (count * len(count) >= count.sum())).sum() / turns.sum()
    return covered


class CellsCovered(NamedTuple):
    """Share of cells near an anchor of their frame: mean over frames, and per frame `[T]`."""

    cells_covered: Float[Tensor, ""]
    cells_covered_in_frame: Float[Tensor, "frames"]


@metric(
    dims={"cells_covered": (), "cells_covered_in_frame": ("frame",)},
    unit="1",
    bounds=(0, 1),
    higher="anchors spread over more of the picture",
    known=("keep-all: 1", "the middle of a 3 x 3 grid: 1", "a corner of a 4 x 4 grid: 1/4"),
)
def cells_covered(reduction: Reduction, *, radius: int = 1) -> CellsCovered:
    """Share of grid cells within a Chebyshev distance of an anchor of their frame, averaged over all frames.

    Parameters
    ----------
    radius
        Distance in cells.

    Returns
    -------
    The mean, and the share of each frame (0 for a frame without anchors).

    Raises
    ------
    ValueError
        If the radius is negative.
    """
    if radius < 0:
        raise ValueError(f"radius={radius} given, expected 0 or more cells")
    T, rows, cols = reduction.grid
    anchors = torch.zeros(T * rows * cols, device=reduction.anchor.device)
    anchors[reduction.anchor_token[reduction.anchor_token >= 0]] = 1
    near = max_pool2d(anchors.view(T, 1, rows, cols), 2 * radius + 1, stride=1, padding=radius)
    share = near.flatten(1).mean(1)
    return CellsCovered(share.mean(), share)
