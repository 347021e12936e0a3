"""Fidelity metrics at the edges of distributions, against each other, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redundancy.metrics.fidelity import (
    anchor_jaccard,
    answer_rank,
    budget_spearman,
    hidden_cosine,
    jensen_shannon,
    next_token_kl,
    source_jaccard,
    top1_agreement,
)
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid
from tests.metrics.checks.fidelity import logits, two_reductions

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
    whole, reduced = pair["whole_logits"], pair["reduced_logits"]
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


@given(seed=seeds)
def test_agreement_of_methods_is_symmetric(seed):
    pair = two_reductions(seed, 4, 5, 1)
    for function in (anchor_jaccard, source_jaccard, budget_spearman):
        there, back = function(pair["reduction"], pair["other"]), function(pair["other"], pair["reduction"])
        torch.testing.assert_close(there, back, equal_nan=True)
        self = function(pair["other"], pair["other"])
        assert self.isnan() or self == pytest.approx(1)


def test_newlines_are_neither_anchors_nor_sources():
    grid, slots = TokenGrid(2, 1, 2), torch.tensor([0, 1, -1, 2, 3, -1])
    first = Reduction.from_selection(torch.tensor([0, 2, 3, 4]), grid=grid, slots=slots, layer=1)
    second = Reduction.from_selection(torch.tensor([0, 5, 3]), grid=grid, slots=slots, layer=1)
    assert anchor_jaccard(first, second) == pytest.approx(2 / 3)
    assert source_jaccard(first, second) == pytest.approx(2 / 3)
    assert budget_spearman(first, second).isnan()  # one token in each frame of the second


def test_an_inner_reduction_against_an_outer_one():
    """Slots of the one are the outputs of the other: tokens are compared, not slots."""
    grid = TokenGrid(2, 1, 3)
    outer = Reduction.from_selection(torch.tensor([1, 3, 5]), grid=grid)
    inner = Reduction.from_selection(torch.tensor([0, 2]), grid=grid, slots=torch.tensor([1, 3, 5]), layer=3)
    assert anchor_jaccard(outer, inner) == pytest.approx(2 / 3)


def test_what_is_refused():
    for function in (next_token_kl, jensen_shannon, top1_agreement, answer_rank, hidden_cosine):
        with pytest.raises(ValueError, match=r"shape \(1, 4\) of the reduced model given, expected \(2, 4\)"):
            function(torch.randn(2, 4), torch.randn(1, 4))
    here, there = Reduction.keep_all(TokenGrid(2, 2, 2)), Reduction.keep_all(TokenGrid(2, 1, 4))
    for compare in (anchor_jaccard, source_jaccard, budget_spearman):
        with pytest.raises(ValueError, match=r"other on grid \(2, 1, 4\) given, expected \(2, 2, 2\)"):
            compare(here, there)
