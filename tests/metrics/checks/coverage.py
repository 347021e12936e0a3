"""Checks of the metrics of coverage and compactness: plain loops, scipy and scikit-learn in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.linalg import svdvals
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans, MiniBatchKMeans

from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid
from tests.metrics.checks.case import Checks, Known, randn
from tests.metrics.checks.reductions import dense, random_reduction

GRID = TokenGrid(6, 2, 2)
SECONDS = 2.0 * torch.arange(6)
ALL = Reduction.keep_all(GRID)
ENDS = Reduction.from_selection(torch.tensor([2, 17, 16]), grid=GRID)  # frames 0 and 4
FIRST = Reduction.from_selection(torch.tensor([3]), grid=GRID)
# right angles at frames 1 and 3, a gentle turn at frame 5; 20 frames have 2 turn frames
CORNERS = torch.cat(
    [torch.tensor([[0.0, 0], [1, 0], [1, 1], [1, 2], [2, 2]]), torch.tensor([[3.0, 2]]) + torch.arange(15.0)[:, None]]
)
LONG = TokenGrid(20, 1, 2)
CROSS = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]])
ONE_ROW = TokenGrid(1, 1, 2)
LINE = torch.tensor([-1.0, 1.0, 3.0, 5.0]).view(1, 4, 1)
THREE_TWICE = torch.eye(3).repeat(2, 1).view(2, 3, 3)


def keep(index: list[int], T: int, N: int) -> Reduction:
    return Reduction.from_selection(torch.tensor(index, dtype=torch.int64), grid=TokenGrid(T, 1, N))


# oracles


def anchors(reduction: Reduction) -> list[int]:
    tokens = [int(reduction.slots[a]) for a in reduction.anchor]
    return [t for t in tokens if t >= 0]


def anchor_counts(reduction: Reduction) -> list[int]:
    frames = [t // reduction.grid.tokens_per_frame for t in anchors(reduction)]
    return [frames.count(t) for t in range(reduction.grid.frames)]


def largest_gap(reduction: Reduction, frame_time: torch.Tensor) -> tuple[float, float]:
    counts, time = anchor_counts(reduction), frame_time.tolist()
    runs, t = [(0, 0.0)], 0
    while t < len(counts):
        end = t
        while end < len(counts) and not counts[end]:
            end += 1
        if end > t:
            runs.append((end - t, time[min(end, len(counts) - 1)] - time[max(t - 1, 0)]))
        t = end + 1
    return max(runs)


def frames_covered(reduction: Reduction) -> float:
    return float(np.mean([c > 0 for c in anchor_counts(reduction)]))


def turn_coverage(reduction: Reduction, points: torch.Tensor) -> float:
    z, counts = points.double().numpy(), anchor_counts(reduction)
    turn = {}
    for t in range(1, len(z) - 1):
        u, v = z[t] - z[t - 1], z[t + 1] - z[t]
        if np.linalg.norm(u) and np.linalg.norm(v):
            turn[t] = 1 - u @ v / np.linalg.norm(u) / np.linalg.norm(v)
    turns = sorted(turn, key=lambda t: (-round(turn[t], 6), t))[: math.ceil(len(z) / 10)]
    return float(np.mean([counts[t] >= np.mean(counts) for t in turns])) if turns else math.nan


def cells_covered(reduction: Reduction) -> Any:
    T, rows, cols = reduction.grid
    near = np.zeros((T, rows, cols))
    for token in anchors(reduction):
        t, row, col = np.unravel_index(token, (T, rows, cols))
        near[t, max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2] = 1
    return near.mean(), near.mean((1, 2))


def outputs_of(tokens: torch.Tensor, reduction: Reduction) -> Float64[np.ndarray, "outputs channels"]:
    x, W = tokens.double().flatten(0, 1).numpy(), dense(reduction)
    whole = [
        sum(w for w, t in zip(reduction.weight.tolist(), reduction.target.tolist(), strict=True) if t == k)
        for k in range(reduction.kept)
    ]
    if reduction.layer is None:
        W = np.nan_to_num(W)  # a row of weights 0 gives a zero output
        return np.array(whole)[:, None] * (W @ x)
    inside = ~np.isnan(W).any(1)
    return np.array(whole)[inside, None] * (W[inside] @ x)


def nearest_distance(tokens: torch.Tensor, reduction: Reduction) -> Any:
    x, y = tokens.double().flatten(0, 1).numpy(), outputs_of(tokens, reduction)
    y = y[np.linalg.norm(y, axis=1) > 0]
    d = cdist(x, y, "cosine").min(1) if len(y) else np.full(len(x), np.nan)
    known = d[~np.isnan(d)]
    return (known.mean(), known.max(), d.reshape(tokens.shape[:2])) if len(known) else (np.nan, np.nan, d[None])


def relative(squared: float, tokens: torch.Tensor) -> float:
    return math.sqrt(squared / tokens.double().square().sum())


def error_to(tokens: torch.Tensor, y: Float[np.ndarray, "outputs channels"]) -> float:
    x = tokens.double().flatten(0, 1).numpy()
    return relative(cdist(x, y, "sqeuclidean").min(1).sum() if len(y) else (x**2).sum(), tokens)


def reconstruction_error(tokens: torch.Tensor, reduction: Reduction) -> float:
    return error_to(tokens, outputs_of(tokens, reduction))


def kmeans_error(tokens: torch.Tensor, reduction: Reduction) -> float:
    x, K = tokens.flatten(0, 1).numpy(), len(outputs_of(tokens, reduction))
    if len(np.unique(x, axis=0)) <= K:
        return 0.0
    if not K:
        return 1.0
    start = MiniBatchKMeans(K, random_state=0, n_init=3).fit(x).cluster_centers_
    return error_to(tokens, KMeans(K, init=start, n_init=1).fit(x).cluster_centers_)


def kcentre_curve(tokens: torch.Tensor) -> list[float]:
    x = tokens.double().flatten(0, 1).numpy()
    chosen = [int(np.linalg.norm(x - x.mean(0), axis=1).argmin())]
    errors = []
    while len(errors) < len(x):
        distance = cdist(x, x[chosen]).min(1)
        errors.append(relative((distance**2).sum(), tokens))
        chosen.append(int(distance.argmax()))
    return errors


def kcentre_error(tokens: torch.Tensor, reduction: Reduction) -> float:
    K = min(len(outputs_of(tokens, reduction)), tokens.shape[0] * tokens.shape[1])
    return [1.0, *kcentre_curve(tokens)][K]


def pca_error(tokens: torch.Tensor, reduction: Reduction) -> float:
    values = svdvals(tokens.double().flatten(0, 1).numpy())
    return relative((values[len(outputs_of(tokens, reduction)) :] ** 2).sum(), tokens)


def reconstruction_gap(tokens: torch.Tensor, reduction: Reduction) -> float:
    best = kmeans_error(tokens, reduction)
    return reconstruction_error(tokens, reduction) / best if best else math.nan


def tokens_needed(tokens: torch.Tensor) -> list[int]:
    errors = kcentre_curve(tokens)
    return [1 + next(k for k, error in enumerate(errors) if error < eps) for eps in (0.05, 0.1, 0.2)]


# samples


def only(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return {"reduction": random_reduction(seed, T, N)}


def timed(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    time = np.cumsum(np.random.default_rng(seed).uniform(0.1, 2, T))
    return only(seed, T, N, D) | {"frame_time": torch.from_numpy(time)}


def on_trajectory(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return only(seed, T, N, D) | {"points": randn(T, D + 1, seed=seed)}  # on a line, turns are 0 or 2 up to rounding


def alone(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return {"tokens": randn(T, N, D, seed=seed)}


def reduced(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return alone(seed, T, N, D) | only(seed, T, N, D)


CHECKS: dict[str, Checks] = {
    "largest_gap": Checks(
        known=(
            Known("keep-all", {"reduction": ALL, "frame_time": SECONDS}, {"largest_gap": 0, "largest_gap_seconds": 0}),
            Known(
                "frames 0 and 4",
                {"reduction": ENDS, "frame_time": SECONDS},
                {"largest_gap": 3, "largest_gap_seconds": 8},
            ),
            Known(
                "to the end of the clip",
                {"reduction": FIRST, "frame_time": SECONDS},
                {"largest_gap": 5, "largest_gap_seconds": 10},
            ),
            Known(
                "of two gaps of one frame the longer in time",
                {"reduction": keep([0, 2, 4], 5, 1), "frame_time": torch.tensor([0.0, 1, 2, 5, 7])},
                {"largest_gap": 1, "largest_gap_seconds": 5},
            ),
            Known(
                "nothing kept",
                {"reduction": keep([], 5, 1), "frame_time": torch.arange(5.0)},
                {"largest_gap": 5, "largest_gap_seconds": 4},
            ),
        ),
        oracle=largest_gap,
        sample=timed,
    ),
    "frames_covered": Checks(
        known=(
            Known("keep-all", {"reduction": ALL}, 1.0),
            Known("two of six", {"reduction": ENDS}, 1 / 3),
            Known("nothing kept", {"reduction": keep([], 5, 1)}, 0.0),
        ),
        oracle=frames_covered,
        sample=only,
    ),
    "turn_coverage": Checks(
        known=(
            Known("keep-all", {"reduction": Reduction.keep_all(LONG), "points": CORNERS}, 1.0),
            Known(
                "one of two turns",
                {"reduction": Reduction.from_selection(torch.tensor([2, 20]), grid=LONG), "points": CORNERS},
                0.5,
            ),
            Known("two frames", {"reduction": keep([0], 2, 1), "points": randn(2, 3)}, math.nan),
            Known("no motion", {"reduction": keep([0], 5, 1), "points": torch.ones(5, 3)}, math.nan),
        ),
        oracle=turn_coverage,
        sample=on_trajectory,
    ),
    "cells_covered": Checks(
        known=(
            Known("keep-all", {"reduction": ALL}, 1.0),
            Known("middle", {"reduction": Reduction.from_selection(torch.tensor([4]), grid=TokenGrid(1, 3, 3))}, 1.0),
            Known("corner", {"reduction": Reduction.from_selection(torch.tensor([0]), grid=TokenGrid(1, 4, 4))}, 0.25),
            Known(
                "corner, two cells far",
                {"reduction": Reduction.from_selection(torch.tensor([0]), grid=TokenGrid(1, 4, 4)), "radius": 2},
                9 / 16,
            ),
            Known(
                "one of six frames",
                {"reduction": FIRST},
                {"cells_covered": 1 / 6, "cells_covered_in_frame": [1, 0, 0, 0, 0, 0]},
            ),
        ),
        oracle=cells_covered,
        sample=only,
    ),
    "nearest_distance": Checks(
        known=(
            Known("keep-all", {"reduction": ALL, "tokens": randn(6, 4, 5)}, 0.0),
            Known(
                "one of two orthogonal tokens",
                {"reduction": keep([0], 1, 2), "tokens": CROSS},
                {"nearest_distance": 0.5, "kcentre_radius": 1.0, "nearest_distance_of_token": [[0.0, 1.0]]},
            ),
            Known("opposite", {"reduction": keep([1], 1, 2), "tokens": LINE[:, :2]}, {"kcentre_radius": 2.0}),
            Known("nothing kept", {"reduction": keep([], 1, 2), "tokens": CROSS}, math.nan),
        ),
        oracle=nearest_distance,
        sample=reduced,
    ),
    "reconstruction_error": Checks(
        known=(
            Known("keep-all", {"reduction": ALL, "tokens": randn(6, 4, 5)}, 0.0),
            Known("3-4-5", {"reduction": keep([0], 1, 2), "tokens": CROSS}, 1.0),
            Known("the nearer of two", {"reduction": keep([1, 3], 1, 4), "tokens": LINE}, (8 / 36) ** 0.5),
            Known("nothing kept", {"reduction": keep([], 1, 2), "tokens": CROSS}, 1.0),
            Known("all zero", {"reduction": keep([0], 1, 2), "tokens": 0 * CROSS}, math.nan),
        ),
        oracle=reconstruction_error,
        sample=reduced,
        atol=1e-3,  # a product in float32 may take a neighbour that is farther by about 1e-3 of the norm
    ),
    "kmeans_error": Checks(
        known=(
            Known("keep-all", {"reduction": ALL, "tokens": randn(6, 4, 5)}, 0.0),
            Known("three distinct", {"reduction": keep([0, 1, 5], 2, 3), "tokens": THREE_TWICE}, 0.0),
            Known("two opposite", {"reduction": keep([0], 1, 2), "tokens": LINE[:, :2]}, 1.0),
        ),
        oracle=kmeans_error,
        sample=reduced,
        atol=1e-3,  # as for reconstruction_error
    ),
    "kcentre_error": Checks(
        known=(
            Known("keep-all", {"reduction": ALL, "tokens": randn(6, 4, 5)}, 0.0),
            Known("three distinct", {"reduction": keep([0, 1, 5], 2, 3), "tokens": THREE_TWICE}, 0.0),
            Known("-1, 0, 1", {"reduction": keep([0], 3, 1), "tokens": torch.arange(-1.0, 2).view(3, 1, 1)}, 1.0),
        ),
        oracle=kcentre_error,
        sample=reduced,
    ),
    "pca_error": Checks(
        known=(
            Known("keep-all", {"reduction": ALL, "tokens": randn(6, 4, 5)}, 0.0),
            Known("orthonormal", {"reduction": keep([0, 4], 1, 8), "tokens": torch.eye(8)[None]}, 0.75**0.5),
        ),
        oracle=pca_error,
        sample=reduced,
    ),
    "reconstruction_gap": Checks(
        known=(
            Known("1 and 5 of four", {"reduction": keep([1, 3], 1, 4), "tokens": LINE}, 2**0.5),
            Known("keep-all", {"reduction": ALL, "tokens": randn(6, 4, 5)}, math.nan),
        ),
        oracle=reconstruction_gap,
        sample=reduced,
        rtol=1e-3,  # both errors have that of reconstruction_error
        atol=1e-3,
    ),
    "tokens_needed": Checks(
        known=(
            Known("three distinct", {"tokens": THREE_TWICE}, [3, 3, 3]),
            Known("orthonormal", {"tokens": torch.eye(8)[None]}, [8, 8, 8]),
            Known("orthonormal, an error of 0.9 allowed", {"tokens": torch.eye(8)[None], "eps": (0.9,)}, [5]),
            Known("static", {"tokens": randn(1, 1, 4).expand(6, 3, 4)}, [1, 1, 1]),
        ),
        oracle=tokens_needed,
        sample=alone,
    ),
}
