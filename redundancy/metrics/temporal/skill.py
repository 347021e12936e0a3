"""How well the frame before foretells a frame."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.registry import NULLS, metric
from redundancy.metrics.temporal.cosines import (
    blocks_of_transitions,
    frames_per_block,
)


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
    Float32. Differences in float32, their squares summed in float64.
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
