"""Budgets, selectors and mergers, each on its own."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.pruning.parts.budget import (
    allocate,
    anchor_positions,
    curvature_weights,
    segment_weights,
    shares,
    uniform_weights,
)
from redundancy.pruning.parts.fastvid_budget import fastvid_budget
from redundancy.pruning.parts.merge import (
    MERGERS,
    AnchorCentric,
    ClusterMean,
    Mixture,
    SequentialHalving,
    nearest_by_cosine,
    nearest_by_distance,
)
from redundancy.pruning.parts.select import dual_anchor, rank, top_density, top_salience, true_indices

ints = torch.tensor


def test_equal_shares() -> None:
    assert shares(7, 3).tolist() == [3, 2, 2]
    assert uniform_weights(4).tolist() == [0.25] * 4
    assert segment_weights(ints([2, 1])).tolist() == [0.25, 0.25, 0.5]


def test_anchors_count_from_the_end() -> None:
    assert anchor_positions(9, 4).tolist() == [8, 4, 0]
    assert anchor_positions(1, 4).tolist() == [0]


def test_curvature_weights_are_a_softmax() -> None:
    w = curvature_weights(torch.tensor([1.0, 2.0]), temperature=0.5)
    assert w[1] / w[0] == pytest.approx(torch.e**2, rel=1e-6)  # float32
    assert w.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("weights", "total", "left_over", "expected"),
    [
        ([1.0] * 7, 34, "largest fraction", [10, 4, 4, 4, 4, 4, 4]),
        ([1.0] * 7, 34, "largest remainder", [5, 5, 5, 5, 5, 5, 4]),
        ([0.5, 0.3, 0.2], 7, "largest remainder", [3, 2, 2]),
        ([0.9, 0.05, 0.05], 40, "largest fraction", [18, 18, 4]),  # capped, then the lowest index is filled
        ([0.9, 0.05, 0.05], 40, "largest remainder", [18, 11, 11]),
        ([0.0, 0.0], 4, "largest remainder", [2, 2]),
        ([1.0, 0.0], 1, "largest remainder", [1, 0]),  # the minimum does not reach for all
        ([0.5, 0.5], 99, "largest remainder", [18, 18]),
        ([0.5, 0.5], 0, "largest remainder", [0, 0]),
    ],
)
def test_allocate(weights: list[float], total: int, left_over: str, expected: list[int]) -> None:
    budget = allocate(torch.tensor(weights), total, minimum=1, maximum=18, left_over=left_over)
    assert budget.tolist() == expected


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12),
    st.integers(0, 120),
    st.integers(0, 3),
    st.integers(3, 12),
    st.sampled_from(["largest fraction", "largest remainder"]),
)
@settings(deadline=None)
def test_allocate_spends_all(weights: list[float], total: int, low: int, high: int, left_over: str) -> None:
    T = len(weights)
    budget = allocate(torch.tensor(weights), total, minimum=low, maximum=high, left_over=left_over)
    assert int(budget.sum()) == min(total, T * high)
    assert int(budget.max()) <= high
    assert int(budget.min()) >= (low if total >= T * low else 0)


def test_allocate_refuses_other_rules() -> None:
    with pytest.raises(ValueError, match="left_over='x' given"):
        allocate(torch.ones(2), 2, minimum=0, maximum=2, left_over="x")


def budgets(variant: str, lengths: list[int], similarity: list[float], N: int, **given: float) -> tuple[list[int], ...]:
    rules = {"retention": 0.25, "d": 0.4, "p": 2, "ignore": 0.95} | given
    b = fastvid_budget(ints(lengths), torch.tensor(similarity), N, variant=variant, **rules)
    return b.salient.tolist(), b.context.tolist(), b.clamped


def test_budgets_of_the_variants() -> None:
    similarity = [0.9, 0.99, 0.9, 0.5]
    # K = 5 of 20: 3 salient and 2 context a frame; 8 context tokens on two anchors, 2 on the single frame
    assert budgets("onevision", [4, 1], similarity, 20) == ([3] * 5, [0, 4, 0, 4, 2], [])
    # B = 20: 8 context on two anchors; a single frame: 5 = 3 + 2
    assert budgets("llava_video", [4, 1], similarity, 20) == ([3] * 5, [0, 4, 0, 4, 2], [])
    # frame 1 is skipped: three frames share 12 and 8, anchors are the third and the first of them
    assert budgets("qwen", [4, 1], similarity, 20) == ([4, 0, 4, 4, 3], [4, 0, 0, 4, 2], [])


def test_odd_context_tokens_go_to_the_last_anchor_or_are_lost() -> None:
    similarity = [0.9, 0.9]
    assert budgets("onevision", [3], similarity, 12, d=0.4)[1] == [1, 0, 1]  # 3 on two anchors, one lost
    assert budgets("llava_video", [3], similarity, 12, d=0.4)[:2] == ([2, 2, 2], [1, 0, 2])
    assert budgets("llava_video", [3], similarity, 12, d=0.25)[:2] == ([3, 2, 2], [1, 0, 1])


def test_budgets_are_clamped_and_say_so() -> None:
    salient, context, clamped = budgets("onevision", [4], [1.0] * 3, 10, retention=1.0, p=4)
    assert (salient, context) == ([6] * 4, [0, 0, 0, 4])
    assert clamped == ["12 context tokens above the candidates of their frame lost"]
    assert budgets("onevision", [2], [1.0], 3, retention=0.1) == (
        [1, 1],
        [0, 0],
        ["int(N * retention) = 0 tokens per frame: 1"],
    )
    salient, context, clamped = budgets("qwen", [4], [1.0] * 3, 10, retention=0.5)
    assert (salient, context) == ([0, 0, 0, 5], [0, 0, 0, 5])
    assert clamped == ["10 tokens above the caps of frames [3] lost"]


def test_rank_breaks_ties_by_index() -> None:
    assert rank(torch.tensor([[1.0, 3.0, 3.0, float("nan"), 2.0]])).tolist() == [[3, 0, 1, 4, 2]]
    assert top_salience(torch.tensor([[1.0, 1.0, 1.0], [0.0, 2.0, 1.0]]), ints([2, 1])).tolist() == [
        [True, True, False],
        [False, True, False],
    ]


def test_true_indices() -> None:
    assert true_indices(torch.tensor([[True, False], [False, True]]), 2).tolist() == [0, 3]


def test_density_peaks_are_the_centres_of_clusters() -> None:
    g = torch.Generator().manual_seed(0)
    centre = torch.randn(3, 16, generator=g) * 4
    cluster = ints([0] * 6 + [1] * 5 + [2] * 5)
    x = (centre[cluster] + 0.1 * torch.randn(16, 16, generator=g))[None]
    everything = torch.ones(1, 16, dtype=torch.bool)
    ranks = top_density(x, ints([3]), candidates=everything)[0]
    assert sorted(cluster[ranks < 3].tolist()) == [0, 1, 2]
    assert (top_density(x, ints([0]), candidates=everything) == 16).all()


def test_dual_anchors_do_not_overlap() -> None:
    g = torch.Generator().manual_seed(1)
    x, salience = torch.randn(3, 9, 4, generator=g), torch.rand(3, 9, generator=g)
    salient, peak = dual_anchor(x, salience, salient=ints([2, 3, 0]), context=ints([4, 0, 9]))
    context = peak < ints([4, 0, 9])[:, None]
    assert salient.sum(1).tolist() == [2, 3, 0]
    assert context.sum(1).tolist() == [4, 0, 9]
    assert not (salient & context).any()


TARGET = ints([0, 0, 2, 0])  # three members of output 0, none of 1, one of 2


def test_weights_of_the_mergers() -> None:
    w = AnchorCentric(beta=0.2)(TARGET, 3)
    assert w.anchor.tolist() == [0.25, 1, 0.5]
    assert w.member.tolist() == [0.25, 0.25, 0.5, 0.25]
    assert AnchorCentric(beta=0.6)(TARGET, 3).anchor.tolist() == [0.6, 1, 0.6]
    w = Mixture(beta=0.7)(TARGET, 3)
    torch.testing.assert_close(w.anchor, torch.tensor([0.7, 1, 0.7], dtype=torch.float64))
    torch.testing.assert_close(w.member, torch.tensor([0.1, 0.1, 0.3, 0.1], dtype=torch.float64))
    w = ClusterMean()(TARGET, 3)
    assert (w.anchor.tolist(), w.member.tolist()) == ([0.25, 1, 0.5], [0.25, 0.25, 0.5, 0.25])
    w = SequentialHalving()(TARGET, 3)
    assert (w.anchor.tolist(), w.member.tolist()) == ([0.125, 1, 0.5], [0.125, 0.25, 0.5, 0.5])


@pytest.mark.parametrize("name", MERGERS)
@given(st.lists(st.integers(0, 4), max_size=30), st.floats(0, 1))
@settings(deadline=None)
def test_weights_sum_to_one(name: str, target: list[int], beta: float) -> None:
    to = torch.tensor(target, dtype=torch.int64)
    w = MERGERS.resolved(name, beta=beta)(to, 5)
    total = w.anchor.clone().index_add(0, to, w.member)
    torch.testing.assert_close(total, torch.ones(5, dtype=torch.float64), rtol=1e-12, atol=1e-12)  # float64
    assert (w.anchor >= 0).all()
    assert (w.member >= 0).all()


def test_nearest_by_cosine() -> None:
    targets = torch.tensor([[[2.0, 0.0], [0.0, 9.0], [1.0, 0.0]], [[0.0, 0.0], [1.0, 1.0], [5.0, 5.0]]])
    points = torch.tensor([[3.0, 1.0], [0.1, 0.2], [-1.0, 0.0]])
    assert nearest_by_cosine(points, targets).tolist() == [[0, 1, 1], [1, 1, 0]]
    valid = torch.tensor([[False, True, True], [False, True, True]])
    assert nearest_by_cosine(points, targets, valid=valid).tolist() == [[2, 1, 1], [1, 1, 1]]
    assert nearest_by_cosine(points, targets, epsilon=0.0)[1].tolist() == [0, 0, 0]  # a zero target attracts all


def test_nearest_by_distance() -> None:
    place = torch.tensor([0.0, 0.0, 1.0, 4.0])
    distance = (place[:, None] - place).abs()[None]
    assert nearest_by_distance(distance, torch.tensor([[True, True, False, True]])).tolist() == [[0, 1, 0, 3]]
