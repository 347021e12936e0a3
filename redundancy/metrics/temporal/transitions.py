"""How much of a frame the frames before already say.

Everything is computed in float32 from whatever dtype comes in, sums over a video in float64. A zero vector has no
direction: its cosines are NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.kernels.cosines import (
    blocks_of_transitions,
    frames_per_block,
    shifted_cosines,
)
from redundancy.metrics.registry import NULLS, metric
from redundancy.metrics.temporal.series import mean_step
from redundancy.tokens import TokenGrid

# Cosines of float32 tokens that differ by less are equal up to rounding.
TIE = 1e-6


@metric(
    dims=("transition",),
    unit="1",
    bounds=(-1, 1),
    higher="more redundant: the next frame looks like this one",
    source="FastVID (arXiv:2503.11187), section 3.2",
    known=("static video: 1", "features at 60 degrees: 0.5"),
    nulls=("shuffle_frames", "gaussian"),
    undefined="next to a zero vector",
    scale=0,
    block="transition",
)
def transition_similarity(frame_features: Float[Tensor, "frames channels"]) -> Float[Tensor, "transitions"]:
    """Cosine of the features of neighbouring frames, `s[t] = cos(f[t], f[t+1])`.

    Parameters
    ----------
    frame_features
        `[T, F]`.

    Returns
    -------
    `[T-1]` float32 in [-1, 1], 1 for a repeated frame; NaN next to a zero vector. Norms and products are summed in
    float64, so that equal pairs of frames have exactly equal similarities.

    Source: FastVID (arXiv:2503.11187), section 3.2.
    """
    f = frame_features.double()
    unit = f / torch.linalg.vector_norm(f, dim=-1, keepdim=True)
    similarity: Tensor = (unit[:-1] * unit[1:]).sum(-1).float()
    return similarity


@metric(
    dims=("transition", "token"),
    unit="1",
    bounds=(-1, 1),
    higher="more redundant: the next frame holds the same content at this place",
    source="HoliTom (arXiv:2505.21334), section 3.2",
    known=("static video: 1", "tokens at 60 degrees: 0.5"),
    nulls=NULLS,
    undefined="next to a zero token",
    scale=0,
    token_order="equivariant",
    block="transition",
)
def token_persistence(tokens: Float[Tensor, "frames tokens channels"]) -> Float[Tensor, "transitions tokens"]:
    """Cosine of the tokens at the same place of neighbouring frames, `f[t, n] = cos(x[t, n], x[t+1, n])`.

    Parameters
    ----------
    tokens
        `[T, N, D]`.

    Returns
    -------
    `[T-1, N]` float32 in [-1, 1]; NaN next to a zero token.

    Source: HoliTom (arXiv:2505.21334), section 3.2.
    """
    x = tokens.float()
    T, N, D = x.shape
    # one batched product of rows and columns: no [T, N, D] temporary
    product = torch.bmm(x[:-1].reshape(-1, 1, D), x[1:].reshape(-1, D, 1)).reshape(max(T - 1, 0), N)
    norm = torch.linalg.vector_norm(x, dim=-1)
    similarity: Tensor = product / (norm[:-1] * norm[1:])
    return similarity


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
    source="own",
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
    Similarity `[T-1, N]` in [-1, 1] and displacement `[T-1, N, 2]` (rows, columns) in cells, float32; NaN at a zero
    token and where all tokens within reach are zero.

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


@metric(
    dims=("tau",),
    unit="1",
    bounds=(0, 1),
    higher="more redundant: more places of more transitions stay as they are",
    source="own, after HoliTom (arXiv:2505.21334), section 3.2",
    known=("static video: 1", "persistence .55, .65, .75, .85 at tau .5, .6, .7, .8, .9: 1, .75, .5, .25, 0"),
    nulls=NULLS,
    undefined="without a transition between tokens that have a direction",
    scale=0,
    token_order="invariant",
)
def static_fraction(
    token_persistence: Float[Tensor, "transitions tokens"],
    *,
    tau: Sequence[int | float] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
) -> Float[Tensor, "tau"]:
    """Share of places and transitions whose persistence is at least `tau`, a curve over tau.

    Parameters
    ----------
    token_persistence
        `[T-1, N]`; NaN is left out.
    tau
        Thresholds in [-1, 1].

    Returns
    -------
    `[len(tau)]` float32 in [0, 1]; NaN if no persistence is defined.

    Raises
    ------
    ValueError
        If a threshold is no cosine.

    Source: own, after HoliTom (arXiv:2505.21334), section 3.2.
    """
    _require_cosines(tau)
    known = token_persistence[~token_persistence.isnan()]
    none = known.new_empty(0, dtype=torch.float32)
    return torch.stack([(known >= t).float().mean() for t in tau]) if len(tau) else none


def _require_cosines(tau: Sequence[int | float] | int | float) -> None:
    """Refuse thresholds that are no cosines."""
    if not all(-1 <= t <= 1 for t in (tau if isinstance(tau, Sequence) else [tau])):
        raise ValueError(f"tau={tau} given, expected cosines in [-1, 1]")


class RunLength(NamedTuple):
    """Mean length of the runs of each place, `[N]`, in frames and in seconds."""

    run_length: Float[Tensor, "tokens"]
    run_length_seconds: Float[Tensor, "tokens"]


@metric(
    dims={"run_length": ("token",), "run_length_seconds": ("token",)},
    unit="frames; run_length_seconds in s",
    bounds=(1, float("inf")),
    higher="more redundant: the content of a place stays for longer",
    source="own, after HoliTom (arXiv:2505.21334), section 3.2",
    known=("static video: T", "two halves with one cut between: T/2", "cut at every transition: 1"),
    nulls=NULLS,
    undefined="in s for one frame; at a place none of whose T-1 persistences is defined",
    scale=None,
)
def run_length(
    token_persistence: Float[Tensor, "transitions tokens"],
    frame_time: Float[Tensor, "times"],
    *,
    tau: int | float = 0.8,
) -> RunLength:
    """Mean length of the maximal runs of frames in which the persistence of a place stays at least `tau`.

    The runs of a place part its T frames, so their mean length is T / (1 + transitions below tau). A transition of
    undefined persistence ends a run. In seconds a frame lasts one mean step of `frame_time`, the last one as well: a
    run of k frames lasts k steps, a run of one frame one step.

    Parameters
    ----------
    token_persistence
        `[T-1, N]`.
    frame_time
        `[T]` seconds, ascending.
    tau
        Threshold in [-1, 1].

    Returns
    -------
    `[N]` frames in 1..T and `[N]` seconds, float32. A video of one frame has runs of 1 frame and, as it has no step,
    of NaN seconds. NaN at a place none of whose T-1 persistences is defined.

    Raises
    ------
    ValueError
        If tau is no cosine, or `frame_time` is not `[T]` or does not ascend.

    Source: own, after HoliTom (arXiv:2505.21334), section 3.2.
    """
    _require_cosines(tau)
    transitions = len(token_persistence)
    step = mean_step(frame_time, transitions + 1).to(token_persistence.device)
    runs = 1 + (~(token_persistence >= tau)).sum(0)
    frames = (transitions + 1) / runs.double()
    if transitions:
        frames = frames.masked_fill(token_persistence.isnan().all(0), torch.nan)
    return RunLength(frames.float(), (frames * step).float())


class _SkillSums(NamedTuple):
    """Sums over the frames so far, float64."""

    frames: int
    first: Tensor
    total: Tensor
    squares: Tensor
    step: Tensor


def _skill_sums(
    sums: _SkillSums | None, block: Float[Tensor, "frames tokens channels"], before: Tensor | None
) -> _SkillSums:
    if sums is None:
        total = block.new_zeros(block.shape[1:], dtype=torch.float64)
        sums = _SkillSums(0, block[0].double(), total, total.new_zeros(()), total.new_zeros(()))
    total, squares, step = sums.total.clone(), sums.squares, sums.step
    for frame, previous in zip(block, [before, *block[:-1]], strict=True):
        x = frame.float()
        total += x
        squares = squares + torch.linalg.vector_norm(x, dtype=torch.float64).square()
        if previous is not None:
            step = step + torch.linalg.vector_norm(x - previous.float(), dtype=torch.float64).square()
    return _SkillSums(sums.frames + len(block), sums.first, total, squares, step)


def _skill(sums: _SkillSums) -> Float[Tensor, ""]:
    """The skill from sums: `sum ||x - m||^2 = sum ||x||^2 - 2 m . sum x + count ||m||^2`, without the first frame."""
    T, first, total, squares, step = sums
    mean = total / T
    spread = squares - first.square().sum() - 2 * (mean * (total - first)).sum() + (T - 1) * mean.square().sum()
    skill = torch.where(step == 0, 1.0, 1 - step / spread).float()
    return skill if T > 1 else torch.full_like(skill, torch.nan)


@metric(
    dims=(),
    unit="1",
    bounds=(-float("inf"), 1),
    higher="more redundant: the frame before foretells a frame better than the mean of the video does",
    source="own, the skill score of a persistence forecast",
    known=("static video: 1", "T = 2: -3", "white noise: 1 - 2T/(T-1), about -1"),
    nulls=NULLS,
    undefined="for one frame",
    scale=0,
    token_order="invariant",
    parts=(_skill_sums, _skill),
)
def persistence_skill(tokens: Float[Tensor, "frames tokens channels"]) -> Float[Tensor, ""]:
    """How much better the frame before foretells a frame than the mean over all frames does.

    `1 - sum of ||x[t+1, n] - x[t, n]||^2 / sum of ||x[t+1, n] - mean over t of x[t, n]||^2`; 1 for a static video.

    Parameters
    ----------
    tokens
        `[T, N, D]`.

    Returns
    -------
    Float32, at most 1; NaN for one frame. Differences in float32, their squares summed in float64.

    Source: own, the skill score of a persistence forecast.
    """
    T, N, D = tokens.shape
    total = tokens.new_zeros(N, D, dtype=torch.float64)
    step, spread = total.new_zeros(()), total.new_zeros(())
    size = frames_per_block(tokens)
    for start in range(0, T, size):
        total += tokens[start : start + size].float().sum(0)
    mean = (total / T).float()
    for block in blocks_of_transitions(tokens):
        step += torch.linalg.vector_norm(block[1:] - block[:-1], dtype=torch.float64).square()
        spread += torch.linalg.vector_norm(block[1:] - mean, dtype=torch.float64).square()
    skill = torch.where(step == 0, 1.0, 1 - step / spread).float()
    return skill if T > 1 else torch.full_like(skill, torch.nan)
