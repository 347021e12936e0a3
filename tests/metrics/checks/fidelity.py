"""Checks of the fidelity metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.distance import cosine
from scipy.spatial.distance import jensenshannon as scipy_jensenshannon
from scipy.special import rel_entr, softmax
from scipy.stats import rankdata, spearmanr

from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid
from tests.metrics.checks.case import Checks, Known, randn

LOGITS = randn(3, 11) * 4
RISING = torch.arange(5.0).expand(2, 5)
EVEN, UNEVEN = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.75, 0.25]).log()
FIRST, SECOND = torch.tensor([[9.0, -torch.inf]]), torch.tensor([[-torch.inf, 9.0]])
GRID = TokenGrid(3, 2, 2)


def logits(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    """T queries and N * D words; every third is rounded and has ties."""
    whole, reduced = 3 * randn(T, N * D, seed=seed), 3 * randn(T, N * D, seed=seed + 10_000)
    return {
        "whole_logits": whole.round() if seed % 3 == 0 else whole,
        "reduced_logits": reduced.round() if seed % 3 == 0 else reduced,
    }


def states(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    whole, reduced = randn(T, N, D, seed=seed), randn(T, N, D, seed=seed + 10_000)
    whole[0, 0] = 0
    return {"whole_hidden": whole, "reduced_hidden": reduced}


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


def probabilities(whole: torch.Tensor, reduced: torch.Tensor) -> list[Float[np.ndarray, "queries vocabulary"]]:
    return [softmax(x.double().numpy(), axis=-1) for x in (whole, reduced)]


def next_token_kl(whole_logits: torch.Tensor, reduced_logits: torch.Tensor) -> Float[np.ndarray, "queries"]:
    return rel_entr(*probabilities(whole_logits, reduced_logits)).sum(-1)


def jensen_shannon(whole_logits: torch.Tensor, reduced_logits: torch.Tensor) -> Float[np.ndarray, "queries"]:
    """scipy gives the distance, the root of the divergence; its root of a rounding error is NaN."""
    pairs = zip(*probabilities(whole_logits, reduced_logits), strict=True)
    return np.array([0.0 if np.array_equal(p, q) else scipy_jensenshannon(p, q) ** 2 for p, q in pairs])


def answer_rank(whole_logits: torch.Tensor, reduced_logits: torch.Tensor) -> Float[np.ndarray, "queries"]:
    """Ordinal ranks: ties in the order of the vocabulary."""
    whole, reduced = whole_logits.numpy(), reduced_logits.numpy()
    ranks = rankdata(-reduced, method="ordinal", axis=-1)
    return ranks[np.arange(len(ranks)), np.argmax(whole, -1)].astype(float)


def top1_agreement(whole_logits: torch.Tensor, reduced_logits: torch.Tensor) -> Float[np.ndarray, "queries"]:
    return (answer_rank(whole_logits, reduced_logits) == 1).astype(float)


def hidden_cosine(whole_hidden: torch.Tensor, reduced_hidden: torch.Tensor) -> Float[np.ndarray, "layers queries"]:
    a, b = whole_hidden.double().numpy(), reduced_hidden.double().numpy()
    values = [
        [1 - cosine(a[i, j], b[i, j]) if a[i, j].any() and b[i, j].any() else np.nan for j in range(a.shape[1])]
        for i in range(a.shape[0])
    ]
    return np.array(values)


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


def of_logits(whole: torch.Tensor, reduced: torch.Tensor) -> dict[str, Any]:
    return {"whole_logits": whole, "reduced_logits": reduced}


def of_states(whole: torch.Tensor, reduced: torch.Tensor) -> dict[str, Any]:
    return {"whole_hidden": whole, "reduced_hidden": reduced}


def of_reductions(reduction: Reduction, other: Reduction) -> dict[str, Any]:
    return {"reduction": reduction, "other": other}


CHECKS: dict[str, Checks] = {
    "next_token_kl": Checks(
        known=(
            Known("keep-all", of_logits(LOGITS, LOGITS), 0.0),
            Known("another constant added", of_logits(LOGITS, LOGITS + 3), 0.0),
            Known("even against uneven", of_logits(EVEN, UNEVEN), np.log(2 / 3**0.5)),
            Known("uneven against even", of_logits(UNEVEN, EVEN), 0.75 * np.log(1.5) + 0.25 * np.log(0.5)),
            Known("certain against even", of_logits(FIRST, EVEN[None]), np.log(2)),
            Known("no numbers", of_logits(torch.full((1, 2), torch.nan), FIRST), np.nan),
        ),
        oracle=next_token_kl,
        sample=logits,
        edges=False,
    ),
    "jensen_shannon": Checks(
        known=(
            Known("keep-all", of_logits(LOGITS, LOGITS), 0.0),
            Known("certain of different tokens", of_logits(FIRST, SECOND), np.log(2)),
            Known("certain against even", of_logits(FIRST, EVEN[None]), 0.75 * np.log(4 / 3)),
            Known("no numbers", of_logits(torch.full((1, 2), torch.nan), FIRST), np.nan),
        ),
        oracle=jensen_shannon,
        sample=logits,
        edges=False,
    ),
    "top1_agreement": Checks(
        known=(
            Known("keep-all", of_logits(LOGITS, LOGITS), 1.0),
            Known("reversed", of_logits(RISING, -RISING), 0.0),
            Known("ties to the lowest index", of_logits(torch.zeros(1, 4), FIRST.new_tensor([[3.0, 2, 1, 0]])), 1.0),
            Known("no numbers", of_logits(torch.full((1, 2), torch.nan), FIRST), np.nan),
        ),
        oracle=top1_agreement,
        sample=logits,
        edges=False,
    ),
    "answer_rank": Checks(
        known=(
            Known("keep-all", of_logits(LOGITS, LOGITS), 1.0),
            Known("reversed", of_logits(RISING, -RISING), 5.0),
            Known("ties to the lowest index", of_logits(RISING, torch.zeros(2, 5)), 5.0),
            Known("no numbers", of_logits(FIRST, torch.full((1, 2), torch.nan)), np.nan),
        ),
        oracle=answer_rank,
        sample=logits,
        edges=False,
    ),
    "hidden_cosine": Checks(
        known=(
            Known("keep-all", of_states(randn(4, 3, 16), randn(4, 3, 16)), 1.0),
            Known("opposite", of_states(randn(4, 3, 16), -randn(4, 3, 16)), -1.0),
            Known("at 60 degrees", of_states(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 3**0.5]])), 0.5),
            Known("zero vector", of_states(torch.zeros(1, 2), torch.ones(1, 2)), np.nan),
        ),
        oracle=hidden_cosine,
        sample=states,
        edges=False,
    ),
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
