"""Checks of the trajectory metrics."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.distance import cosine, pdist, squareform
from sklearn.neighbors import NearestNeighbors

from tests.metrics.checks.case import Checks, Known, randn

Array = Float[np.ndarray, "..."]
K = (2, 3, 4, 6)
LINE = torch.arange(5.0)[:, None] * torch.tensor([[3.0, 4.0]])
SQUARE = torch.tensor([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0], [0.0, 0.0]])
BACK = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0]])
STILL = torch.ones(4, 2)
# corners at frames 0, 2, 5 and 7 of 8
ZIGZAG = torch.tensor([[0, 0], [1, 1], [2, 2], [3, 1], [4, 0], [5, -1], [5, 1], [5, 3]]).float()
BEND = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 2.0], [3.0, 0.0], [4.0, 0.0]])


def circle(radius: float, degrees: float, frames: int = 6) -> torch.Tensor:
    angle = torch.deg2rad(degrees * torch.arange(frames, dtype=torch.float64))
    return (radius * torch.stack([angle.cos(), angle.sin()], 1)).float()


def path(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return {"points": randn(T, D, seed=seed)}


def timed_path(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    g = torch.Generator().manual_seed(seed + 1)
    return path(seed, T, N, D) | {"frame_time": (0.1 + torch.rand(T, generator=g)).cumsum(0)}


def tokens(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return {"tokens": randn(T, N, D, seed=seed)}


def array(x: torch.Tensor) -> Array:
    return np.asarray(x.double())


def speed(points: torch.Tensor, frame_time: torch.Tensor) -> tuple[Array, Array]:
    step = np.sqrt(np.sum(np.diff(array(points), axis=0) ** 2, 1))
    return step, step / np.diff(array(frame_time))


def inner(points: torch.Tensor, value: Any) -> Array:
    """A value of three neighbouring points, NaN at both ends."""
    x = array(points)
    found = np.full(len(x), np.nan)
    found[1:-1] = [value(*x[t - 1 : t + 2]) for t in range(1, len(x) - 1)]
    return found


def turning_angle(points: torch.Tensor) -> Array:
    return inner(points, lambda a, b, c: np.degrees(np.arccos(np.clip(1 - cosine(b - a, c - b), -1, 1))))


def curvature(points: torch.Tensor, convention: str = "vcast") -> Array:
    kappa = inner(points, lambda a, b, c: cosine(b - a, c - b))
    return np.where(np.isnan(kappa), 1.0, kappa) if convention == "vcast" else kappa


def one_over_circumradius(*corners: Array) -> float:
    """By the barycentric centre of the circle through three points."""
    (a, b, c) = corners
    sides = np.array([np.sum((b - c) ** 2), np.sum((c - a) ** 2), np.sum((a - b) ** 2)])
    weights = sides * (sides.sum() - 2 * sides)
    if weights.sum() <= 0:
        return 0.0
    centre = weights @ np.array(corners) / weights.sum()
    return float(1 / np.linalg.norm(centre - a))


def menger_curvature(points: torch.Tensor) -> Array:
    return inner(points, one_over_circumradius if points.shape[1] > 1 else lambda *_: 0.0)


def arc_length(points: torch.Tensor) -> Array:
    distance = squareform(pdist(array(points))) if len(points) > 1 else np.zeros((1, 1))
    return np.array(np.diagonal(distance, 1).sum() if len(points) > 1 else np.nan)


def straightness(points: torch.Tensor) -> Array:
    if len(points) < 2:
        return np.array(np.nan)
    return np.array(np.linalg.norm(array(points)[-1] - array(points)[0]) / arc_length(points))


def turn_frames(points: torch.Tensor, share: float = 0.3) -> Array:
    """By sorting pairs of falling curvature and rising index; random paths in a line have ties up to rounding."""
    kappa = np.round(curvature(points, convention="geometric"), 5)
    ranked = sorted((-value, t) for t, value in enumerate(kappa) if not np.isnan(value))
    if not ranked:
        return np.full(len(kappa), np.nan)
    return np.isin(np.arange(len(kappa)), [t for _, t in ranked[: int(np.ceil(share * len(kappa) - 1e-9))]]) * 1.0


def intrinsic_dimension(points: torch.Tensor) -> Array:
    if len(points) < 2:
        return np.array(np.nan)
    values = np.linalg.svd(array(points) - array(points).mean(0), compute_uv=False) ** 2
    return np.array(values.sum() ** 2 / (values**2).sum())


def twonn_dimension(tokens: torch.Tensor) -> Array:
    x = np.unique(array(tokens).reshape(-1, tokens.shape[-1]), axis=0)
    if len(x) < 3:
        return np.array(np.nan)
    distance, _ = NearestNeighbors(n_neighbors=3, algorithm="kd_tree").fit(x).kneighbors(x)
    mu = np.sort(np.log(distance[:, 2] / distance[:, 1]))
    entered = int(np.floor(0.9 * len(x) + 1e-9))
    y = -np.log(1 - np.arange(1, entered + 1) / len(x))
    return np.linalg.lstsq(mu[:entered, None], y, rcond=None)[0][0]


def interpolated_error(x: Array, vertices: tuple[int, ...]) -> float:
    time = np.arange(len(x))
    return float(sum(np.sum((c - np.interp(time, vertices, c[list(vertices)])) ** 2) for c in x.T))


def polyline_error(points: torch.Tensor, k: tuple[int, ...] = K) -> tuple[Array, Array, Array]:
    """By trying all choices of vertices."""
    x, T = array(points), len(points)
    kappa = np.round(curvature(points, convention="geometric"), 5)
    sharpest = [t for _, t in sorted((-v, t) for t, v in enumerate(kappa) if not np.isnan(v))]
    errors = np.full((3, len(k)), np.nan)
    for at, count in enumerate(k):
        if count > T:
            continue
        errors[0, at] = min(
            interpolated_error(x, (0, *chosen, T - 1)) for chosen in combinations(range(1, T - 1), count - 2)
        )
        uniform = np.floor(np.linspace(0, T - 1, count) + 0.5 + 1e-9).astype(int)
        errors[1, at] = interpolated_error(x, tuple(uniform))
        errors[2, at] = interpolated_error(x, (0, *sorted(sharpest[: count - 2]), T - 1))
    return errors[0], errors[1], errors[2]


CHECKS: dict[str, Checks] = {
    "speed": Checks(
        known=(
            Known(
                "straight and uniform",
                {"points": LINE, "frame_time": 0.5 * torch.arange(5.0)},
                {"speed": 5.0, "speed_per_second": 10.0},
            ),
            Known("no motion", {"points": STILL, "frame_time": torch.arange(4.0)}, 0.0),
            Known(
                "no time", {"points": LINE, "frame_time": torch.zeros(5)}, {"speed": 5.0, "speed_per_second": np.nan}
            ),
        ),
        oracle=speed,
        sample=timed_path,
    ),
    "turning_angle": Checks(
        known=(
            Known("line", {"points": LINE}, 0.0, at=slice(1, -1)),
            Known("right angles", {"points": SQUARE}, [np.nan, 90, 90, 90, np.nan]),
            Known("reversal", {"points": BACK}, [np.nan, 180, np.nan]),
            Known("circle in steps of 20 degrees", {"points": circle(3, 20)}, 20.0, at=slice(1, -1)),
            Known("no motion", {"points": STILL}, np.nan),
        ),
        oracle=turning_angle,
        sample=path,
        atol=1e-4,  # the oracle's arc cosine loses half the digits of float64 near 0 and 180 degrees
    ),
    "curvature": Checks(
        known=(
            Known("line", {"points": LINE}, [1, 0, 0, 0, 1]),
            Known("right angles", {"points": SQUARE}, 1.0),
            Known("reversal", {"points": BACK}, [1, 2, 1]),
            Known("no motion", {"points": STILL}, 1.0),
            Known("no motion, geometric", {"points": STILL, "convention": "geometric"}, np.nan),
            Known("reversal, geometric", {"points": BACK, "convention": "geometric"}, [np.nan, 2, np.nan]),
        ),
        oracle=curvature,
        sample=path,
        atol=1e-5,  # short steps between float32 points
    ),
    "menger_curvature": Checks(
        known=(
            Known("circle of radius 3", {"points": circle(3, 20)}, 1 / 3, at=slice(1, -1)),
            Known("circle of radius 1/2", {"points": circle(0.5, 50)}, 2.0, at=slice(1, -1)),
            Known("line", {"points": LINE}, 0.0, at=slice(1, -1)),
            Known("two points coincide", {"points": BACK}, np.nan),
        ),
        oracle=menger_curvature,
        sample=path,
        rtol=1e-4,  # the oracle's weights cancel for flat triangles
    ),
    "arc_length": Checks(
        known=(
            Known("line", {"points": LINE}, 20.0),
            Known("closed square", {"points": SQUARE}, 8.0),
            Known("no motion", {"points": STILL}, 0.0),
            Known("one frame", {"points": LINE[:1]}, np.nan),
        ),
        oracle=arc_length,
        sample=path,
    ),
    "straightness": Checks(
        known=(
            Known("line", {"points": LINE}, 1.0),
            Known("two sides of a square", {"points": SQUARE[:3]}, 0.5**0.5),
            Known("closed loop", {"points": SQUARE}, 0.0),
            Known("no motion", {"points": STILL}, np.nan),
        ),
        oracle=straightness,
        sample=path,
    ),
    "turn_frames": Checks(
        known=(
            Known("planted corners", {"points": ZIGZAG, "share": 0.25}, [0, 0, 1, 0, 0, 1, 0, 0]),
            Known("equal turns: the first", {"points": circle(1, 90), "share": 0.3}, [0, 1, 1, 0, 0, 0]),
            Known("no motion", {"points": STILL}, np.nan),
            Known("two frames", {"points": LINE[:2]}, np.nan),
        ),
        oracle=turn_frames,
        sample=path,
        keyword={"share": 0.3},
    ),
    "intrinsic_dimension": Checks(
        known=(
            Known("line", {"points": LINE}, 1.0),
            Known("three equal variances", {"points": torch.cat([torch.eye(3, 5), -torch.eye(3, 5)])}, 3.0),
            Known(
                "variances 1 and 4",
                {
                    "points": torch.diag(torch.tensor([1.0, 2.0])).repeat(2, 1)
                    * torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None]
                },
                25 / 17,
            ),
            Known("no motion", {"points": STILL}, np.nan),
        ),
        oracle=intrinsic_dimension,
        sample=path,
    ),
    "twonn_dimension": Checks(
        known=(
            # ratios 3/2, 2, 3, of which the largest is left out; -ln(1 - i/3) is ln(3/2), ln 3
            Known(
                "three points on a line",
                {"tokens": torch.tensor([[[0.0], [1.0], [3.0]]])},
                (np.log(1.5) * np.log(1.5) + np.log(2.0) * np.log(3.0)) / (np.log(1.5) ** 2 + np.log(2.0) ** 2),
            ),
            Known("equal distances", {"tokens": torch.eye(4)[None]}, np.nan),
            Known("all tokens equal", {"tokens": torch.ones(2, 5, 3)}, np.nan),
        ),
        oracle=twonn_dimension,
        sample=tokens,
        rtol=1e-4,  # nearly equal distances of few points: the logarithm of their ratio cancels
    ),
    "polyline_error": Checks(
        known=(
            Known("four corners", {"points": ZIGZAG, "k": (4,)}, 0.0),
            Known(
                "one bend of height 2",
                {"points": BEND, "k": (2, 5, 6)},
                {
                    "polyline_error": [4, 0, np.nan],
                    "polyline_uniform_error": [4, 0, np.nan],
                    "polyline_turn_error": [4, 0, np.nan],
                },
            ),
            Known(
                "through the corner",
                {"points": torch.tensor([[0.0], [0.0], [0.0], [2.0]]), "k": (2, 3)},
                # chord: (2/3)^2 + (4/3)^2; uniform rounds 1.5 up to frame 2, the corner
                {"polyline_error": [20 / 9, 0], "polyline_uniform_error": [20 / 9, 0]},
            ),
            Known("line", {"points": LINE, "k": (2,)}, 0.0),
        ),
        oracle=polyline_error,
        sample=path,
        keyword={"k": K},
    ),
}
