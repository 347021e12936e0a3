"""The best match of each token near its place in the frame before.

Everything is computed in float32 from whatever dtype comes in, sums over a video in float64. A zero vector has no
direction: its cosines are NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.registry import NULLS, metric
from redundancy.metrics.temporal.cosines import (
    blocks_of_transitions,
    shifted_cosines,
)
from redundancy.metrics.temporal.transitions import token_persistence
from redundancy.tokens import TokenGrid

# Cosines of float32 tokens that differ by less are equal up to rounding.
TIE = 1e-6


class MotionCompensation(NamedTuple):
    """Best match of each token in the frame before.

    `motion_compensated_similarity` `[T-1, N]`; `displacement` `[T-1, N, 2]` from the token to its match, rows and
    columns of the grid.
    """

    motion_compensated_similarity: Float[Tensor, "transitions tokens"]
    displacement: Float[Tensor, "transitions tokens 2"]


@metric(
    dims={
        "motion_compensated_similarity": ("transition", "token"),
        "displacement": ("transition", "token", "axis"),
    },
    unit="1; displacement in cells",
    bounds=(-1, 1),
    higher="more redundant: the frame before holds the same content here or next to here",
    known=("static video: 1, displacement 0", "content shifted by one cell: 1 away from the border, shift found"),
    nulls=NULLS,
    undefined="at a zero token, and where all tokens within reach are zero",
    scale=0,
    block="transition",
)
def motion_compensated_similarity(
    tokens: Float[Tensor, "frames tokens channels"], grid: TokenGrid, *, radius: int = 1
) -> MotionCompensation:
    """Cosine of each token to its best match near the same place of the frame before.

    `max over m of cos(x[t+1, n], x[t, m])`, m within Chebyshev distance `radius` of n on the grid; at least the token
    persistence. `displacement` is the place of the best m less the place of n, so content that moves one column to
    the right is found at (0, -1): where it came from. Cosines within 1e-6 of the largest are ties (rounding of
    float32); they go to the shortest displacement, then to the lowest index m.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    grid
        T frames of rows * cols = N places.
    radius
        Cells; 0 gives the token persistence.

    Returns
    -------
    Similarity `[T-1, N]` and displacement `[T-1, N, 2]` (rows, columns), float32.

    Raises
    ------
    ValueError
        If the tokens do not fit the grid, or the radius is negative.
    """
    T, N, _ = tokens.shape
    if (grid.frames, grid.tokens_per_frame) != (T, N):
        raise ValueError(f"grid={tuple(grid)} given, expected {T} frames of {N} tokens")
    if radius < 0:
        raise ValueError(f"radius={radius} given, expected at least 0 cells")
    shifts = _nearest_first(min(radius, grid.rows - 1), min(radius, grid.cols - 1))
    similarity = [torch.empty(0, N, device=tokens.device)]
    best = [torch.empty(0, N, dtype=torch.int64, device=tokens.device)]
    for block in blocks_of_transitions(tokens):
        x = block.reshape(len(block), grid.rows, grid.cols, -1)
        cosine = shifted_cosines(x, shifts=shifts[1:]).flatten(2)
        # the persistence itself for no shift, so that the best match is not below it by rounding
        cosine = torch.cat([token_persistence(block)[None], cosine]).nan_to_num(nan=-torch.inf)
        similarity.append(cosine.amax(0))
        best.append((cosine >= similarity[-1] - TIE).byte().argmax(0))
    found = torch.cat(similarity)
    displacement = torch.tensor(shifts, dtype=torch.float32, device=tokens.device)[torch.cat(best)]
    none = found.isinf()
    return MotionCompensation(found.masked_fill(none, torch.nan), displacement.masked_fill(none[..., None], torch.nan))


def _nearest_first(rows: int, cols: int) -> list[tuple[int, int]]:
    """Shifts by up to so many rows and columns: the shortest first, those of equal length in raster order."""
    shifts = [(r, c) for r in range(-rows, rows + 1) for c in range(-cols, cols + 1)]
    return sorted(shifts, key=lambda shift: shift[0] ** 2 + shift[1] ** 2)
