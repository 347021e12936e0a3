"""Principal components of a trajectory: known answers, an outside oracle, labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

import redundancy as rd
from redundancy.metrics.trajectory.projection import principal_components, project_trajectory
from tests.metrics.checks.case import randn
from tests.pruning.samples import video


def test_a_planted_plane_is_found() -> None:
    """Points (a, b) on two orthogonal axes of 5 dimensions, the second less spread and uncorrelated with the first."""
    a, b = torch.tensor([3.0, -3.0, 3.0, -3.0]), torch.tensor([1.0, 1.0, -1.0, -1.0])
    points = torch.zeros(4, 5) + 7.0
    points[:, 3] += a
    points[:, 1] -= b
    found = principal_components(points, k=2)
    # each direction has a positive loading on its channel: the third channel a, the first channel -b
    torch.testing.assert_close(found.principal_components, torch.stack([a, -b], 1))
    torch.testing.assert_close(found.explained_variance, torch.tensor([0.9, 0.1]))


def test_a_line_has_one_component_and_the_rest_is_zero() -> None:
    line = torch.arange(4.0)[:, None] * torch.tensor([3.0, 4.0])
    found = principal_components(line, k=3)
    torch.testing.assert_close(
        found.principal_components, torch.tensor([[-7.5, 0, 0], [-2.5, 0, 0], [2.5, 0, 0], [7.5, 0, 0]])
    )
    torch.testing.assert_close(found.explained_variance, torch.tensor([1.0, 0, 0]))


@given(st.integers(0, 9999), st.integers(3, 20), st.integers(2, 9))
def test_against_scikit_learn(seed: int, T: int, F: int) -> None:
    points = torch.randn(T, F, generator=torch.Generator().manual_seed(seed))
    found, k = principal_components(points, k=2), 2
    oracle = PCA(k, svd_solver="full").fit(points.double().numpy())
    expected = oracle.transform(points.double().numpy())
    signs = np.sign(oracle.components_[np.arange(k), np.abs(oracle.components_).argmax(1)])
    np.testing.assert_allclose(found.principal_components, expected * signs, atol=1e-4)  # float32 of values near 1
    np.testing.assert_allclose(found.explained_variance, oracle.explained_variance_ratio_, atol=1e-6)


@pytest.mark.parametrize("T", [1, 4])
def test_no_motion(T: int) -> None:
    found = principal_components(torch.full((T, 3), 0.1))
    assert (found.principal_components == 0).all()
    assert found.explained_variance.isnan().all()


def test_distances_are_kept_where_all_components_are() -> None:
    points = randn(6, 4)
    torch.testing.assert_close(torch.cdist(*[principal_components(points, k=4)[0]] * 2), torch.cdist(points, points))


@pytest.mark.parametrize(("points", "k"), [(torch.zeros(3, 2), 0), (torch.zeros(0, 2), 2)])
def test_what_cannot_be_is_refused(points: torch.Tensor, k: int) -> None:
    with pytest.raises(ValueError, match=f"k={k} given with {len(points)} points"):
        principal_components(points, k=k)


def test_labels_and_scalings() -> None:
    tokens = video(6, 2, 3, 5)
    found = project_trajectory(tokens)
    mean = tokens.features.mean(1)
    unit = mean / mean.norm(dim=1, keepdim=True)
    for scaling, points in (("raw", mean), ("unit", unit)):
        own = principal_components(points)
        at = found.sel(scaling=scaling)
        np.testing.assert_allclose(at["principal_components"], own.principal_components, atol=1e-5)
        np.testing.assert_allclose(at["explained_variance"], own.explained_variance, atol=1e-6)
    assert found["principal_components"].dims == ("scaling", "frame", "component")
    merged = rd.measure(tokens).merge(found)
    assert merged["principal_components"].sizes["frame"] == 6
    assert merged.attrs == rd.measure(tokens).attrs


def test_a_stored_capture_gives_the_same_and_its_tokens_are_not_read(tmp_path: Path) -> None:
    tokens = video(6, 2, 3, 5)
    path = rd.save_capture(tokens.to_xarray(), tmp_path / "capture.zarr")
    for source in ("mean", "pooling_head"):
        fresh = project_trajectory(tokens, frame_features=source)
        stored = project_trajectory(rd.open_capture(path).drop_vars("tokens"), frame_features=source)
        np.testing.assert_array_equal(stored["principal_components"], fresh["principal_components"])


def test_a_source_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="no frame_features of source 'nonsense'"):
        project_trajectory(video(), frame_features="nonsense")
