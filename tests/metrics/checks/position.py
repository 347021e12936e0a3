"""Checks of the metrics of position and numbering: plain loops over dense weights in float64."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64

from redundancy.reduction import Reduction
from redundancy.tokens import RotaryLayout, TokenGrid
from tests.metrics.checks.case import Checks, Known
from tests.metrics.checks.reductions import (
    dense,
    mrope_positions,
    prompt_positions,
    random_reduction,
    rotary,
    row_newline_reduction,
)

GRID = TokenGrid(4, 2, 3)
TIME = torch.tensor([0.0, 0.5, 1.0, 2.5])
ALL = Reduction.keep_all(GRID)
DT = 3
PAIR = Reduction(  # place 4 of the first and of the last frame, on the first
    anchor=torch.tensor([4]),
    source=torch.tensor([4, 4 + DT * 6]),
    target=torch.tensor([0, 0]),
    weight=torch.tensor([0.25, 0.25], dtype=torch.float64),
    slots=torch.arange(24),
    grid=GRID,
)
MOVED = Reduction(  # all of an output comes from 3 steps later
    anchor=torch.tensor([4]),
    source=torch.tensor([4 + DT * 6]),
    target=torch.tensor([0]),
    weight=torch.ones(1, dtype=torch.float64),
    slots=torch.arange(24),
    grid=GRID,
)
DIAGONAL = replace(PAIR, source=torch.tensor([0, 4]), anchor=torch.tensor([0]))  # cells (0, 0) and (1, 1) of a frame
RENUMBERED = replace(PAIR, placement="renumbered")
INSIDE = replace(ALL, placement="renumbered", layer=3)
MROPE = mrope_positions(GRID, start=5)
LINE = prompt_positions(GRID, start=5)
THETA = np.array([1.0, 0.3, 0.1, 0.03, 0.01])
ROTARY = RotaryLayout(torch.from_numpy(THETA), torch.tensor([0, 1, 0, 2, 1]), ("t", "h", "w"))
LINE_ROTARY = RotaryLayout(torch.from_numpy(THETA), torch.zeros(5, dtype=torch.int64))
TURNS = {"positions": MROPE, "rotary": ROTARY}
HALF = Reduction.from_selection(torch.arange(0, 24, 2), grid=GRID, placement="renumbered")
FIVE = Reduction.from_selection(torch.tensor([0, 1, 2, 4, 9]), grid=TokenGrid(3, 1, 4), placement="renumbered")


def on_rope(values: list[float]) -> dict[str, Any]:
    """Per axis and over all, from one value for each of `ROTARY`'s five frequencies."""
    f = np.array(values)
    return {"axis": [[f[[0, 2]].mean(), f[[1, 4]].mean(), f[3]]], "mean": [f.mean()]}


def rope_known(name: str, case: str, reduction: Reduction, along_t: Callable[[float], float], rest: float) -> Known:
    values = on_rope([along_t(1.0), rest, along_t(0.1), rest, rest])
    return Known(case, {"reduction": reduction} | TURNS, {name: values["axis"], f"{name}_all": values["mean"]})


# oracles


def places(reduction: Reduction, coordinates: Float64[np.ndarray, "tokens axes"]) -> Float64[np.ndarray, "kept axes"]:
    """Coordinates of the anchors, or of the centroids, in a system whose tokens have these."""
    if reduction.placement == "centroid":
        W = dense(reduction, normalised=False)  # sums of quarters are exact, so halves round as they should
        return sums(W, coordinates) / np.where(W.any(1), W.sum(1), np.nan)[:, None]
    anchors = [int(reduction.slots[a]) for a in reduction.anchor]
    return np.array([coordinates[a] if a >= 0 else np.full(coordinates.shape[1], np.nan) for a in anchors])


def sums(W: Float64[np.ndarray, "kept tokens"], x: Float64[np.ndarray, "tokens columns"]) -> Any:
    return np.array([sum(W[k, n] * x[n] for n in range(len(x))) for k in range(len(W))])


def numbered(reduction: Reduction, positions: torch.Tensor) -> list[float]:
    """Numbers of the outputs, then of the place after the last kept newline: counted off along the prompt."""
    number, numbers = float(positions.min()), {}
    rows = [int(a) // reduction.grid.cols for a in reduction.anchor]
    if reduction.newline == "none":
        return [number + k for k in range(reduction.kept + 1)]
    for row in range(reduction.grid.frames * reduction.grid.rows):
        for k in (k for k, r in enumerate(rows) if r == row):
            numbers[k] = number
            number += 1
        number += reduction.newline == "all" or row in rows
    return [numbers[k] for k in range(reduction.kept)] + [number]


def assigned(reduction: Reduction, positions: torch.Tensor) -> Float64[np.ndarray, "kept axes"]:
    if reduction.placement == "renumbered":
        known = [math.nan] * reduction.kept if reduction.layer is not None else numbered(reduction, positions)[:-1]
        return np.repeat(np.array(known)[:, None], len(positions), 1)
    if reduction.positions is not None:
        return reduction.positions.T.double().numpy()
    at = places(reduction, ids(positions))
    return np.round(at) if reduction.placement == "centroid" else at


def ids(positions: torch.Tensor) -> Float64[np.ndarray, "tokens axes"]:
    return positions.flatten(1).T.double().numpy()


def cells(grid: TokenGrid) -> Float64[np.ndarray, "tokens three"]:
    return np.array(list(itertools.product(*(range(n) for n in grid))), dtype=float)


def grid_displacement(reduction: Reduction, frame_time: torch.Tensor) -> Any:
    x = cells(reduction.grid)
    x = np.column_stack([x, frame_time.double().numpy()[x[:, 0].astype(int)]])
    q = np.full((reduction.kept, 4), np.nan) if reduction.placement in ("renumbered", "given") else places(reduction, x)
    d = sums(dense(reduction), x) - q
    return d[:, :3], np.hypot(d[:, 1], d[:, 2]), np.abs(d[:, 0]), np.abs(d[:, 3])


def variance(reduction: Reduction, x: Float64[np.ndarray, "tokens axes"]) -> Float64[np.ndarray, "kept axes"]:
    W = dense(reduction)
    return sums(W, x**2) - sums(W, x) ** 2


def grid_spread(reduction: Reduction) -> Any:
    return variance(reduction, cells(reduction.grid))


def position_displacement(reduction: Reduction, positions: torch.Tensor) -> Any:
    d = sums(dense(reduction), ids(positions)) - assigned(reduction, positions)
    space = np.sqrt((d[:, 1:] ** 2).sum(1)) if d.shape[1] > 1 else np.full(len(d), np.nan)
    return d, space, np.abs(d[:, 0])


def position_spread(reduction: Reduction, positions: torch.Tensor) -> Any:
    return variance(reduction, ids(positions))


def phases(reduction: Reduction, positions: torch.Tensor, rotary: RotaryLayout) -> Any:
    W, x, q = dense(reduction), ids(positions), assigned(reduction, positions)
    theta, axis = rotary.inverse_frequency.numpy(), rotary.axis.numpy()
    z = np.zeros((len(W), len(theta)), complex)
    for k, f in itertools.product(range(len(W)), range(len(theta))):
        z[k, f] = sum(W[k, n] * np.exp(1j * theta[f] * (x[n, axis[f]] - q[k, axis[f]])) for n in range(len(x)))
    return z


def by_axis(values: Float64[np.ndarray, "kept frequencies"], rotary: RotaryLayout) -> Any:
    of = [values[:, rotary.axis.numpy() == a] for a in range(len(rotary.axes))]
    per_axis = np.stack([v.mean(1) if v.shape[1] else np.full(len(v), np.nan) for v in of], 1)
    return per_axis, values.mean(1)


def alignment(reduction: Reduction, positions: torch.Tensor, rotary: RotaryLayout) -> Any:
    return by_axis(phases(reduction, positions, rotary).real, rotary)


def coherence(reduction: Reduction, positions: torch.Tensor, rotary: RotaryLayout) -> Any:
    every = Reduction.keep_all(reduction.grid)  # any known place will do
    anywhere = replace(
        reduction, placement="anchor", positions=None, anchor=torch.zeros_like(reduction.anchor), layer=None
    )
    assert not np.isnan(assigned(every, positions)).any()
    return by_axis(np.abs(phases(anywhere, positions, rotary)), rotary)


def phase_error(reduction: Reduction, positions: torch.Tensor, rotary: RotaryLayout) -> Any:
    return by_axis(np.abs(np.angle(phases(reduction, positions, rotary))), rotary)


def distance_to_text(reduction: Reduction, positions: torch.Tensor, last_position: int) -> Any:
    last = float(last_position)
    if reduction.placement == "renumbered":
        jumps = len(positions) == 1 and bool((positions.flatten().diff() == 2).any())
        end = int(positions.max()) + (jumps or reduction.newline != "none")
        last = math.nan if reduction.layer is not None else numbered(reduction, positions)[-1] + last_position - end - 1
        if len(positions) > 1 and positions[0].max() > positions[1:].max():  # the text may stand beside the video
            last = math.nan
    new = last - assigned(reduction, positions)
    old = last_position - places(replace(reduction, placement="anchor", positions=None), ids(positions))
    return new, old, new / old


def inversions(reduction: Reduction) -> float:
    order = [int(reduction.slots[a]) for a in reduction.anchor if reduction.slots[a] >= 0]
    pairs = list(itertools.combinations(order, 2))
    return sum(a > b for a, b in pairs) / len(pairs) if pairs else math.nan


def time_warp(reduction: Reduction, positions: torch.Tensor, frame_time: torch.Tensor) -> Any:
    q, N = assigned(reduction, positions)[:, 0], reduction.grid.tokens_per_frame
    frames = [int(reduction.slots[a]) // N for a in reduction.anchor]  # -1 for newlines
    u = np.array([np.mean([q[k] for k, f in enumerate(frames) if f == t] or [np.nan]) for t in range(len(frame_time))])
    known = np.flatnonzero(~np.isnan(u))
    time = frame_time.double().numpy()
    if len(known) < 2 or u[known[0]] == u[known[-1]]:
        return np.full(len(u), np.nan), u
    ends = known[[0, -1]]
    return np.polyval(np.polyfit(u[ends], time[ends], 1), u) - time, u


# samples


def only(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return {"reduction": random_reduction(seed, T, N)}


def timed(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    time = np.cumsum(np.random.default_rng(seed).uniform(0.1, 2, T))
    return only(seed, T, N, D) | {"frame_time": torch.from_numpy(time)}


def placed(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    """One axis with newlines after rows, one without, or three, by turns."""
    if seed % 3 == 0:
        reduction = row_newline_reduction(seed, T, N)
        return {"reduction": reduction, "positions": prompt_positions(reduction.grid, start=seed % 50, newlines=True)}
    reduction = random_reduction(seed, T, N)
    positions = (prompt_positions if seed % 3 == 1 else mrope_positions)(reduction.grid, start=seed % 50)
    if seed % 4 == 0 and reduction.layer is None:  # ids of one's own, near the video's
        low, high = int(positions.min()), int(positions.max()) + 1
        ids = np.random.default_rng(seed).integers(low, high, (len(positions), reduction.kept))
        reduction = replace(reduction, placement="given", positions=torch.from_numpy(ids))
    return {"reduction": reduction, "positions": positions}


def turned(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    inputs = placed(seed, T, N, D)
    return inputs | {"rotary": rotary(D, len(inputs["positions"]), seed=seed)}


def before_text(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    inputs = placed(seed, T, N, D)
    return inputs | {"last_position": int(inputs["positions"].max()) + 1 + seed % 9}


def placed_and_timed(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return placed(seed, T, N, D) | {"frame_time": timed(seed, T, N, D)["frame_time"]}


def nan_like(shape: tuple[int, ...]) -> Float[np.ndarray, "..."]:
    return np.full(shape, np.nan)


CHECKS: dict[str, Checks] = {
    "grid_displacement": Checks(
        known=(
            Known("keep-all", {"reduction": ALL, "frame_time": TIME}, 0.0),
            Known(
                "two tokens dt apart on the first",
                {"reduction": PAIR, "frame_time": TIME},
                {
                    "grid_displacement": [[DT / 2, 0, 0]],
                    "grid_displacement_space": 0.0,
                    "grid_displacement_steps": DT / 2,
                    "grid_displacement_seconds": 1.25,
                },
            ),
            Known(
                "across a diagonal",
                {"reduction": DIAGONAL, "frame_time": TIME},
                {"grid_displacement": [[0, 0.5, 0.5]], "grid_displacement_space": 0.5**0.5},
            ),
            Known("centroid", {"reduction": replace(PAIR, placement="centroid"), "frame_time": TIME}, 0.0),
            Known("renumbered", {"reduction": RENUMBERED, "frame_time": TIME}, math.nan),
        ),
        oracle=grid_displacement,
        sample=timed,
    ),
    "grid_spread": Checks(
        known=(
            Known("keep-all", {"reduction": ALL}, 0.0),
            Known("two tokens dt apart", {"reduction": PAIR}, [[DT**2 / 4, 0, 0]]),
            Known("across a diagonal", {"reduction": DIAGONAL}, [[0, 0.25, 0.25]]),
            Known("renumbered", {"reduction": RENUMBERED}, [[DT**2 / 4, 0, 0]]),
        ),
        oracle=grid_spread,
        sample=only,
    ),
    "position_displacement": Checks(
        known=(
            Known("keep-all", {"reduction": ALL, "positions": MROPE}, 0.0),
            Known(
                "two tokens dt apart on the first",
                {"reduction": PAIR, "positions": MROPE},
                {
                    "position_displacement": [[DT / 2, 0, 0]],
                    "position_displacement_space": 0.0,
                    "position_displacement_time": DT / 2,
                },
            ),
            Known(
                "the prompt's index runs through space",
                {"reduction": DIAGONAL, "positions": LINE},
                {"position_displacement": [[2]], "position_displacement_space": math.nan},
            ),
            Known(
                "centroids are rounded, half to even",
                {"reduction": replace(PAIR, placement="centroid"), "positions": MROPE},
                [[0.5, 0, 0]],  # the centroid 5 + 1.5 is placed at 6
            ),
            Known("renumbered", {"reduction": RENUMBERED, "positions": LINE}, [[4 + DT * 6 / 2]]),
            Known("renumbered inside the model", {"reduction": INSIDE, "positions": LINE}, math.nan),
        ),
        oracle=position_displacement,
        sample=placed,
    ),
    "position_spread": Checks(
        known=(
            Known("keep-all", {"reduction": ALL, "positions": MROPE}, 0.0),
            Known("two tokens dt apart", {"reduction": PAIR, "positions": MROPE}, [[DT**2 / 4, 0, 0]]),
            Known("on the prompt's index", {"reduction": PAIR, "positions": LINE}, [[(6 * DT) ** 2 / 4]]),
        ),
        oracle=position_spread,
        sample=placed,
    ),
    "alignment": Checks(
        known=(
            Known("keep-all", {"reduction": ALL} | TURNS, 1.0),
            rope_known("alignment", "two tokens dt apart", PAIR, lambda f: (1 + math.cos(f * DT)) / 2, 1.0),
            rope_known("alignment", "one source dt away", MOVED, lambda f: math.cos(f * DT), 1.0),
            Known("inside, not told", {"reduction": INSIDE, "positions": LINE, "rotary": LINE_ROTARY}, math.nan),
        ),
        oracle=alignment,
        sample=turned,
    ),
    "coherence": Checks(
        known=(
            Known("keep-all", {"reduction": ALL} | TURNS, 1.0),
            rope_known("coherence", "two tokens dt apart", PAIR, lambda f: abs(math.cos(f * DT / 2)), 1.0),
            rope_known("coherence", "one source dt away", MOVED, lambda f: 1.0, 1.0),
            Known("inside the model", {"reduction": INSIDE, "positions": LINE, "rotary": LINE_ROTARY}, 1.0),
        ),
        oracle=coherence,
        sample=turned,
    ),
    "phase_error": Checks(
        known=(
            Known("keep-all", {"reduction": ALL} | TURNS, 0.0),
            rope_known("phase_error", "two tokens dt apart", PAIR, lambda f: f * DT / 2, 0.0),
            rope_known("phase_error", "one source dt away", MOVED, lambda f: f * DT, 0.0),
        ),
        oracle=phase_error,
        sample=turned,
        atol=1e-5,  # float32 result of up to pi
    ),
    "distance_to_text": Checks(
        known=(
            Known(
                "at its anchor",
                {"reduction": PAIR, "positions": LINE, "last_position": 40},
                {"distance_to_text": 31.0, "distance_to_text_before": 31.0, "distance_to_text_ratio": 1.0},
            ),
            Known(
                "renumbered uniform half",
                {"reduction": HALF, "positions": LINE, "last_position": 29},  # one text token follows
                {"distance_to_text": np.arange(12, 0, -1.0)[:, None], "distance_to_text_ratio": 0.5},
            ),
            Known(
                "renumbered with the newlines of two kept rows",
                {
                    "reduction": Reduction.from_selection(
                        torch.tensor([0, 4]), grid=TokenGrid(1, 3, 2), placement="renumbered", newline="kept rows"
                    ),
                    "positions": prompt_positions(TokenGrid(1, 3, 2), start=7, newlines=True),
                    "last_position": 16,  # 7 8 | 10 11 | 13 14 |, then 16
                },
                [[4], [2]],  # 7 | 9 |, then 11
            ),
        ),
        oracle=distance_to_text,
        sample=before_text,
    ),
    "inversions": Checks(
        known=(
            Known("keep-all", {"reduction": ALL}, 0.0),
            Known("descending", {"reduction": Reduction.from_selection(torch.arange(24).flip(0), grid=GRID)}, 1.0),
            Known(
                "one of three moved to the end",
                {"reduction": Reduction.from_selection(torch.tensor([3, 9, 1]), grid=GRID)},
                2 / 3,
            ),
            Known("alone", {"reduction": PAIR}, math.nan),
        ),
        oracle=inversions,
        sample=only,
    ),
    "time_warp": Checks(
        known=(
            Known(
                "keep-all at even times",
                {"reduction": ALL, "positions": LINE, "frame_time": torch.arange(4.0)},
                {"time_warp": 0.0, "time_warp_number": [7.5, 13.5, 19.5, 25.5]},
            ),
            Known(
                "3, 1 and 1 tokens",
                {
                    "reduction": FIVE,
                    "positions": prompt_positions(FIVE.grid, start=2),
                    "frame_time": torch.arange(3.0),
                },
                {"time_warp": [0, 1 / 3, 0], "time_warp_number": [3, 5, 6]},
            ),
            Known(
                "one frame",
                {"reduction": PAIR, "positions": LINE, "frame_time": TIME},
                {"time_warp": nan_like((4,)), "time_warp_number": [9, math.nan, math.nan, math.nan]},
            ),
        ),
        oracle=time_warp,
        sample=placed_and_timed,
        atol=1e-4,  # the oracle's line is a fit, and a flat one where few tokens remain
    ),
}
