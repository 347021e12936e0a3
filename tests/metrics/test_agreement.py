"""How far two reductions agree: edges, refusals, and what chance gives against an enumeration of all choices."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redundancy.metrics.agreement import (
    AGREEMENT,
    agreement_with_chance,
    anchor_jaccard,
    budget_spearman,
    expected_jaccard,
    kept_per_frame,
    source_jaccard,
)
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid
from tests.metrics.checks.agreement import two_reductions

seeds = st.integers(0, 9999)


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
    here, there = Reduction.keep_all(TokenGrid(2, 2, 2)), Reduction.keep_all(TokenGrid(2, 1, 4))
    for compare in (anchor_jaccard, source_jaccard, budget_spearman):
        with pytest.raises(ValueError, match=r"other on grid \(2, 1, 4\) given, expected \(2, 2, 2\)"):
            compare(here, there)
    with pytest.raises(ValueError, match="of='places' given, expected 'anchors' or 'sources'"):
        kept_per_frame(here, of="places")
    with pytest.raises(ValueError, match="second of 1 groups given, expected 2"):
        expected_jaccard(4, torch.tensor([1, 2]), torch.tensor([1]))
    with pytest.raises(ValueError, match="5 places chosen of 4"):
        expected_jaccard(4, torch.tensor([5]), torch.tensor([1]))


def test_places_of_each_frame_count_once():
    grid = TokenGrid(2, 1, 3)
    slots = torch.tensor([0, 1, 2, -1, 3, 4, 5, -1])
    merged = Reduction(
        anchor=torch.tensor([0, 3, 4]),
        source=torch.tensor([0, 1, 1, 3, 6, 2]),
        target=torch.tensor([0, 0, 2, 1, 2, 0]),
        weight=torch.tensor([0.5, 0.5, 1.0, 1.0, 1.0, 0.0], dtype=torch.float64),
        slots=slots,
        grid=grid,
        layer=1,
    )
    assert kept_per_frame(merged).tolist() == [1, 1]  # a newline is no place
    assert kept_per_frame(merged, of="sources").tolist() == [2, 1]  # weight 0 is no source, one place counts once


def mean_over_choices(total: int, first: list[int], second: list[int]) -> float:
    """All pairs of choices, one by one."""
    places = [range(g * total, (g + 1) * total) for g in range(len(first))]
    values = []
    for a in product(*(combinations(p, k) for p, k in zip(places, first, strict=True))):
        for b in product(*(combinations(p, k) for p, k in zip(places, second, strict=True))):
            one, other = {x for part in a for x in part}, {x for part in b for x in part}
            values.append(len(one & other) / len(one | other))
    return float(np.mean(values))


@pytest.mark.parametrize(
    ("total", "first", "second"), [(4, [2], [3]), (3, [1, 2], [2, 2]), (3, [0, 3], [1, 1]), (5, [0], [2])]
)
def test_chance_is_the_mean_over_all_choices(total: int, first: list[int], second: list[int]):
    found = expected_jaccard(total, torch.tensor(first), torch.tensor(second))
    assert found == pytest.approx(mean_over_choices(total, first, second), abs=1e-12)


def test_known_chance():
    assert expected_jaccard(6, torch.tensor([6]), torch.tensor([6])) == pytest.approx(1)
    assert expected_jaccard(2, torch.tensor([1]), torch.tensor([1])) == pytest.approx(0.5)
    assert np.isnan(expected_jaccard(6, torch.tensor([0]), torch.tensor([0])))


def test_one_pair_by_hand() -> None:
    """Frames of two places: {0, 1} against {1, 2} share one of three; both hold the whole content of what they keep."""
    grid = TokenGrid(2, 1, 2)
    a, b = (Reduction.from_selection(torch.tensor(index), grid=grid) for index in ([0, 1], [1, 2]))
    row = agreement_with_chance(a, b)
    assert set(row) == set(AGREEMENT)
    assert row["anchor_jaccard"] == pytest.approx(1 / 3)
    assert row["source_jaccard"] == pytest.approx(1 / 3)
    assert row["anchor_expected"] == pytest.approx(7 / 18)
    assert row["anchor_excess"] == pytest.approx(1 / 3 - 7 / 18)
    # frame 0: both of its places against one of them, 1 in common; frame 1: none against one; so 1 of 3 for sure
    assert row["anchor_expected_in_frames"] == pytest.approx(1 / 3)
    assert row["anchor_excess_in_frames"] == pytest.approx(0, abs=1e-7)  # the index is float32
    assert (row["achieved_first"], row["achieved_second"]) == (0.5, 0.5)
