"""Checks of the temporal metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from scipy.spatial.distance import cdist, cosine
from sklearn.metrics import silhouette_score

from redundancy.tokens import TokenGrid
from tests.metrics.checks.case import Checks, Known, randn

Array = Shaped[np.ndarray, "..."]
E_INVERSE = float(np.exp(-1))


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def frames(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return {"frame_features": randn(T, D, seed=seed)}


def videos(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return {"tokens": randn(T, N, D, seed=seed)}


def videos_on_a_grid(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    rows = max(r for r in range(1, N + 1) if N % r == 0 and r * r <= N)
    return videos(seed, T, N, D) | {"grid": TokenGrid(T, rows, N // rows)}


def persistences(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return {"token_persistence": torch.from_numpy(random(seed).uniform(-0.2, 1, (T - 1, N))).float()}


def times(seed: int, T: int) -> dict[str, Any]:
    return {"frame_time": torch.from_numpy(random(seed).uniform(0.1, 2, T).cumsum())}


def timed_persistences(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return persistences(seed, T, N, D) | times(seed, T)


def timed_frames(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return frames(seed, T, N, D) | times(seed, T)


def segmented_frames(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    cuts = np.flatnonzero(random(seed).random(T - 1) < 0.4)
    lengths = np.diff(np.concatenate([[-1], cuts, [T - 1]]))
    return frames(seed, T, N, D) | {"segments": torch.from_numpy(lengths)}


def transition_similarity(frame_features: torch.Tensor) -> Float[np.ndarray, "transitions"]:
    f = frame_features.double().numpy()
    return np.array([1 - cosine(f[t], f[t + 1]) for t in range(len(f) - 1)])


def token_persistence(tokens: torch.Tensor) -> Array:
    x = tokens.double().numpy()
    T, N, _ = x.shape
    return np.array([1 - cosine(x[t, n], x[t + 1, n]) for t in range(T - 1) for n in range(N)]).reshape(T - 1, N)


def motion_compensated_similarity(tokens: torch.Tensor, grid: TokenGrid, radius: int = 1) -> tuple[Array, Array]:
    x, place = tokens.double().numpy(), np.indices(grid[1:]).reshape(2, -1).T
    T, N, _ = x.shape
    similarity, displacement = np.empty((T - 1, N)), np.empty((T - 1, N, 2))
    reach = cdist(place, place, "chebyshev") <= radius
    length = cdist(place, place, "sqeuclidean")
    for t in range(T - 1):
        cosines = np.where(reach, 1 - cdist(x[t + 1], x[t], "cosine"), -np.inf)
        for n in range(N):
            similarity[t, n] = cosines[n].max()
            ties = np.flatnonzero(cosines[n] >= similarity[t, n] - 1e-6)
            best = min(ties, key=lambda m: (length[n, m], m))
            displacement[t, n] = place[best] - place[n]
    return similarity, displacement


def static_fraction(token_persistence: torch.Tensor, tau: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)) -> Array:
    values = np.sort(token_persistence.double().numpy().ravel())
    return 1 - np.searchsorted(values, tau) / len(values) if len(values) else np.full(len(tau), np.nan)


def run_length(token_persistence: torch.Tensor, frame_time: torch.Tensor, tau: float = 0.8) -> tuple[Array, Array]:
    stays, step = token_persistence.numpy() >= tau, np.diff(frame_time.numpy())
    means = []
    for n in range(stays.shape[1]):
        runs = np.split(np.arange(len(stays) + 1), np.flatnonzero(~stays[:, n]) + 1)
        means.append(np.mean([len(run) for run in runs]))
    return np.array(means), np.array(means) * (step.mean() if len(step) else np.nan)


def effective_frames(frame_features: torch.Tensor) -> Array:
    f = frame_features.double().numpy()
    share = np.linalg.svd(f / np.linalg.norm(f, axis=1, keepdims=True), compute_uv=False) ** 2 / len(f)
    share = share[share > 0]
    return np.exp(-(share * np.log(share)).sum())


def temporal_redundancy(frame_features: torch.Tensor) -> Array:
    T = len(frame_features)
    return np.asarray((T - effective_frames(frame_features)) / (T - 1) if T > 1 else np.nan)


def persistence_skill(tokens: torch.Tensor) -> Array:
    x = tokens.double().numpy()
    if len(x) == 1:
        return np.asarray(np.nan)
    return np.asarray(1 - (np.diff(x, axis=0) ** 2).sum() / ((x - x.mean(0))[1:] ** 2).sum())


def autocorrelation(frame_features: torch.Tensor) -> Array:
    f = frame_features.double().numpy()
    T = len(f)
    if T == 1:
        return np.array([np.nan])
    r = sum(np.correlate(x, x, mode="full") for x in (f - f.mean(0)).T)[T - 1 :]
    return (r / r[0])[: T // 2 + 1]


def correlation_length(frame_features: torch.Tensor, frame_time: torch.Tensor) -> tuple[Array, Array]:
    r, time = autocorrelation(frame_features), frame_time.numpy()
    if not (r < E_INVERSE).any():
        return np.asarray(np.nan), ~np.isnan(r[0])
    k = np.flatnonzero(r < E_INVERSE)[0]
    lag = np.interp(-E_INVERSE, [-r[k - 1], -r[k]], [k - 1, k])
    return lag * np.diff(time).mean(), np.asarray(False)


def labels(segments: torch.Tensor) -> Array:
    return np.repeat(np.arange(len(segments)), segments.numpy())


def segment_contrast(frame_features: torch.Tensor, segments: torch.Tensor) -> Array:
    f, label = frame_features.double().numpy(), labels(segments)
    pairs = np.triu(np.ones((len(f), len(f)), bool), 1)
    apart = label[None] - label[:, None]
    cosines = 1 - cdist(f, f, "cosine")
    inside, between = cosines[pairs & (apart == 0)], cosines[pairs & (apart == 1)]
    return np.asarray(inside.mean() - between.mean() if len(inside) and len(between) else np.nan)


def segment_silhouette(frame_features: torch.Tensor, segments: torch.Tensor) -> Array:
    if not 1 < len(segments) < len(frame_features):
        return np.asarray(np.nan)
    return np.asarray(silhouette_score(frame_features.double().numpy(), labels(segments), metric="cosine"))


STATIC = {"tokens": randn(1, 6, 8).expand(5, 6, 8)}
GRID = TokenGrid(5, 2, 3)
SIXTY_DEGREES = torch.tensor([[1.0, 0.0], [0.5, 0.75**0.5]])
TWO_SHOTS = torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]] * 3)
OPPOSITE_SHOTS = torch.tensor([[1.0, 0.0]] * 3 + [[-2.0, 0.0]] * 3)


def moving(rows: int, cols: int) -> dict[str, Any]:
    """A 5 x 6 grid of three frames; from each to the next the content moves by so many rows and columns."""
    x = randn(5, 6, 16)
    tokens = torch.stack([x.roll((t * rows, t * cols), (0, 1)) for t in range(3)]).flatten(1, 2)
    return {"tokens": tokens, "grid": TokenGrid(3, 5, 6)}


def away_from_the_border(rows: int = 5, cols: int = 6) -> tuple[Any, ...]:
    place = torch.arange(rows * cols).view(rows, cols)
    return (slice(None), place[1:-1, 1:-1].flatten().numpy())


def known_motion() -> tuple[Known, ...]:
    cases = [
        Known(
            f"moved by {shift}",
            moving(*shift),
            {"motion_compensated_similarity": 1.0, "displacement": -np.array(shift, float)},
            at=away_from_the_border(),
        )
        for shift in ((0, 1), (1, 0), (-1, 1))
    ]
    static = {"motion_compensated_similarity": 1.0, "displacement": 0.0}
    uniform = {"tokens": randn(1, 1, 8).expand(5, 6, 8), "grid": GRID}  # all matches tie
    return (
        *cases,
        Known("static", STATIC | {"grid": GRID}, static),
        Known("uniform", uniform, static),
        Known("out of reach", moving(0, 1) | {"radius": 0}, 0.0, at=away_from_the_border(), atol=1.0),
    )


CHECKS: dict[str, Checks] = {
    "transition_similarity": Checks(
        known=(
            Known("static", {"frame_features": randn(1, 8).expand(4, 8)}, 1.0),
            Known("at 60 degrees", {"frame_features": SIXTY_DEGREES}, 0.5),
        ),
        oracle=transition_similarity,
        sample=frames,
    ),
    "token_persistence": Checks(
        known=(
            Known("static", STATIC, 1.0),
            Known("at 60 degrees", {"tokens": SIXTY_DEGREES[:, None].expand(2, 3, 2)}, np.full((1, 3), 0.5)),
            Known("zero token", {"tokens": torch.zeros(2, 1, 3)}, np.nan),
        ),
        oracle=token_persistence,
        sample=videos,
    ),
    "motion_compensated_similarity": Checks(
        known=known_motion(), oracle=motion_compensated_similarity, sample=videos_on_a_grid
    ),
    "static_fraction": Checks(
        known=(
            Known("static", {"token_persistence": torch.ones(3, 2)}, np.ones(6)),
            Known(
                "a quarter each",
                {"token_persistence": torch.tensor([[0.55, 0.65], [0.75, 0.85]]), "tau": (0.5, 0.6, 0.7, 0.8, 0.9)},
                [1.0, 0.75, 0.5, 0.25, 0.0],
            ),
            Known("left out", {"token_persistence": torch.tensor([[0.9, torch.nan]]), "tau": (0.8,)}, [1.0]),
            Known("one frame", {"token_persistence": torch.empty(0, 2)}, np.full(6, np.nan)),
        ),
        oracle=static_fraction,
        sample=persistences,
    ),
    "run_length": Checks(
        known=(
            Known(
                "static",
                {"token_persistence": torch.ones(3, 2), "frame_time": torch.arange(4) / 2},
                {"run_length": [4.0, 4.0], "run_length_seconds": [2.0, 2.0]},
            ),
            Known(
                "two halves",
                {"token_persistence": torch.tensor([1.0, 1, 0, 1, 1])[:, None], "frame_time": torch.arange(6) / 2},
                {"run_length": [3.0], "run_length_seconds": [1.5]},
            ),
            Known(
                "cut everywhere",
                {"token_persistence": torch.zeros(3, 1), "frame_time": torch.arange(4) / 2},
                {"run_length": [1.0], "run_length_seconds": [0.5]},
            ),
            Known(
                "one frame",
                {"token_persistence": torch.empty(0, 1), "frame_time": torch.zeros(1)},
                {"run_length": [1.0], "run_length_seconds": [np.nan]},
            ),
            Known(
                "undefined once, and throughout",
                {
                    "token_persistence": torch.tensor([[1.0, torch.nan], [torch.nan, torch.nan], [1.0, torch.nan]]),
                    "frame_time": torch.arange(4) / 2,
                },
                {"run_length": [2.0, np.nan], "run_length_seconds": [1.0, np.nan]},
            ),
        ),
        oracle=run_length,
        sample=timed_persistences,
    ),
    "effective_frames": Checks(
        known=(
            Known("static", {"frame_features": randn(1, 8).expand(4, 8)}, 1.0),
            Known("orthonormal", {"frame_features": torch.eye(5)}, 5.0),
            Known("two directions", {"frame_features": TWO_SHOTS}, 2.0),
            Known("a zero frame counts for nothing", {"frame_features": torch.eye(5)[:, :4]}, 4.0),
        ),
        oracle=effective_frames,
        sample=frames,
    ),
    "temporal_redundancy": Checks(
        known=(
            Known("static", {"frame_features": randn(1, 8).expand(4, 8)}, 1.0),
            Known("orthonormal", {"frame_features": torch.eye(5)}, 0.0),
            Known("two directions", {"frame_features": TWO_SHOTS}, 4 / 5),
            Known("one frame", {"frame_features": torch.eye(5)[:1]}, np.nan),
        ),
        oracle=temporal_redundancy,
        sample=frames,
    ),
    "persistence_skill": Checks(
        known=(
            Known("static", STATIC, 1.0),
            Known("two frames", {"tokens": randn(2, 4, 3)}, -3.0),
            Known("0, 1, 2, 3, 4", {"tokens": torch.arange(5.0)[:, None, None] * randn(1, 3, 4)}, 1 / 3),
            Known("one frame", {"tokens": randn(1, 4, 3)}, np.nan),
        ),
        oracle=persistence_skill,
        sample=videos,
    ),
    "autocorrelation": Checks(
        known=(
            Known("1, -1, 1, -1", {"frame_features": torch.tensor([[1.0], [-1], [1], [-1]])}, [1, -0.75, 0.5]),
            Known("static", {"frame_features": randn(1, 8).expand(4, 8)}, np.full(3, np.nan)),
        ),
        oracle=autocorrelation,
        sample=frames,
    ),
    "correlation_length": Checks(
        known=(
            Known(
                "0, 0, 1, 1",
                {"frame_features": torch.tensor([[0.0], [0], [1], [1]]), "frame_time": torch.arange(4) / 2},
                {"correlation_length": (1 - E_INVERSE) / 0.75 / 2, "censored": False},
            ),
            Known(
                "static",
                {"frame_features": torch.ones(4, 1), "frame_time": torch.arange(4) / 2},
                {"correlation_length": np.nan, "censored": False},
            ),
        ),
        oracle=correlation_length,
        sample=timed_frames,
    ),
    "segment_contrast": Checks(
        known=(
            Known("two shots", {"frame_features": TWO_SHOTS, "segments": torch.tensor([3, 3])}, 1.0),
            Known("opposite shots", {"frame_features": OPPOSITE_SHOTS, "segments": torch.tensor([3, 3])}, 2.0),
            Known("static", {"frame_features": torch.ones(4, 2), "segments": torch.tensor([2, 2])}, 0.0),
            Known("one segment", {"frame_features": TWO_SHOTS, "segments": torch.tensor([6])}, np.nan),
            Known("no pair", {"frame_features": TWO_SHOTS, "segments": torch.ones(6, dtype=torch.int64)}, np.nan),
        ),
        oracle=segment_contrast,
        sample=segmented_frames,
    ),
    "segment_silhouette": Checks(
        known=(
            Known("two shots", {"frame_features": TWO_SHOTS, "segments": torch.tensor([3, 3])}, 1.0),
            Known("static", {"frame_features": torch.ones(4, 3), "segments": torch.tensor([2, 2])}, 0.0),
            Known("one segment", {"frame_features": TWO_SHOTS, "segments": torch.tensor([6])}, np.nan),
            Known("no pair", {"frame_features": TWO_SHOTS, "segments": torch.ones(6, dtype=torch.int64)}, np.nan),
        ),
        oracle=segment_silhouette,
        sample=segmented_frames,
    ),
}
