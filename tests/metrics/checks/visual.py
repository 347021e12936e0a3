"""Checks of the visual metrics."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist, cosine
from scipy.stats import entropy, median_abs_deviation, spearmanr

from redundancy.metrics.visual import density_score as score_of
from redundancy.tokens import TokenGrid
from tests.metrics.checks.case import Checks, Known, randn

Array = Shaped[np.ndarray, "..."]

IDENTICAL = (randn(1, 1, 5) + 3).expand(3, 6, 5)
ORTHONORMAL = torch.eye(6, 8).expand(2, 6, 8)
THREE_DIRECTIONS = (torch.eye(3, 5) * torch.tensor([[1.0], [2.0], [3.0]])).repeat(4, 1).expand(2, 12, 5)
CHAIN = torch.tensor([[math.cos(a), math.sin(a)] for a in (0, 0.6, 1.2, 2.2)])[None]  # cosines .825, .825, .540
LINE = torch.tensor([0.0, 1.0, 3.0])[None, :, None]
ONE_HOT = torch.eye(8)[2:3] * 5
UNIFORM = torch.full((1, 8), 0.25)
CROWD = randn(2, 12, 4, seed=3)


def frames(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    """Tokens of unequal norm; every third video has a zero token."""
    x = randn(T, N, D, seed=seed) * randn(T, N, 1, seed=seed + 1).exp()
    if seed % 3 == 0:
        x[0, -1] = 0
    return {"tokens": x}


def random_tokens(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return {"tokens": randn(T, N, D, seed=seed)}


def random_salience(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    """Shares, in every third video with equal and zero ones, or a frame without any."""
    s = randn(T, N, seed=seed).mul(D / 3).softmax(-1)
    if seed % 3 == 0:
        s = s.mul(3).round() / 2
    return {"salience": s}


def on_grid(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    rows = [r for r in range(1, N + 1) if N % r == 0]
    chosen = rows[seed % len(rows)]
    return frames(seed, T, N, D) | {"grid": TokenGrid(T, chosen, N // chosen)}


def with_outliers(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    """The first place stands out in about half of the videos."""
    x = randn(T, N, D, seed=seed) + 3
    x[:, 0] *= 1 + 20 * (seed % 2)
    x[0, 0] *= seed % 3
    return {"tokens": x}


def salient_outliers(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return {"salience": with_outliers(seed, T, N, D)["tokens"].norm(dim=-1)}


def both(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return random_tokens(seed, T, N, D) | {"salience": randn(T, N, seed=seed + 1)}


def cosines(frame: torch.Tensor) -> Float[np.ndarray, "kept kept"]:
    """Of the tokens that are not zero, by scipy in float64."""
    x = frame.double().numpy()
    x = x[np.linalg.norm(x, axis=1) > 0]
    return 1 - cdist(x, x, "cosine")


def within_frame_similarity(tokens: torch.Tensor) -> tuple[Array, Array]:
    levels = (0.05, 0.25, 0.5, 0.75, 0.95)
    mean, values = [], []
    for frame in tokens:
        x = frame.double().numpy()
        unit = x[(norm := np.linalg.norm(x, axis=1)) > 0] / norm[norm > 0, None]
        n = len(unit)
        mean.append((np.sum(unit.sum(0) ** 2) - n) / (n * (n - 1)) if n > 1 else np.nan)
        table = cosines(frame)
        values.append(np.quantile(table[np.triu_indices(n, 1)], levels) if n > 1 else np.full(5, np.nan))
    return np.array(mean), np.array(values)


def duplicate_fraction(tokens: torch.Tensor) -> Array:
    taus = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
    tables = [cosines(frame) for frame in tokens]
    return np.array(
        [[1 - connected_components(c >= t)[0] / len(c) if len(c) else np.nan for t in taus] for c in tables]
    )


def effective_rank(tokens: torch.Tensor) -> tuple[Array, Array]:
    values = np.linalg.svd(tokens.double().numpy(), compute_uv=False)
    some = [s if s.sum() > 0 else s * np.nan for s in values]
    return np.exp([entropy(s) for s in some]), np.array([np.sum(s**2) / s[0] ** 2 for s in some])


def visual_redundancy(tokens: torch.Tensor) -> Array:
    most = min(tokens.shape[1:])
    if most == 1:
        return np.full(len(tokens), np.nan)
    return (most - effective_rank(tokens)[0]) / (most - 1)


def peaks(tokens: torch.Tensor) -> tuple[Array, Array, Array]:
    rho, delta = np.empty(tokens.shape[:2]), np.empty(tokens.shape[:2])
    for t, x in enumerate(tokens.double().numpy()):
        d = cdist(x, x) / np.sqrt(x.shape[1])
        rho[t] = np.exp(-np.mean(np.sort(d, 1)[:, :4] ** 2, 1))
        for i in range(len(x)):
            delta[t, i] = min((d[i, j] for j in range(len(x)) if rho[t, j] > rho[t, i]), default=d.max())
    return rho, delta, rho * delta


def salience_concentration(salience: torch.Tensor) -> tuple[Array, Array, Array]:
    """Gini by mean absolute differences."""
    T, N = salience.shape
    counts = [math.ceil(r * N) for r in (Fraction(1, 20), Fraction(1, 10), Fraction(1, 4))]
    gini, deficit, mass = np.full(T, np.nan), np.full(T, np.nan), np.full((T, 3), np.nan)
    for t, s in enumerate(salience.double().numpy()):
        if s.sum() > 0:
            gini[t] = np.abs(s[:, None] - s).mean() / (2 * s.mean())
            deficit[t] = 1 - entropy(s, base=N) if N > 1 else np.nan
            mass[t] = [sum(sorted(s, reverse=True)[:count]) / s.sum() for count in counts]
    return gini, deficit, mass


def salience_density_agreement(tokens: torch.Tensor, salience: torch.Tensor) -> tuple[Array, Array]:
    score, given = peaks(tokens)[2], salience.double().numpy()
    count = math.ceil(tokens.shape[1] / 4)
    rho, overlap = [], []
    for a, b in zip(score, given, strict=True):
        rho.append(spearmanr(a, b).statistic if np.ptp(a) and np.ptp(b) else np.nan)
        first, second = (set(np.argsort(-x, kind="stable")[:count]) for x in (a, b))
        overlap.append(len(first & second) / len(first | second))
    return np.array(rho), np.array(overlap)


def sinks_salience(salience: torch.Tensor) -> tuple[Array, Array]:
    s = salience.double().numpy()
    limit = np.median(s, 1) + 6 * median_abs_deviation(s, axis=1, scale="normal")
    share = (s > limit[:, None]).mean(0)
    return share >= 0.8, share


def sinks(tokens: torch.Tensor) -> tuple[Array, Array]:
    return sinks_salience(torch.from_numpy(np.linalg.norm(tokens.double().numpy(), axis=-1)))


def spatial_smoothness(tokens: torch.Tensor, grid: TokenGrid) -> Array:
    out = []
    for frame, mean in zip(tokens.double().numpy(), within_frame_similarity(tokens)[0], strict=True):
        cells = frame.reshape(grid.rows, grid.cols, -1)
        pairs = [
            (cells[r, c], cells[r + down, c + 1 - down])
            for down in (0, 1)
            for r in range(grid.rows - down)
            for c in range(grid.cols - 1 + down)
        ]
        values = [1 - cosine(a, b) for a, b in pairs if a.any() and b.any()]
        out.append(np.mean(values) - mean if values else np.nan)
    return np.array(out)


def planted(values: float) -> torch.Tensor:
    """Five frames of 9 places; place 4 is 20 times as large in all but the first."""
    x = torch.linspace(1.0, 1.2, 9).repeat(5, 1)
    x[1:, 4] = values
    return x


PLACE_4, SHARE_4 = np.eye(9)[4], 0.8 * np.eye(9)[4]
HALVES = torch.tensor([[1.0, 0], [2, 0], [0, 1], [0, 5]])[None]
CHESSBOARD = torch.tensor([[1.0, 0], [0, 1], [0, 1], [1, 0]])[None]

CHECKS: dict[str, Checks] = {
    "within_frame_similarity": Checks(
        known=(
            Known(
                "identical",
                {"tokens": IDENTICAL},
                {"within_frame_similarity": np.ones(3), "within_frame_quantile": np.ones((3, 5))},
            ),
            Known("orthogonal", {"tokens": ORTHONORMAL}, 0.0),
            Known("three directions in turn, 12 tokens", {"tokens": THREE_DIRECTIONS}, 3 / 11),
            Known("opposite", {"tokens": torch.tensor([[[1.0, 0], [-2, 0]]])}, -1.0),
            Known("a zero token is left out", {"tokens": torch.tensor([[[3.0], [0], [1]]])}, 1.0),
            Known("one token", {"tokens": randn(2, 1, 4)}, np.nan),
        ),
        oracle=within_frame_similarity,
        sample=frames,
    ),
    "duplicate_fraction": Checks(
        known=(
            Known("identical", {"tokens": IDENTICAL}, 1 - 1 / 6),
            Known("orthogonal", {"tokens": ORTHONORMAL}, 0.0),
            Known("three directions, 12 tokens", {"tokens": THREE_DIRECTIONS}, 1 - 3 / 12),
            Known("chain", {"tokens": CHAIN}, np.array([[3, 2, 2, 2, 0, 0]]) / 4),
            Known("copies, tau = 1", {"tokens": randn(2, 3, 64).repeat(1, 5, 1), "tau": (1,)}, 1 - 3 / 15),
            Known("zero tokens are left out", {"tokens": torch.tensor([[[0.0], [0], [2], [1]]])}, 0.5),
        ),
        oracle=duplicate_fraction,
        sample=frames,
    ),
    "effective_rank": Checks(
        known=(
            Known("identical", {"tokens": IDENTICAL}, {"effective_rank": 1.0, "stable_rank": 1.0}),
            Known("orthonormal", {"tokens": ORTHONORMAL}, {"effective_rank": 6.0, "stable_rank": 6.0}),
            Known("singular values 3 and 1", {"tokens": torch.diag(torch.tensor([3.0, 1]))[None]}, 4 / 3**0.75),
            Known("more tokens than channels", {"tokens": torch.eye(2).repeat(5, 1)[None]}, 2.0),
            Known("zero", {"tokens": torch.zeros(2, 3, 4)}, np.nan),
        ),
        oracle=effective_rank,
        sample=frames,
    ),
    "visual_redundancy": Checks(
        known=(
            Known("identical", {"tokens": IDENTICAL}, 1.0),
            Known("orthonormal", {"tokens": ORTHONORMAL}, 0.0),
            Known("two directions of three", {"tokens": torch.eye(3)[:2].repeat(5, 1)[None]}, 0.5),
            Known("one token", {"tokens": randn(2, 1, 4)}, np.nan),
        ),
        oracle=visual_redundancy,
        sample=frames,
    ),
    "density": Checks(
        known=(
            Known("identical", {"tokens": IDENTICAL}, 1.0),
            Known("on a line", {"tokens": LINE, "k": 2}, np.exp([[-0.5, -0.5, -2.0]])),
        ),
        oracle=lambda tokens: peaks(tokens)[0],
        sample=random_tokens,
    ),
    "parent_distance": Checks(
        known=(
            Known("identical", {"tokens": IDENTICAL}, 0.0),
            Known("on a line", {"tokens": LINE, "k": 2}, [[3.0, 3.0, 2.0]]),
        ),
        oracle=lambda tokens: peaks(tokens)[1],
        sample=random_tokens,
        atol=4e-3,  # distances below 1e-3 of the norms count as 0
    ),
    "density_score": Checks(
        known=(
            Known("identical", {"tokens": IDENTICAL}, 0.0),
            Known("on a line", {"tokens": LINE, "k": 2}, [[3, 3, 2] * np.exp([-0.5, -0.5, -2.0])]),
        ),
        oracle=lambda tokens: peaks(tokens)[2],
        sample=random_tokens,
        atol=4e-3,  # distances below 1e-3 of the norms count as 0
    ),
    "salience_concentration": Checks(
        known=(
            Known(
                "one-hot",
                {"salience": ONE_HOT},
                {"salience_concentration": 7 / 8, "salience_entropy_deficit": 1, "salience_top_mass": np.ones((1, 3))},
            ),
            Known(
                "uniform",
                {"salience": UNIFORM},
                {
                    "salience_concentration": 0,
                    "salience_entropy_deficit": 0,
                    "salience_top_mass": [[1 / 8, 1 / 8, 1 / 4]],
                },
            ),
            Known("1, 2, 3", {"salience": torch.tensor([[3.0, 1, 2]])}, 2 / 9),
            Known("none, or negative", {"salience": torch.tensor([[0.0, 0], [-1, 2]])}, np.nan),
        ),
        oracle=salience_concentration,
        sample=random_salience,
    ),
    "salience_density_agreement": Checks(
        known=(
            Known(
                "the density score itself",
                {"tokens": CROWD, "salience": score_of(CROWD)},
                {"salience_density_agreement": 1.0, "salience_density_overlap": 1.0},
            ),
            Known(
                "its opposite",
                {"tokens": CROWD, "salience": -score_of(CROWD)},
                {"salience_density_agreement": -1.0, "salience_density_overlap": 0.0},
            ),
            Known("constant salience", {"tokens": CROWD, "salience": torch.ones(2, 12)}, np.nan),
        ),
        oracle=salience_density_agreement,
        sample=both,
    ),
    "sinks": Checks(
        known=(
            Known("planted", {"tokens": planted(20)[..., None]}, {"sinks": PLACE_4, "sink_share": SHARE_4}),
            Known(
                "in fewer frames",
                {"tokens": planted(20)[:4, :, None]},
                {"sinks": 0, "sink_share": SHARE_4 / 0.8 * 0.75},
            ),
            Known("identical", {"tokens": IDENTICAL}, 0.0),
        ),
        oracle=sinks,
        sample=with_outliers,
    ),
    "sinks_salience": Checks(
        known=(
            Known("planted", {"salience": planted(20)}, {"sinks_salience": PLACE_4, "sink_share_salience": SHARE_4}),
            Known("uniform", {"salience": UNIFORM}, 0.0),
        ),
        oracle=sinks_salience,
        sample=salient_outliers,
    ),
    "spatial_smoothness": Checks(
        known=(
            Known("two flat halves in a row", {"tokens": HALVES, "grid": TokenGrid(1, 1, 4)}, 1 / 3),
            Known("two flat halves in a column", {"tokens": HALVES, "grid": TokenGrid(1, 4, 1)}, 1 / 3),
            Known("chessboard", {"tokens": CHESSBOARD, "grid": TokenGrid(1, 2, 2)}, -1 / 3),
            Known("identical", {"tokens": IDENTICAL, "grid": TokenGrid(3, 2, 3)}, 0.0),
            Known("one token", {"tokens": randn(2, 1, 4), "grid": TokenGrid(2, 1, 1)}, np.nan),
        ),
        oracle=spatial_smoothness,
        sample=on_grid,
    ),
}
