"""Transition similarity, persistence, density peaks and curvature: closed forms and outside oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist, cosine

from redundancy.metrics.temporal import token_persistence, transition_similarity
from redundancy.metrics.trajectory import curvature, frame_representation
from redundancy.metrics.visual import density, density_peaks, density_score, pairwise_distance, parent_distance


def randn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_transition_similarity_is_scipys_cosine() -> None:
    f = randn(7, 33)
    expected = [1 - cosine(f[t].double(), f[t + 1].double()) for t in range(6)]
    np.testing.assert_allclose(transition_similarity(f), expected, atol=1e-7)  # rounding of the float32 result


def test_transition_similarity_of_special_frames() -> None:
    f = randn(1, 8).expand(4, 8)
    assert (transition_similarity(f) == 1).all()
    assert transition_similarity(f[:1]).shape == (0,)
    assert transition_similarity(torch.stack([f[0], 0 * f[0], f[0]])).isnan().all()
    assert transition_similarity(f.bfloat16()).dtype == torch.float32


def test_token_persistence_is_scipys_cosine() -> None:
    x = randn(3, 4, 9)
    expected = [[1 - cosine(x[t, n].double(), x[t + 1, n].double()) for n in range(4)] for t in range(2)]
    np.testing.assert_allclose(token_persistence(x), expected, atol=1e-6)  # float32 sums of 9 terms
    assert token_persistence(x[:1]).shape == (0, 4)
    assert token_persistence(torch.zeros(2, 1, 3)).isnan().all()


def peaks_by_loops(x: np.ndarray, k: int, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    at = np.flatnonzero(candidates)
    d = cdist(x[at], x[at]) / np.sqrt(x.shape[1])
    rho = np.exp(-np.mean(np.sort(d, 1)[:, : min(k, len(at))] ** 2, 1))
    delta = [min((d[i, j] for j in range(len(at)) if rho[j] > rho[i]), default=d.max()) for i in range(len(at))]
    out = np.full((2, len(x)), np.nan)
    out[0, at], out[1, at] = rho, delta
    return out[0], out[1]


@given(st.integers(0, 9999), st.integers(1, 3), st.integers(1, 20), st.integers(1, 12), st.integers(1, 9))
@settings(deadline=None)
def test_density_peaks_match_a_loop_in_float64(seed: int, sets: int, M: int, D: int, k: int) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(sets, M, D, generator=g)
    candidates = torch.rand(sets, M, generator=g) < 0.7
    peaks = density_peaks(x, k=k, candidates=candidates)
    for b in candidates.any(1).nonzero().flatten().tolist():
        rho, delta = peaks_by_loops(x[b].double().numpy(), k, candidates[b].numpy())
        ranked = np.sort(rho[~np.isnan(rho)])
        np.testing.assert_allclose(peaks.density[b], rho, rtol=1e-5)  # float32 products
        if (np.diff(ranked) > 1e-5).all():  # equal densities may be ordered by rounding
            # distances below 1e-3 of the norms count as 0
            np.testing.assert_allclose(peaks.parent_distance[b], delta, rtol=1e-4, atol=4e-3)
            np.testing.assert_allclose(peaks.score[b], rho * delta, rtol=1e-4, atol=4e-3)


def test_density_parts_agree() -> None:
    x = randn(2, 9, 5)
    peaks = density_peaks(x, k=3)
    assert torch.equal(density(x, k=3), peaks.density)
    assert torch.equal(parent_distance(x, k=3), peaks.parent_distance)
    assert torch.equal(density_score(x, k=3), peaks.score)
    with pytest.raises(ValueError, match="k=0 given"):
        density(x, k=0)


def test_duplicates_have_exactly_equal_density() -> None:
    x = randn(1, 3, 64).repeat_interleave(5, dim=1) * 100 + 7
    peaks = density_peaks(x, k=4)
    assert (peaks.density == 1).all()
    assert (peaks.parent_distance == peaks.distance.max()).all()


def test_distance_of_far_away_points_keeps_its_precision() -> None:
    x = randn(1, 6, 16, seed=2)
    near, far = pairwise_distance(x), pairwise_distance(x + 100)
    torch.testing.assert_close(near, far, rtol=1e-4, atol=1e-4)  # 100 + x itself is rounded to 4e-6


def on_plane(*points: tuple[float, float]) -> torch.Tensor:
    return torch.tensor(points, dtype=torch.float32)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (on_plane((0, 0), (1, 0), (2, 0)), 0.0),
        (on_plane((0, 0), (1, 0), (1, 1)), 1.0),
        (on_plane((0, 0), (1, 0), (0, 0)), 2.0),
    ],
)
def test_curvature_of_known_turns(points: torch.Tensor, expected: float) -> None:
    assert curvature(points)[1].item() == pytest.approx(expected, abs=1e-6)
    assert curvature(points)[[0, 2]].tolist() == [1.0, 1.0]
    geometric = curvature(points, convention="geometric")
    assert geometric[1].item() == pytest.approx(expected, abs=1e-6)
    assert geometric[[0, 2]].isnan().all()


def test_curvature_without_motion() -> None:
    still = on_plane((1, 0), (1, 0), (1, 0), (2, 0))
    assert curvature(still).tolist() == [1, 1, 1, 1]
    assert curvature(still, convention="geometric").isnan().all()
    assert curvature(still[:1]).tolist() == [1]
    assert curvature(still[:2]).tolist() == [1, 1]
    with pytest.raises(ValueError, match="convention='x' given"):
        curvature(still, convention="x")


def test_frame_representation() -> None:
    x = torch.stack([torch.full((3, 4), 2.0), torch.zeros(3, 4)])
    assert frame_representation(x).tolist() == [[0.5] * 4, [0.0] * 4]
