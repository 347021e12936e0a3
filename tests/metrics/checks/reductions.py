"""Random reductions, positions and rotary layouts for the checks of position and coverage."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from redundancy.reduction import PLACEMENTS, Reduction
from redundancy.tokens import RotaryLayout, TokenGrid

WITHOUT_IDS = tuple(name for name in PLACEMENTS if name != "given")


def random_grid(rng: np.random.Generator, T: int, N: int) -> TokenGrid:
    rows = int(rng.choice([r for r in range(1, N + 1) if N % r == 0]))
    return TokenGrid(T, rows, N // rows)


def with_newlines(grid: TokenGrid) -> torch.Tensor:
    """Slots of a span inside the model: the tokens of each grid row, then -1."""
    tokens = torch.arange(grid.frames * grid.tokens_per_frame).view(-1, grid.cols)
    return torch.cat([tokens, torch.full((len(tokens), 1), -1)], 1).flatten()


def random_merge(rng: np.random.Generator, grid: TokenGrid, slots: torch.Tensor, **report: Any) -> Reduction:
    """Random entries on random anchors; weights are quarters (0 among them), so that sums of them are exact."""
    size = len(slots)
    K = int(rng.integers(1, size + 1))
    target = np.concatenate([np.arange(K), rng.integers(0, K, rng.integers(0, 2 * size))])
    parts = [rng.permutation(size)[:K], rng.integers(0, size, len(target)), target]
    anchor, source, target = (torch.from_numpy(x).long() for x in parts)
    weight = torch.from_numpy(rng.integers(0, 5, len(target)) / 4)
    return Reduction(anchor, source, target, weight, slots, grid, **report)


def random_reduction(seed: int, T: int, N: int) -> Reduction:
    """By turns a selection, a merge, a merge inside the model with newlines, and everything; placements at random."""
    rng = np.random.default_rng(seed)
    grid, placement = random_grid(rng, T, N), str(rng.choice(WITHOUT_IDS))
    every = torch.arange(T * N)
    if seed % 4 == 0:
        chosen = torch.from_numpy(rng.permutation(T * N)[: rng.integers(1, T * N + 1)])
        return Reduction.from_selection(chosen, grid=grid, placement=placement)
    if seed % 4 == 1:
        return random_merge(rng, grid, every, placement=placement)
    if seed % 4 == 2:
        return random_merge(rng, grid, with_newlines(grid), placement=placement, layer=2)
    return Reduction.keep_all(grid, placement=placement)


def row_newline_reduction(seed: int, T: int, N: int) -> Reduction:
    """An ascending selection on a layout with newlines after grid rows, which are kept by any of the policies."""
    rng = np.random.default_rng(seed)
    grid = random_grid(rng, T, N)
    chosen = torch.from_numpy(np.sort(rng.permutation(T * N)[: rng.integers(1, T * N + 1)]))
    policies = ["kept rows", "all"] + ["none"] * (grid.frames * grid.rows > 1)
    return Reduction.from_selection(
        chosen, grid=grid, placement=str(rng.choice(WITHOUT_IDS)), newline=str(rng.choice(policies))
    )


def prompt_positions(grid: TokenGrid, *, start: int, newlines: bool = False) -> torch.Tensor:
    """`[1, T, N]` index in the prompt, with a gap after every grid row where newlines stand there."""
    token = torch.arange(grid.frames * grid.tokens_per_frame)
    return (start + token + newlines * (token // grid.cols)).view(1, grid.frames, -1)


def mrope_positions(grid: TokenGrid, *, start: int) -> torch.Tensor:
    """`[3, T, N]` ids (t, h, w)."""
    t, h, w = torch.meshgrid(*(torch.arange(n) for n in grid), indexing="ij")
    return start + torch.stack([t, h, w]).flatten(2)


def rotary(frequencies: int, axes: int, *, seed: int = 0) -> RotaryLayout:
    """Frequencies of base 10,000, dealt to the axes at random."""
    frequency = 1e4 ** -(torch.arange(frequencies, dtype=torch.float64) / frequencies)
    axis = torch.from_numpy(np.random.default_rng(seed).integers(0, axes, frequencies))
    return RotaryLayout(frequency, axis, ("t", "h", "w") if axes == 3 else ("position",))


def dense(reduction: Reduction, *, normalised: bool = True) -> Float64[np.ndarray, "kept tokens"]:
    """Weights of video tokens in each output; normalised ones are NaN in a row without any."""
    W = np.zeros((reduction.kept, reduction.grid.frames * reduction.grid.tokens_per_frame))
    entries = zip(reduction.source.tolist(), reduction.target.tolist(), reduction.weight.tolist(), strict=True)
    for source, target, weight in entries:
        token = int(reduction.slots[source])
        if token >= 0:
            W[target, token] += weight
    if not normalised:
        return W
    total = W.sum(1, keepdims=True)
    return W / np.where(total > 0, total, np.nan)
