"""What the new numbers of a reduction's outputs do to their order, their distance to the text and their pace in time.

Computed in float64, returned in float32.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from redundancy.metrics.kernels.placement import (
    assigned_positions,
    check_positions,
    last_number,
    on_device,
    position_coordinates,
)
from redundancy.metrics.registry import metric
from redundancy.reduction import Reduction

NOT_GIVEN = "; renumbered outputs of a reduction inside the model unless `assigned` is given"


class DistanceToText(NamedTuple):
    """Distance of each output to the last prompt token `[K, A]`: as placed, before, and their ratio."""

    distance_to_text: Float[Tensor, "kept rope_axis"]
    distance_to_text_before: Float[Tensor, "kept rope_axis"]
    distance_to_text_ratio: Float[Tensor, "kept rope_axis"]


@metric(
    dims={
        "distance_to_text": ("kept", "rope_axis"),
        "distance_to_text_before": ("kept", "rope_axis"),
        "distance_to_text_ratio": ("kept", "rope_axis"),
    },
    unit="position ids",
    bounds=(-math.inf, math.inf),
    higher="the question is further away",
    known=("anchor placement: ratio 1", "renumbered, a uniform half kept: ratio about 1/2"),
    undefined="for outputs whose anchor is a newline; renumbered, where it is not known how much text follows the video"
    + NOT_GIVEN,
)
def distance_to_text(
    reduction: Reduction,
    positions: Shaped[Tensor, "axes frames tokens"],
    last_position: int,
    *,
    assigned: Shaped[Tensor, "axes kept"] | None = None,
    new_last_position: int | None = None,
    text_after: int | None = None,
) -> DistanceToText:
    """Position ids between each output and the last prompt token, as placed and before the reduction.

    Parameters
    ----------
    positions
        `[A, T, N]` the model's ids.
    last_position
        Id of the last prompt token before the reduction.
    assigned
        `[A, K]` ids of the outputs where they are known; `assigned_positions` says what is taken otherwise.
    new_last_position
        Id of the last prompt token after the reduction where it is known; `last_number` says what is taken otherwise.
    text_after
        Number of columns behind the video, newlines after its rows not among them; `measure` takes it from a capture.

    Returns
    -------
    New distance, that of the output's anchor before, and new / old (NaN where the old is 0).

    Raises
    ------
    ValueError
        If shapes do not fit, or the last position lies before the video.
    """
    check_positions(reduction, positions)
    if last_position < int(positions.min()):  # text may begin before the video's largest id: grids are wider than long
        raise ValueError(f"last_position={last_position} given, expected at least the video's {int(positions.min())}")
    reduction = on_device(reduction, positions.device)
    last: Tensor | int = (
        last_number(reduction, positions, last_position, text_after=text_after)
        if new_last_position is None
        else new_last_position
    )
    new = last - assigned_positions(reduction, positions, assigned=assigned)
    old = last_position - position_coordinates(reduction.anchor_token, positions)
    return DistanceToText(new.float(), old.float(), (new / old.masked_fill(old == 0, torch.nan)).float())


@metric(
    dims=(),
    unit="1",
    bounds=(0, 1),
    higher="the outputs stand in another order than their anchors in the video",
    known=("ascending anchors: 0", "descending anchors: 1", "one of three moved past the two others: 2/3"),
    undefined="with fewer than two outputs on video tokens",
)
def inversions(reduction: Reduction) -> Float[Tensor, ""]:
    """Share of pairs of outputs in another order than their anchors' raster-time order (frame, row, column).

    Outputs on newlines take no part; two outputs on one anchor are in order. Counted level by level, as merge sort
    does: O(K log^2 K).

    Returns
    -------
    A scalar.
    """
    order = reduction.anchor_token[reduction.anchor_token >= 0]
    pairs = len(order) * (len(order) - 1) / 2
    count = _count_inversions(order)
    return (count.double() / pairs if pairs else torch.full_like(count, torch.nan, dtype=torch.float64)).float()


def _count_inversions(order: Tensor) -> Tensor:
    """Pairs i < j with order[i] > order[j]; pads to a power of two with values that no one exceeds."""
    width = 1 << max(len(order) - 1, 0).bit_length()
    runs = order.new_full((width, 1), torch.iinfo(torch.int64).max)
    runs[: len(order), 0] = order
    count = order.new_zeros(())
    while len(runs) > 1:
        first, second = runs[::2].contiguous(), runs[1::2].contiguous()
        count = count + torch.searchsorted(second, first).sum()
        runs = torch.cat([first, second], 1).sort(1).values
    return count


class TimeWarp(NamedTuple):
    """Seconds by which each frame's outputs seem moved in time, and their mean number, `[T]`."""

    time_warp: Float[Tensor, "frames"]
    time_warp_number: Float[Tensor, "frames"]


@metric(
    dims={"time_warp": ("frame",), "time_warp_number": ("frame",)},
    unit="s",
    bounds=(-math.inf, math.inf),
    higher="the frame's outputs stand where a later frame's would on an even clock",
    known=("keep-all at even times: 0", "3, 1 and 1 tokens of three frames at 0, 1, 2 s, renumbered: 0, 1/3, 0"),
    undefined="for frames without an output; with outputs in fewer than two frames, or all at one number" + NOT_GIVEN,
)
def time_warp(
    reduction: Reduction,
    positions: Shaped[Tensor, "axes frames tokens"],
    frame_time: Float[Tensor, "frames"],
    *,
    assigned: Shaped[Tensor, "axes kept"] | None = None,
) -> TimeWarp:
    """Assigned number against frame time: how far the numbers run ahead of an even clock.

    1. `u[t]` = mean first-axis number of the outputs anchored in frame t;
    2. a straight line takes u of the first and the last such frame to their times;
    3. `time_warp[t]` = that line at u[t] minus `frame_time[t]`.

    Parameters
    ----------
    positions
        `[A, T, N]` the model's ids; the first axis is time, or the index in the prompt.
    frame_time
        `[T]` seconds.
    assigned
        `[A, K]` ids of the outputs where they are known; `assigned_positions` says what is taken otherwise.

    Returns
    -------
    The warp in seconds, 0 at the first and last frame with outputs, and u.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    reduction = on_device(reduction, positions.device)
    place = assigned_positions(reduction, positions, assigned=assigned)[:, 0]
    time = frame_time.to(positions.device).double()
    video = reduction.anchor_token >= 0
    frame = reduction.anchor_token[video] // reduction.grid.tokens_per_frame
    empty = torch.zeros_like(time)
    number = empty.index_add(0, frame, place[video]) / empty.index_add(0, frame, torch.ones_like(place[video]))
    known = (~number.isnan()).nonzero().flatten()
    if not len(known):
        return TimeWarp(number.float(), number.float())
    a, b = known[0], known[-1]
    run = number[b] - number[a]
    clock = time[a] + (number - number[a]) * (time[b] - time[a]) / run.masked_fill(run == 0, torch.nan)
    return TimeWarp((clock - time).float(), number.float())
