"""Coverage and compactness: settings, errors, samples, order of the errors."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.metrics.coverage import (
    cells_covered,
    error_of_outputs,
    nearest_distance,
    reconstruction_error,
    turn_coverage,
    video_outputs,
)
from redundancy.metrics.coverage.compactness import (
    kcentre_error,
    kmeans_error,
    pca_error,
    reconstruction_gap,
    tokens_needed,
)
from redundancy.metrics.kernels.sample import fixed_sample
from redundancy.reduction import Reduction, compose
from redundancy.tokens import TokenGrid
from tests.metrics.checks.case import randn
from tests.metrics.checks.coverage import ALL, GRID, keep
from tests.metrics.checks.reductions import random_reduction, with_newlines


@given(st.integers(0, 9999), st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))
def test_no_outputs_beat_the_best_rank(seed: int, T: int, N: int, D: int) -> None:
    tokens, reduction = randn(T, N, D, seed=seed), random_reduction(seed, T, N)
    bound = pca_error(tokens, reduction).item()
    for error in (reconstruction_error, kmeans_error, kcentre_error):
        assert error(tokens, reduction).item() >= bound - 1e-5  # float32


@settings(max_examples=20)
@given(st.integers(0, 9999), st.integers(1, 3))
def test_kmeans_is_near_the_best_partition(seed: int, K: int) -> None:
    """All partitions of six tokens; a local optimum is at least the best, here rarely far from it."""
    tokens = randn(1, 6, 2, seed=seed)
    points = tokens[0].double()
    best = min(
        sum(
            (points[own] - points[own].mean(0)).square().sum().item()
            for own in (torch.tensor(labels) == k for k in range(K))
            if own.any()
        )
        for labels in itertools.product(range(K), repeat=6)
    )
    found = kmeans_error(tokens, keep(list(range(K)), 1, 6)).item()
    best = (best / points.square().sum().item()) ** 0.5
    assert best - 1e-5 <= found <= 1.5 * best + 1e-5  # float32; 1.5: no promise of k-means, holds for these seeds


@given(st.integers(0, 9999), st.integers(1, 5), st.integers(1, 4))
def test_distinct_tokens_repeated_need_no_more(seed: int, distinct: int, copies: int) -> None:
    tokens = randn(1, distinct, 4, seed=seed).repeat(1, copies, 1)
    reduction = keep(list(range(distinct)), 1, distinct * copies)
    assert (tokens_needed(tokens) <= distinct).all()
    assert kcentre_error(tokens, reduction).item() == 0
    assert kmeans_error(tokens, reduction).item() == 0
    assert reconstruction_error(tokens, reduction).item() == 0
    assert reconstruction_gap(tokens, reduction).isnan()


def test_large_videos_are_sampled() -> None:
    tokens = randn(1, 50, 8).repeat(60, 1, 1)  # 3,000 tokens, 50 of them distinct
    few, many = keep(list(range(50)), 60, 50), keep(list(range(2000)), 60, 50)
    assert len(fixed_sample(tokens, seed=0, sample=2000)) == 2000
    assert torch.equal(fixed_sample(tokens, seed=3, sample=90), fixed_sample(tokens, seed=3, sample=90))
    assert not torch.equal(fixed_sample(tokens, seed=3, sample=90), fixed_sample(tokens, seed=4, sample=90))
    assert kmeans_error(tokens, few).item() == 0
    assert kcentre_error(tokens, few).item() == 0
    assert (tokens_needed(tokens) <= 50).all()
    for error in (kmeans_error, kcentre_error, reconstruction_gap):
        assert error(tokens, many).isnan()  # a sample of 2,000 has nothing to say about 2,000 centres
    assert kcentre_error(tokens, many, sample=3000).item() == 0


def test_a_sample_estimates_the_error() -> None:
    """Means of 1,000 of 4,000 Gaussian tokens: relative standard error about 1 / sqrt(1,000 * 16 / 2) = 0.011."""
    tokens, one = randn(40, 100, 16), keep([0], 40, 100)
    whole = kmeans_error(tokens, one, sample=4000).item()
    assert kmeans_error(tokens, one, sample=1000).item() == pytest.approx(whole, abs=0.02)
    assert whole == pytest.approx(1, abs=0.01)  # one centre, at a mean of about 0


def test_outputs_inside_the_model_are_made_of_their_video_tokens() -> None:
    grid = TokenGrid(1, 2, 2)
    tokens = torch.eye(4)[None]
    inside = Reduction(
        anchor=torch.tensor([0, 2]),
        source=torch.tensor([0, 2, 4, 5]),
        target=torch.tensor([0, 0, 0, 1]),
        weight=torch.tensor([0.25, 0.5, 0.25, 1.0], dtype=torch.float64),
        slots=with_newlines(grid),
        grid=grid,
        layer=2,
    )
    assert video_outputs(tokens, inside).tolist() == [[0.5, 0, 0, 0.5]]  # slot 2 is a newline, output 1 has no other


def test_composed_reductions_make_the_outputs_of_their_map() -> None:
    tokens = randn(6, 4, 3)
    first = Reduction.from_selection(torch.arange(0, 24, 2), grid=GRID)
    second = Reduction.from_selection(torch.arange(0, 12, 3), grid=GRID, slots=first.anchor_token, layer=2)
    both = compose(first, second)
    assert torch.equal(video_outputs(tokens, both), both.apply(tokens))
    torch.testing.assert_close(video_outputs(tokens, second), video_outputs(tokens, both))


def test_nothing_kept() -> None:
    nothing, tokens = keep([], 2, 3), randn(2, 3, 4)
    for error in (reconstruction_error, kmeans_error, kcentre_error, pca_error):
        assert error(tokens, nothing).item() == pytest.approx(1)
    assert error_of_outputs(tokens, tokens[0, :0]).item() == 1
    assert nearest_distance(tokens, nothing).kcentre_radius.isnan()


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"radius=-1 given, expected 0 or more"):
        cells_covered(ALL, radius=-1)
    with pytest.raises(ValueError, match=r"eps=\(0.1, 0\) given, expected relative errors above 0"):
        tokens_needed(randn(1, 2, 3), eps=(0.1, 0))
    with pytest.raises(ValueError, match="sample=0 given, expected at least 1"):
        kmeans_error(randn(6, 4, 3), ALL, sample=0)
    with pytest.raises(ValueError, match=r"tokens \(2, 3, 4\) given, expected \[6, 4, D\]"):
        reconstruction_error(randn(2, 3, 4), ALL)
    with pytest.raises(ValueError, match="share=0 given"):
        turn_coverage(ALL, randn(6, 3), share=0)
