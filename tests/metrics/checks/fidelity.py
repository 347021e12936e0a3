"""Checks of the fidelity metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.distance import cosine
from scipy.spatial.distance import jensenshannon as scipy_jensenshannon
from scipy.special import rel_entr, softmax
from scipy.stats import rankdata

from tests.metrics.checks.case import Checks, Known, randn

LOGITS = randn(3, 11) * 4
RISING = torch.arange(5.0).expand(2, 5)
EVEN, UNEVEN = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.75, 0.25]).log()
FIRST, SECOND = torch.tensor([[9.0, -torch.inf]]), torch.tensor([[-torch.inf, 9.0]])


def logits(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    """T queries and N * D words; every third is rounded and has ties."""
    whole, reduced = 3 * randn(T, N * D, seed=seed), 3 * randn(T, N * D, seed=seed + 10_000)
    return {
        "full_logits": whole.round() if seed % 3 == 0 else whole,
        "reduced_logits": reduced.round() if seed % 3 == 0 else reduced,
    }


def states(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    whole, reduced = randn(T, N, D, seed=seed), randn(T, N, D, seed=seed + 10_000)
    whole[0, 0] = 0
    return {"full_hidden": whole, "reduced_hidden": reduced}


def probabilities(whole: torch.Tensor, reduced: torch.Tensor) -> list[Float[np.ndarray, "queries vocabulary"]]:
    return [softmax(x.double().numpy(), axis=-1) for x in (whole, reduced)]


def next_token_kl(full_logits: torch.Tensor, reduced_logits: torch.Tensor) -> Float[np.ndarray, "queries"]:
    return rel_entr(*probabilities(full_logits, reduced_logits)).sum(-1)


def jensen_shannon(full_logits: torch.Tensor, reduced_logits: torch.Tensor) -> Float[np.ndarray, "queries"]:
    """scipy gives the distance, the root of the divergence; its root of a rounding error is NaN."""
    pairs = zip(*probabilities(full_logits, reduced_logits), strict=True)
    return np.array([0.0 if np.array_equal(p, q) else scipy_jensenshannon(p, q) ** 2 for p, q in pairs])


def answer_rank(full_logits: torch.Tensor, reduced_logits: torch.Tensor) -> Float[np.ndarray, "queries"]:
    """Ordinal ranks: ties in the order of the vocabulary."""
    whole, reduced = full_logits.numpy(), reduced_logits.numpy()
    ranks = rankdata(-reduced, method="ordinal", axis=-1)
    return ranks[np.arange(len(ranks)), np.argmax(whole, -1)].astype(float)


def top1_agreement(full_logits: torch.Tensor, reduced_logits: torch.Tensor) -> Float[np.ndarray, "queries"]:
    return (answer_rank(full_logits, reduced_logits) == 1).astype(float)


def hidden_cosine(full_hidden: torch.Tensor, reduced_hidden: torch.Tensor) -> Float[np.ndarray, "layers queries"]:
    a, b = full_hidden.double().numpy(), reduced_hidden.double().numpy()
    values = [
        [1 - cosine(a[i, j], b[i, j]) if a[i, j].any() and b[i, j].any() else np.nan for j in range(a.shape[1])]
        for i in range(a.shape[0])
    ]
    return np.array(values)


def of_logits(whole: torch.Tensor, reduced: torch.Tensor) -> dict[str, Any]:
    return {"full_logits": whole, "reduced_logits": reduced}


def of_states(whole: torch.Tensor, reduced: torch.Tensor) -> dict[str, Any]:
    return {"full_hidden": whole, "reduced_hidden": reduced}


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
}
