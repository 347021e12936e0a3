"""Temporal metrics: statistical answers, zero vectors, blocks, errors, time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.signal import lfilter

from redundancy.metrics.temporal import (
    autocorrelation,
    correlation_length,
    cosines,
    effective_frames,
    motion_compensated_similarity,
    persistence_skill,
    run_length,
    segment_contrast,
    segment_silhouette,
    static_fraction,
    temporal_redundancy,
    token_persistence,
    transition_similarity,
)
from redundancy.metrics.temporal.memory import _first_lag_below
from redundancy.tokens import TokenGrid
from tests.metrics.checks import temporal as oracles
from tests.metrics.checks.case import randn

SMALL = randn(7, 12, 5, seed=3)
GRID = TokenGrid(7, 3, 4)


def ar1(coefficient: float, T: int, D: int) -> torch.Tensor:
    return torch.from_numpy(lfilter([1], [1, -coefficient], randn(T, D, seed=1).double().numpy(), axis=0))


@pytest.mark.parametrize("coefficient", [0.5, 0.8, 0.95])
def test_autocorrelation_of_an_ar1_process(coefficient: float) -> None:
    f = ar1(coefficient, 16_000, 16)
    lags = torch.arange(20)
    # a = 0.95 is the worst: bias (1 + a) / (1 - a) / T = 0.002, standard error at long lags, after Bartlett,
    # sqrt((1 + a^2) / (1 - a^2) / (16 T)) = 0.009
    np.testing.assert_allclose(autocorrelation(f)[:20], coefficient**lags, atol=0.03)
    found = correlation_length(f, torch.arange(16_000) * 0.25)
    # linear between lags lies above the exponential: by 10% at a = 0.5, less at longer lengths; 3% of noise
    assert found.correlation_length.item() == pytest.approx(-0.25 / np.log(coefficient), rel=0.13)
    assert not found.censored


def test_autocorrelation_of_many_frames_needs_no_table_of_pairs() -> None:
    f = randn(100_000, 1)
    assert autocorrelation(f).shape == (50_001,)  # a table of pairs would take 80 GB


def test_correlation_length_is_linear_between_lags_and_censored_if_never_reached() -> None:
    assert _first_lag_below(torch.tensor([1.0, 0.6, 0.2]), 0.5).item() == pytest.approx(1.25)
    assert _first_lag_below(torch.tensor([1.0, 0.9, 0.8]), 0.5).isnan()
    found = correlation_length(torch.ones(1, 3), torch.zeros(1))
    assert found.correlation_length.isnan()
    assert not found.censored  # undefined, not long


@pytest.mark.parametrize("T", [3, 8, 32])
def test_persistence_skill_of_white_noise(T: int) -> None:
    skill = persistence_skill(randn(T, 200, 100)).item()
    assert skill == pytest.approx(1 - 2 * T / (T - 1), abs=0.03)  # 20,000 samples a frame: s.e. below 0.01


def test_persistence_skill_of_noise_on_large_tokens_keeps_its_precision() -> None:
    noise = randn(8, 20, 50, seed=5)
    shifted = noise + 1000
    exact = oracles.persistence_skill(shifted)
    assert persistence_skill(shifted).item() == pytest.approx(float(exact), rel=1e-4)  # 1000 + noise is rounded to 6e-5


def test_motion_is_found_over_a_larger_radius() -> None:
    x = randn(9, 9, 12)
    tokens = torch.stack([x, x.roll((2, -3), (0, 1))]).flatten(1, 2)
    inner = torch.arange(81).view(9, 9)[3:-3, 3:-3].flatten()
    found = motion_compensated_similarity(tokens, TokenGrid(2, 9, 9), radius=3)
    assert (found.displacement[0, inner] == torch.tensor([-2.0, 3.0])).all()
    torch.testing.assert_close(found.motion_compensated_similarity[0, inner], torch.ones(len(inner)))
    short = motion_compensated_similarity(tokens, TokenGrid(2, 9, 9), radius=1)
    assert (short.motion_compensated_similarity[0, inner] < 0.99).all()


@pytest.mark.parametrize("radius", [0, 1, 2, 9])
def test_motion_compensated_similarity_is_no_less_than_the_persistence(radius: int) -> None:
    found = motion_compensated_similarity(SMALL, GRID, radius=radius)
    persistence = token_persistence(SMALL)
    assert (found.motion_compensated_similarity >= persistence).all()
    similarity, displacement = oracles.motion_compensated_similarity(SMALL, GRID, radius)
    np.testing.assert_allclose(found.motion_compensated_similarity, similarity, atol=1e-6)  # float32 sums of 5 terms
    np.testing.assert_array_equal(found.displacement, displacement)
    if radius == 0:
        assert torch.equal(found.motion_compensated_similarity, persistence)


def test_motion_ties_go_to_the_shortest_then_to_the_lowest_index() -> None:
    x = randn(9, 4, seed=2)
    x[[0, 1, 3, 5]] = x[8].clone()  # beside the centre: a corner, and three places at distance 1
    after = x.clone()
    after[4] = 3 * x[8]
    displacement = motion_compensated_similarity(torch.stack([x, after]), TokenGrid(2, 3, 3)).displacement
    assert displacement[0, 4].tolist() == [-1, 0]


def test_motion_next_to_zero_tokens() -> None:
    x = SMALL.clone()
    x[1, 0] = 0
    x[4] = 0
    similarity, displacement = motion_compensated_similarity(x, GRID)
    assert similarity[0, 0].isnan()  # no direction to compare
    assert displacement[0, 0].isnan().all()
    assert not similarity[1].isnan().any()  # a zero token is no match, its neighbours are
    assert similarity[3:5].isnan().all()
    assert not similarity[5].isnan().any()


def test_blocks_of_frames_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [*motion_compensated_similarity(SMALL, GRID), persistence_skill(SMALL)]
    for block in (1, 120, 200):  # 60 values a frame: 1, 2 and 3 frames
        monkeypatch.setattr(cosines, "BLOCK", block)
        parts = [*motion_compensated_similarity(SMALL, GRID), persistence_skill(SMALL)]
        for one, other in zip(whole, parts, strict=True):
            torch.testing.assert_close(one, other)


def test_persistence_metrics_follow_the_places() -> None:
    persistence, time = token_persistence(SMALL), torch.arange(7.0)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    assert torch.equal(static_fraction(persistence), static_fraction(persistence[:, order]))
    assert torch.equal(
        run_length(persistence, time, tau=0).run_length[order],
        run_length(persistence[:, order], time, tau=0).run_length,
    )


def test_run_of_uneven_frames_lasts_mean_steps() -> None:
    time = torch.tensor([0.0, 1.0, 4.0])
    assert run_length(torch.zeros(2, 1), time).run_length_seconds.item() == 2
    assert run_length(torch.ones(2, 1), time).run_length_seconds.item() == 6


def test_zero_frames_are_left_out() -> None:
    f = randn(8, 5, seed=1)
    f[[2, 5]] = 0
    kept = f[[0, 1, 3, 4, 6, 7]]
    torch.testing.assert_close(effective_frames(f), effective_frames(kept))
    torch.testing.assert_close(temporal_redundancy(f), temporal_redundancy(kept))
    parts, kept_parts = torch.tensor([3, 2, 3]), torch.tensor([2, 2, 2])
    torch.testing.assert_close(segment_contrast(f, parts), segment_contrast(kept, kept_parts))
    torch.testing.assert_close(segment_silhouette(f, parts), segment_silhouette(kept, kept_parts))
    assert effective_frames(0 * f).isnan()
    assert segment_contrast(0 * f, parts).isnan()
    assert segment_silhouette(0 * f, parts).isnan()


def test_segments_of_one_frame_have_no_silhouette() -> None:
    f = randn(6, 5, seed=4)
    parts = torch.tensor([1, 3, 2])
    expected = oracles.segment_silhouette(f, parts)
    assert segment_silhouette(f, parts).item() == pytest.approx(float(expected), abs=1e-6)  # float32 result


def test_better_segments_score_higher() -> None:
    shots = randn(3, 1, 16).expand(3, 5, 16).flatten(0, 1) + 0.2 * randn(15, 16, seed=1)
    true, false = torch.tensor([5, 5, 5]), torch.tensor([3, 5, 7])
    assert segment_contrast(shots, true) > segment_contrast(shots, false)
    assert segment_silhouette(shots, true) > segment_silhouette(shots, false)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: motion_compensated_similarity(SMALL, GRID, radius=-1), "radius=-1 given, expected at least 0"),
        (
            lambda: motion_compensated_similarity(SMALL, TokenGrid(7, 3, 5)),
            r"grid=\(7, 3, 5\) given, expected 7 frames",
        ),
        (lambda: static_fraction(torch.ones(2, 2), tau=(0.5, 80)), r"tau=\(0.5, 80\) given, expected cosines in"),
        (lambda: run_length(torch.ones(2, 2), torch.arange(3.0), tau=2), r"tau=2 given, expected cosines in"),
        (lambda: run_length(torch.ones(2, 2), torch.arange(2.0)), r"frame_time=.* given, expected 3 ascending"),
        (lambda: correlation_length(torch.ones(2, 2), torch.tensor([1.0, 0.0])), "expected 2 ascending"),
        (lambda: segment_contrast(torch.ones(4, 2), torch.tensor([2, 3])), r"segments=\[2, 3\] given, expected"),
        (lambda: segment_silhouette(torch.ones(4, 2), torch.tensor([4, 0])), "positive lengths that add up to 4"),
    ],
)
def test_errors_say_what_was_given_and_expected(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_results_are_float32_from_any_dtype() -> None:
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        x, f, parts = SMALL.to(dtype), SMALL[:, 0].to(dtype), torch.tensor([3, 4])
        time, persistence = torch.arange(7.0, dtype=torch.float64), token_persistence(x)
        results = [
            transition_similarity(f),
            persistence,
            *motion_compensated_similarity(x, GRID),
            static_fraction(persistence),
            *run_length(persistence, time),
            effective_frames(f),
            temporal_redundancy(f),
            persistence_skill(x),
            autocorrelation(f),
            correlation_length(f, time).correlation_length,
            segment_contrast(f, parts),
            segment_silhouette(f, parts),
        ]
        assert all(r.dtype == torch.float32 for r in results)


def test_a_persistence_at_tau_goes_on_with_the_run() -> None:
    persistence = torch.tensor([[0.5, 0.25], [0.5, 0.5], [0.75, 0.5]])
    assert run_length(persistence, torch.arange(4.0), tau=0.5).run_length.tolist() == [4.0, 2.0]
