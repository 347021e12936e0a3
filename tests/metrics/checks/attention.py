"""Checks of the attention metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import softmax
from scipy.stats import entropy, spearmanr
from sklearn.metrics import roc_auc_score

from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid
from tests.metrics.checks.case import Checks, Known

T, N, TEXT = 4, 15, 20  # 60 of 80 keys are video
UNIFORM = torch.full((2, 3, 1, T, N), 1 / (T * N + TEXT))
PEAKED = torch.zeros(2, 3, 1, T, N)
PEAKED[..., 2, 5] = 0.25
RAMP = torch.arange(1.0, T * N + 1).reshape(T, N)
GRID = TokenGrid(T, 3, 5)


def merged(grid: TokenGrid, into: list[int]) -> Reduction:
    """Every token goes into one of a few anchors by turns, the last one with weight 0."""
    tokens = grid.frames * grid.tokens_per_frame
    target = torch.arange(tokens) % len(into)
    weight = torch.ones(tokens, dtype=torch.float64)
    weight[-1] = 0
    slots = torch.arange(tokens)
    return Reduction(torch.tensor(into), slots.clone(), target, weight, slots, grid)


def rows(seed: int, T: int, N: int, D: int, *, text: int = 3) -> torch.Tensor:
    """D layers of 2 heads and 1 query; one row sees no video where there is more than one layer."""
    scores = np.random.default_rng(seed).normal(size=(D, 2, 1, T * N + text)) * 2
    attention = softmax(scores, axis=-1)
    attention[1:2, 0, :, : T * N] = 0
    return torch.from_numpy(attention.astype(np.float32))


def on_video(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return {"attention": rows(seed, T, N, D)[..., : T * N].unflatten(-1, (T, N))}


def masses(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    row = rows(seed, T, N, D)
    parts = [row[..., : T * N], row[..., T * N : T * N + 1], row[..., T * N + 1 :]]
    mass = torch.stack([part.sum(-1) for part in parts], -1)
    return {"attention_mass": mass * torch.arange(2).view(2, 1, 1)} if seed % 7 == 0 else {"attention_mass": mass}


def with_reduction(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    grid = TokenGrid(T, 1, N)
    chosen = torch.from_numpy(rng.permutation(T * N)[: rng.integers(1, T * N + 1)])
    reduction = merged(grid, chosen.tolist()) if seed % 2 else Reduction.from_selection(chosen, grid=grid)
    return on_video(seed, T, N, D) | {"reduction": reduction}


def with_salience(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    """Coarse salience has ties; of attention only different values have one right set of most attended tokens."""
    salience = np.random.default_rng(seed).random((T, N)).astype(np.float32)
    return on_video(seed, T, N, D) | {"salience": torch.from_numpy(salience.round(1) if seed % 2 else salience)}


def each_row(attention: torch.Tensor, compute: Any) -> Float[np.ndarray, "..."]:
    """`compute(row)` of all video tokens in float64; NaN without attention on them."""
    flat = attention.double().flatten(-2).numpy()
    values = [compute(row) if row.sum() > 0 else np.nan for row in flat.reshape(-1, flat.shape[-1])]
    return np.array(values).reshape(flat.shape[:-1])


def video_share(attention_mass: torch.Tensor) -> Float[np.ndarray, "..."]:
    mass = attention_mass.double().numpy()
    total = mass @ np.ones(3)
    return np.where(total > 0, mass[..., 0] / np.where(total > 0, total, 1), np.nan)


def frame_mass(attention: torch.Tensor) -> Float[np.ndarray, "..."]:
    return np.einsum("...tn->...t", attention.double().numpy())


def attention_entropy(attention: torch.Tensor) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """scipy renormalises; 2 ** (entropy in bits) is the effective number too."""
    return each_row(attention, entropy), each_row(attention, lambda row: 2.0 ** entropy(row, base=2))


def top_mass(attention: torch.Tensor) -> Float[np.ndarray, "..."]:
    shares = []
    for percent in (5, 10, 25):
        count = -(-percent * attention[0, 0, 0].numel() // 100)
        shares.append(each_row(attention, lambda row, k=count: np.sort(row)[-k:].sum() / row.sum()))
    return np.stack(shares, -1)


def attention_lost(
    attention: torch.Tensor, reduction: Reduction
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """By the matrix of the map: a token that is no source has an empty column."""
    matrix = np.zeros((reduction.kept, len(reduction.slots)))
    np.add.at(matrix, (reduction.target.numpy(), reduction.source.numpy()), reduction.weight.numpy())
    unused = ~matrix.any(0)
    dropped = ~np.isin(np.arange(len(reduction.slots)), reduction.anchor.numpy())
    return tuple(each_row(attention, lambda row, lost=lost: row[lost].sum() / row.sum()) for lost in (dropped, unused))


def salience_attention_agreement(
    attention: torch.Tensor, salience: torch.Tensor
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    scores = salience.double().numpy().ravel()
    n = len(scores)

    def correlation(row: Float[np.ndarray, "points"]) -> float:
        return np.nan if np.ptp(row) == 0 or np.ptp(scores) == 0 else float(spearmanr(row, scores).statistic)

    def auc(row: Float[np.ndarray, "points"]) -> float:
        count = -(-n // 10)
        top = row >= np.sort(row)[-count]
        return np.nan if n == count else float(roc_auc_score(top, scores))

    return each_row(attention, correlation), each_row(attention, auc)


def top_salience_mass(attention: torch.Tensor, salience: torch.Tensor) -> Float[np.ndarray, "..."]:
    """Of distinct saliences; ties are of the first."""
    order = np.argsort(-salience.numpy(), axis=1, kind="stable")[:, : int(np.ceil(salience.shape[1] / 4))]
    chosen = np.zeros(salience.shape, dtype=bool)
    np.put_along_axis(chosen, order, values=True, axis=1)
    return each_row(attention, lambda row: row[chosen.ravel()].sum() / row.sum())


CHECKS: dict[str, Checks] = {
    "video_share": Checks(
        known=(
            Known("uniform", {"attention_mass": torch.tensor([[0.75, 0.05, 0.2]])}, 0.75),
            Known("text only", {"attention_mass": torch.tensor([0.0, 0.0, 1.0])}, 0.0),
            Known("no key seen", {"attention_mass": torch.zeros(2, 1, 3)}, np.nan),
        ),
        oracle=video_share,
        sample=masses,
        edges=False,
    ),
    "frame_mass": Checks(
        known=(
            Known("uniform", {"attention": UNIFORM}, N / (T * N + TEXT)),
            Known("one token", {"attention": PEAKED}, [0.0, 0.0, 0.25, 0.0]),
        ),
        oracle=frame_mass,
        sample=on_video,
        edges=False,
    ),
    "attention_entropy": Checks(
        known=(
            Known(
                "uniform",
                {"attention": UNIFORM},
                {"attention_entropy": np.log(T * N), "effective_tokens": float(T * N)},
            ),
            Known("one token", {"attention": PEAKED}, {"attention_entropy": 0.0, "effective_tokens": 1.0}),
            Known("no video", {"attention": 0 * UNIFORM}, {"attention_entropy": np.nan, "effective_tokens": np.nan}),
        ),
        oracle=attention_entropy,
        sample=on_video,
        edges=False,
    ),
    "top_mass": Checks(
        known=(
            Known("uniform: 3, 6 and 15 of 60", {"attention": UNIFORM}, [0.05, 0.1, 0.25]),
            Known("uniform: 1, 1 and 2 of 6", {"attention": torch.full((1, 1, 1, 2, 3), 0.1)}, [1 / 6, 1 / 6, 1 / 3]),
            Known("one token", {"attention": PEAKED}, 1.0),
            Known("no video", {"attention": 0 * UNIFORM}, np.nan),
        ),
        oracle=top_mass,
        sample=on_video,
        edges=False,
    ),
    "attention_lost": Checks(
        known=(
            Known(
                "uniform, 12 of 60 kept",
                {"attention": UNIFORM, "reduction": Reduction.from_selection(torch.arange(0, 60, 5), grid=GRID)},
                {"attention_lost": 0.8, "attention_lost_sources": 0.8},
            ),
            Known(
                "uniform, merged into 3, one of them for nothing",
                {"attention": UNIFORM, "reduction": merged(GRID, [7, 30, 59])},
                {"attention_lost": 57 / 60, "attention_lost_sources": 1 / 60},
            ),
            Known(
                "keep-all",
                {"attention": UNIFORM, "reduction": Reduction.keep_all(GRID)},
                {"attention_lost": 0.0, "attention_lost_sources": 0.0},
            ),
            Known(
                "no video",
                {"attention": 0 * UNIFORM, "reduction": Reduction.keep_all(GRID)},
                {"attention_lost": np.nan, "attention_lost_sources": np.nan},
            ),
        ),
        oracle=attention_lost,
        sample=with_reduction,
        edges=False,
    ),
    "salience_attention_agreement": Checks(
        known=(
            Known(
                "the same",
                {"attention": RAMP / RAMP.sum(), "salience": RAMP},
                {"salience_attention_agreement": 1.0, "salience_auc": 1.0},
            ),
            Known(
                "reversed",
                {"attention": RAMP / RAMP.sum(), "salience": -RAMP},
                {"salience_attention_agreement": -1.0, "salience_auc": 0.0},
            ),
            Known(
                "salience says nothing",
                {"attention": RAMP / RAMP.sum(), "salience": torch.ones(T, N)},
                {"salience_attention_agreement": np.nan, "salience_auc": 0.5},
            ),
            Known(
                "uniform",
                {"attention": UNIFORM, "salience": RAMP},
                {"salience_attention_agreement": np.nan, "salience_auc": np.nan},
            ),
        ),
        oracle=salience_attention_agreement,
        sample=with_salience,
        edges=False,
    ),
    "top_salience_mass": Checks(
        known=(
            Known("uniform: 4 of 15", {"attention": UNIFORM, "salience": RAMP}, 4 / 15),
            Known("one attended token, the most salient", {"attention": PEAKED, "salience": PEAKED[0, 0, 0]}, 1.0),
            Known("one attended token, the least salient", {"attention": PEAKED, "salience": -PEAKED[0, 0, 0]}, 0.0),
            Known("no video", {"attention": 0 * UNIFORM, "salience": RAMP}, np.nan),
        ),
        oracle=top_salience_mass,
        sample=with_salience,
        edges=False,
    ),
}
