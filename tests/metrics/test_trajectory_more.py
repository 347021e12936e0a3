"""Trajectory metrics beyond the table: statistical answers, precision, settings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redundancy.metrics.trajectory import (
    curvature,
    intrinsic_dimension,
    menger_curvature,
    polyline_error,
    straightness,
    turn_frames,
    turning_angle,
    twonn_dimension,
)
from redundancy.metrics.trajectory.dimension import twonn_fit
from redundancy.metrics.trajectory.polyline import best_vertices, polyline_error_of, segment_costs, uniform_vertices
from tests.metrics.checks.case import randn

paths = st.tuples(st.integers(0, 9999), st.integers(2, 40), st.integers(1, 5))


def rand(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_independent_frames_turn_by_120_degrees() -> None:
    """Steps of white noise in many dimensions have cosine -1/2."""
    f = randn(200, 4096)
    assert turning_angle(f).nanmean().item() == pytest.approx(
        120, abs=0.3
    )  # s.e. of a cosine about 1 / sqrt(4096 * 200)
    assert curvature(f, convention="geometric").nanmean().item() == pytest.approx(1.5, abs=0.005)


@pytest.mark.parametrize("degrees", [1e-4, 1e-2, 179.99])
def test_small_and_flat_angles_keep_their_digits(degrees: float) -> None:
    angle = np.radians(degrees)
    f = torch.tensor([[-1.0, 0.0], [0.0, 0.0], [np.cos(angle), np.sin(angle)]], dtype=torch.float64)
    assert turning_angle(f)[1].item() == pytest.approx(degrees, rel=1e-6)  # the result is float32


def test_menger_curvature_of_a_nearly_straight_path() -> None:
    radius = 1e6
    angle = torch.arange(4, dtype=torch.float64) / radius
    f = radius * torch.stack([angle.sin(), 2 * (angle / 2).sin() ** 2], 1)  # 1 - cos without cancellation
    torch.testing.assert_close(menger_curvature(f)[1:-1], torch.full((2,), 1 / radius), rtol=1e-5, atol=0)


def test_a_rotation_and_a_shift_change_nothing() -> None:
    f = randn(9, 6).double()
    moved = f @ torch.linalg.qr(randn(6, 6, seed=1).double()).Q + 3
    for metric in (turning_angle, menger_curvature, straightness, intrinsic_dimension):
        torch.testing.assert_close(metric(moved), metric(f), rtol=1e-6, atol=1e-5, equal_nan=True)  # float32 results


@pytest.mark.parametrize(("frames", "share", "expected"), [(70, 0.1, 7), (71, 0.1, 8), (5, 0.01, 1), (8, 1, 6)])
def test_number_of_turn_frames(frames: int, share: float, expected: int) -> None:
    assert turn_frames(randn(frames, 16), share=share).sum() == expected


def test_frames_without_motion_are_no_turn_frames() -> None:
    f = torch.tensor([[0.0, 0], [1, 0], [1, 0], [1, 0], [2, 0], [2, 1], [2, 2]])
    assert turn_frames(f, share=1).tolist() == [0, 0, 0, 0, 1, 1, 0]


def test_intrinsic_dimension_of_noise_in_k_directions() -> None:
    f = torch.cat([randn(4000, 5), torch.zeros(4000, 20)], 1)
    assert intrinsic_dimension(f).item() == pytest.approx(5, rel=0.01)  # 1 / (1 + k / T) below k


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_twonn_finds_the_dimension_of_a_cube(k: int) -> None:
    cube = rand(10, 200, k, seed=k) @ torch.linalg.qr(randn(16, k)).Q.T
    assert twonn_dimension(cube).item() == pytest.approx(k, rel=0.15)


def test_twonn_counts_a_duplicate_once() -> None:
    x = rand(4, 50, 2)
    assert twonn_dimension(torch.cat([x, x])) == twonn_dimension(x)


def test_twonn_measures_near_points_far_from_the_origin() -> None:
    x = 1000 + (rand(1, 400, 3) * 64).round() / 64  # exact in float32
    assert twonn_dimension(x).item() == pytest.approx(twonn_dimension(x - 1000).item(), rel=1e-6)


def test_twonn_samples_by_seed() -> None:
    x = rand(5, 100, 3)
    assert twonn_dimension(x, sample=100, seed=1) == twonn_dimension(x, sample=100, seed=1)
    assert twonn_dimension(x, sample=100, seed=1) != twonn_dimension(x, sample=100, seed=2)
    assert twonn_dimension(x, sample=500) == twonn_dimension(x)


@given(st.tuples(st.integers(0, 9999), st.integers(2, 14), st.integers(1, 5)))
def test_costs_of_pieces_are_their_errors(size: tuple[int, int, int]) -> None:
    seed, T, F = size
    f = 100 + randn(T, F, seed=seed)
    cost = segment_costs(f)
    for i in range(T):
        assert cost[i, : i + 1].isinf().all()
        for j in range(i + 1, T):
            direct = polyline_error_of(f[i : j + 1], torch.tensor([0, j - i]))
            assert cost[i, j].item() == pytest.approx(direct.item(), rel=1e-6, abs=1e-9)  # direct is float32


@given(paths)
def test_best_vertices_are_no_worse_than_others(size: tuple[int, int, int]) -> None:
    seed, T, F = size
    f = randn(T, F, seed=seed)
    errors = polyline_error(f, k=(2, 3, 5, 9))
    for other in errors[1:]:
        assert not (errors.polyline_error > other + 1e-6).any()  # two roundings to float32


@given(st.integers(0, 9999), st.integers(1, 6), st.floats(0, 1e4))
def test_planted_corners_are_the_best_vertices(seed: int, pieces: int, shift: float) -> None:
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 9, (pieces,), generator=g)
    steps = torch.randint(-8, 9, (pieces, 3), generator=g)
    f = (torch.cat([torch.zeros(1, 3), steps.repeat_interleave(lengths, 0)]).cumsum(0) + round(shift)).float()
    assert polyline_error(f, k=(pieces + 1,)).polyline_error.item() < 1e-20  # residuals of 1e-16 * 1e4, squared


def test_more_vertices_may_be_worse() -> None:
    f = torch.tensor([[0.0], [1], [-1], [1], [-1], [0]])
    errors = polyline_error(f, k=(2, 3)).polyline_error
    assert errors[0] == 4
    assert errors[1] > 4


def test_uniform_vertices() -> None:
    assert uniform_vertices(9, 3).tolist() == [0, 4, 8]
    assert uniform_vertices(4, 3).tolist() == [0, 2, 3]
    assert uniform_vertices(7, 7).tolist() == list(range(7))


def test_still_video_has_no_turns_to_draw_through() -> None:
    errors = polyline_error(torch.ones(6, 2), k=(2, 3))
    assert errors.polyline_error.tolist() == [0, 0]
    assert errors.polyline_turn_error[0] == 0
    assert errors.polyline_turn_error[1].isnan()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: turn_frames(f, share=0), "share=0 given"),
        (lambda f: polyline_error(f, k=(1, 2)), r"k=\(1, 2\) given"),
        (lambda f: best_vertices(f, k=(9,)), r"k=\(9,\) given, expected numbers from 2 to T = 5"),
        (lambda f: uniform_vertices(5, 6), "k=6 given"),
        (lambda f: polyline_error_of(f, torch.tensor([0, 3])), r"vertices=\[0, 3\] given, .* from 0 to 4"),
        (lambda f: polyline_error_of(f, torch.tensor([0, 2, 2, 4])), "expected ascending frames"),
        (lambda f: twonn_dimension(f[None], sample=2), "sample=2 given"),
        (lambda f: twonn_fit(f, discarded=1), "discarded=1 given"),
    ],
)
def test_settings_are_checked(call, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        call(randn(5, 2))
