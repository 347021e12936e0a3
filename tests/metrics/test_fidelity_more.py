"""Fidelity metrics at the edges of distributions, against each other, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redundancy.metrics.fidelity import (
    answer_rank,
    hidden_cosine,
    jensen_shannon,
    next_token_kl,
    top1_agreement,
)
from tests.metrics.checks.fidelity import logits

seeds = st.integers(0, 9999)


def test_what_the_reduced_model_excludes_is_infinitely_far():
    whole, reduced = torch.tensor([[0.0, 0.0, -torch.inf]]), torch.tensor([[0.0, -torch.inf, 0.0]])
    assert next_token_kl(whole, reduced).isinf().all()
    # half of each distribution lies where the other has nothing
    assert jensen_shannon(whole, reduced).item() == pytest.approx(math.log(2) / 2)


def test_what_the_whole_model_excludes_costs_nothing():
    """`0 ln 0 = 0`, for probabilities that are 0 and those too small for float64."""
    for low in (-torch.inf, -2000.0):
        whole, reduced = torch.tensor([[0.0, low]]), torch.tensor([[0.0, -torch.inf]])
        assert next_token_kl(whole, reduced) == 0
        assert jensen_shannon(whole, reduced) == 0


def test_small_divergences_survive_large_logits():
    """To second order KL = sum p e^2 / 2 - (sum p e)^2 / 2; float32 would leave rounding of 1e-7 instead."""
    whole = torch.tensor([[1000.0, 1000.0]], dtype=torch.float64)
    reduced = whole + torch.tensor([1e-5, -1e-5], dtype=torch.float64)
    assert next_token_kl(whole, reduced).item() == pytest.approx(0.5e-10, rel=1e-4)
    assert jensen_shannon(whole, reduced).item() == pytest.approx(0.125e-10, rel=1e-2)  # differences of 1e-13


@given(seed=seeds)
def test_divergences_against_each_other(seed):
    pair = logits(seed, 4, 5, 3)
    whole, reduced = pair["full_logits"], pair["reduced_logits"]
    js = jensen_shannon(whole, reduced)
    torch.testing.assert_close(js, jensen_shannon(reduced, whole))
    jeffreys = (next_token_kl(whole, reduced) + next_token_kl(reduced, whole)) / 4
    assert (js <= jeffreys * (1 + 1e-6)).all()  # Lin 1991, theorem 3; outputs are rounded to float32
    assert torch.equal(top1_agreement(whole, reduced) == 1, answer_rank(whole, reduced) == 1)


def test_dims_lead_freely():
    whole, reduced = torch.randn(2, 3, 7), torch.randn(2, 3, 7)
    for function in (next_token_kl, jensen_shannon, top1_agreement, answer_rank):
        values = function(whole, reduced)
        assert values.shape == (2, 3)
        assert values.dtype == torch.float32
        assert function(whole[0, 1], reduced[0, 1]) == values[0, 1]


def test_massive_activations_do_not_overflow():
    """Squares of 1e30 are beyond float32."""
    a, b = torch.tensor([1e30, 1e30]).bfloat16(), torch.tensor([1e30, 0.0]).bfloat16()
    assert hidden_cosine(a, b).item() == pytest.approx(0.5**0.5)


def test_what_is_refused():
    for function in (next_token_kl, jensen_shannon, top1_agreement, answer_rank, hidden_cosine):
        with pytest.raises(ValueError, match=r"shape \(1, 4\) of the reduced model given, expected \(2, 4\)"):
            function(torch.randn(2, 4), torch.randn(1, 4))
