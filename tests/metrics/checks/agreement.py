"""Checks of the agreement metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid
from tests.metrics.checks.case import Checks, Known

GRID = TokenGrid(3, 2, 2)


def two_reductions(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {"reduction": some_reduction(rng, T, N), "other": some_reduction(rng, T, N)}


def some_reduction(rng: np.random.Generator, T: int, N: int) -> Reduction:
    """Some anchors, each with a source, and some more entries, a part of them with weight 0."""
    tokens = T * N
    anchor = torch.from_numpy(rng.permutation(tokens)[: rng.integers(1, tokens + 1)])
    kept, more = len(anchor), int(rng.integers(0, tokens))
    target = torch.cat([torch.arange(kept), torch.from_numpy(rng.integers(0, kept, more))])
    source = torch.from_numpy(rng.integers(0, tokens, kept + more))
    weight = torch.from_numpy(rng.integers(0, 3, kept + more) / 2)
    return Reduction(anchor, source, target, weight, torch.arange(tokens), TokenGrid(T, 1, N))


def select(*index: int) -> Reduction:
    return Reduction.from_selection(torch.tensor(index, dtype=torch.int64), grid=GRID)


def pool(anchors: list[int], sources: list[int]) -> Reduction:
    """All sources go into the first anchor; the others take nothing from themselves."""
    source = torch.tensor(sources + anchors[1:])
    target = torch.tensor([0] * len(sources) + list(range(1, len(anchors))))
    weight = torch.tensor([1.0] * len(sources) + [0.0] * (len(anchors) - 1), dtype=torch.float64)
    return Reduction(torch.tensor(anchors), source, target, weight, torch.arange(12), GRID)


def jaccard(a: set[int], b: set[int]) -> float:
    return len(a & b) / len(a | b) if a | b else np.nan


def anchor_jaccard(reduction: Reduction, other: Reduction) -> float:
    return jaccard(*(set(r.anchor_token.tolist()) - {-1} for r in (reduction, other)))


def source_jaccard(reduction: Reduction, other: Reduction) -> float:
    used = []
    for r in (reduction, other):
        entries = zip(r.source.tolist(), r.weight.tolist(), strict=True)
        used.append({int(r.slots[source]) for source, weight in entries if weight} - {-1})
    return jaccard(*used)


def budget_spearman(reduction: Reduction, other: Reduction) -> float:
    counts = []
    for r in (reduction, other):
        frames = r.anchor_token.numpy() // r.grid.tokens_per_frame
        counts.append([int((frames == t).sum()) for t in range(r.grid.frames)])
    if any(len(set(count)) == 1 for count in counts):
        return np.nan
    return float(spearmanr(*counts).statistic)


def of_reductions(reduction: Reduction, other: Reduction) -> dict[str, Any]:
    return {"reduction": reduction, "other": other}


CHECKS: dict[str, Checks] = {
    "anchor_jaccard": Checks(
        known=(
            Known("keep-all", of_reductions(Reduction.keep_all(GRID), Reduction.keep_all(GRID)), 1.0),
            Known("1 in common of 3", of_reductions(select(0, 5), select(5, 11)), 1 / 3),
            Known("none in common", of_reductions(select(0, 5), select(1, 11)), 0.0),
            Known("nothing kept", of_reductions(select(), select()), np.nan),
        ),
        oracle=anchor_jaccard,
        sample=two_reductions,
        edges=False,
    ),
    "source_jaccard": Checks(
        known=(
            Known("keep-all", of_reductions(Reduction.keep_all(GRID), Reduction.keep_all(GRID)), 1.0),
            Known("1 in common of 4", of_reductions(pool([0], [0, 1]), pool([7], [1, 2, 3])), 1 / 4),
            Known("weight 0 is no source", of_reductions(pool([0, 5, 6], [0, 1]), pool([0, 7], [0, 1])), 1.0),
            Known("none in common", of_reductions(pool([0], [0, 1]), pool([0], [2, 3])), 0.0),
            Known("nothing kept", of_reductions(select(), select()), np.nan),
        ),
        oracle=source_jaccard,
        sample=two_reductions,
        edges=False,
    ),
    "budget_spearman": Checks(
        known=(
            Known("the same", of_reductions(select(0, 4, 5, 6, 8, 9), select(3, 4, 5, 7, 9, 10)), 1.0),
            Known("reversed", of_reductions(select(0, 4, 5, 8, 9, 10), select(0, 1, 2, 4, 5, 8)), -1.0),
            Known("one tie", of_reductions(select(0, 4, 8, 9), select(4, 8, 9)), 3**0.5 / 2),
            Known("constant", of_reductions(Reduction.keep_all(GRID), select(0)), np.nan),
        ),
        oracle=budget_spearman,
        sample=two_reductions,
        edges=False,
    ),
}
