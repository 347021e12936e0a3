"""Visual metrics on sizes of real videos: statistics, dependent tokens, blocks, shared parts, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from redundancy.metrics.kernels import gram, peaks
from redundancy.metrics.kernels.gram import component_labels, frame_blocks, quantiles, shared_parts, singular_values
from redundancy.metrics.kernels.peaks import density_peaks
from redundancy.metrics.table import METRICS
from redundancy.tokens import TokenGrid
from tests.metrics.checks.case import outputs, randn

NAMES = [name for name, metric in METRICS.items() if "tokens" in metric.inputs and metric.group == "visual"]
GRID = TokenGrid(7, 3, 4)
INPUTS: dict[str, Any] = {"tokens": randn(7, 12, 5) + 1, "salience": randn(7, 12, seed=1), "grid": GRID}


def run(name: str) -> dict[str, Any]:
    metric = METRICS[name]
    return outputs(metric.function(**{key: INPUTS[key] for key in metric.inputs}), tuple(metric.dims))


def test_smoothness_of_shuffled_places_is_zero_within_four_standard_errors() -> None:
    rows = torch.arange(14.0).repeat_interleave(14)
    smooth = torch.stack([(rows / 4).cos(), (rows / 4).sin(), torch.ones(196)], -1).expand(200, 196, 3)
    order = torch.rand(200, 196, generator=torch.Generator().manual_seed(0)).argsort(-1)
    shuffled = smooth.gather(1, order[..., None].expand_as(smooth))
    grid = TokenGrid(200, 14, 14)
    values = METRICS["spatial_smoothness"].function(shuffled, grid)
    assert abs(values.mean()) < 4 * values.std() / 200**0.5
    assert (METRICS["spatial_smoothness"].function(smooth, grid) > 0.1).all()


def test_gaussian_tokens_have_no_sinks() -> None:
    """Two hundred videos of a single frame, where one outlier would already be a sink."""
    found = [METRICS["sinks"].function(randn(1, 196, 16, seed=seed)).sinks.sum() for seed in range(200)]
    assert sum(found) == 0


@pytest.mark.parametrize("frames", [1, 5, 10])
def test_a_planted_sink_is_found_in_gaussian_tokens(frames: int) -> None:
    x = randn(frames, 196, 64)
    x[: (4 * frames + 4) // 5, 17] *= 10
    found = METRICS["sinks"].function(x)
    assert found.sinks.nonzero().flatten().tolist() == [17]
    assert found.sink_share[17] == pytest.approx(((4 * frames + 4) // 5) / frames)
    assert METRICS["sinks"].function(x, share=1).sinks.sum() == (1 if frames == 1 else 0)
    assert METRICS["sinks"].function(x, factor=1000).sinks.sum() == 0


def test_salience_that_is_equal_up_to_rounding_has_no_sinks() -> None:
    x = torch.full((4, 9), 1 / 9)
    x[:, 3] = torch.nextafter(x[:, 3], torch.ones(4))
    assert METRICS["sinks_salience"].function(x).sinks_salience.sum() == 0


def test_rank_of_dependent_tokens_needs_float64() -> None:
    x = (randn(196, 10) @ randn(10, 3584, seed=1) + 10 * randn(1, 3584, seed=2))[None]
    sigma = np.linalg.svd(x.double().numpy(), compute_uv=False)[0]
    p = sigma / sigma.sum()
    expected = np.exp(-np.sum(p * np.log(p)))
    # the svd keeps the rounding of the float32 tokens, about 1e-7 of the largest value in each of 186
    np.testing.assert_allclose(METRICS["effective_rank"].function(x).effective_rank, [expected], rtol=2e-5)
    single = torch.linalg.eigvalsh((x @ x.mT).double()).clamp(min=0).sqrt()[0].numpy()
    q = single[single > 0] / single.sum()
    assert np.exp(-np.sum(q * np.log(q))) > 1.01 * expected


@pytest.mark.parametrize("shape", [(2, 9, 4), (2, 4, 9)])
def test_singular_values_are_numpys(shape: tuple[int, int, int]) -> None:
    x = randn(*shape)
    expected = np.linalg.svd(x.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(singular_values(x), expected, rtol=1e-12)  # squares of float64


@given(st.integers(0, 9999), st.integers(1, 40), st.floats(0, 0.2))
def test_components_are_scipys(seed: int, N: int, share: float) -> None:
    linked = torch.rand(2, 3, N, N, generator=torch.Generator().manual_seed(seed)) < share
    linked |= linked.mT.clone()
    labels = component_labels(linked)
    for graph, label in zip(linked.flatten(0, 1), labels.flatten(0, 1), strict=True):
        _, expected = connected_components(graph.numpy())
        lowest = [np.flatnonzero(expected == e)[0] for e in expected]
        assert label.tolist() == lowest


def test_components_of_a_long_path() -> None:
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    linked = torch.zeros(400, 400, dtype=torch.bool)
    linked[order[:-1], order[1:]] = True
    assert (component_labels(linked | linked.T) == 0).all()


@given(st.integers(0, 9999), st.integers(1, 9))
def test_quantiles_are_numpys(seed: int, N: int) -> None:
    x = randn(3, N, seed=seed)
    x[torch.rand(3, N, generator=torch.Generator().manual_seed(seed)) < 0.3] = torch.nan
    levels = (0, 0.05, 0.5, 0.77, 1)
    for row, found in zip(x, quantiles(x, levels), strict=True):
        left = row[~row.isnan()].numpy()
        expected = np.quantile(left, levels) if len(left) else np.full(5, np.nan)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # float32
    assert quantiles(x[:, :0], levels).isnan().all()


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_frames_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(name)
    monkeypatch.setitem(gram.BLOCK, "cpu", 1)
    assert len(frame_blocks(INPUTS["tokens"])) == 7
    for output, values in run(name).items():
        np.testing.assert_allclose(values, whole[output], rtol=1e-6, err_msg=output)  # one product or several


def test_blocks_hold_at_most_what_is_said() -> None:
    x = torch.empty(1, 1, 1).expand(1000, 196, 3584)
    frames = [len(block) for block in frame_blocks(x)]
    assert sum(frames) == 1000
    assert max(frames) * 196 * 3584 <= gram.BLOCK["cpu"]
    assert [len(block) for block in frame_blocks(x[:2], width=10**9)] == [1, 1]


@pytest.mark.parametrize("k", [1, 4, 20])
def test_density_in_blocks_is_exactly_that_of_pruning(k: int) -> None:
    x = randn(20, 196, 1152).bfloat16()
    assert len(frame_blocks(x)) > 1
    peaks = density_peaks(x, k=k)
    assert torch.equal(METRICS["density"].function(x, k=k), peaks.density)
    assert torch.equal(METRICS["parent_distance"].function(x, k=k), peaks.parent_distance)
    assert torch.equal(METRICS["density_score"].function(x, k=k), peaks.score)


def test_shared_parts_are_computed_once_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = {name: run(name) for name in NAMES}
    calls = []

    def counted(points: torch.Tensor, **settings: Any) -> Any:
        calls.append(settings)
        return density_peaks(points, **settings)

    monkeypatch.setattr(peaks, "density_peaks", counted)
    with shared_parts():
        for name in NAMES:
            for output, values in run(name).items():
                np.testing.assert_array_equal(values, alone[name][output])
        assert calls == [{"k": 4}]
        METRICS["density"].function(INPUTS["tokens"], k=2)
        METRICS["density"].function(INPUTS["tokens"].clone())
    assert calls == [{"k": 4}, {"k": 2}, {"k": 4}]
    METRICS["density"].function(INPUTS["tokens"])
    METRICS["parent_distance"].function(INPUTS["tokens"])
    assert len(calls) == 5


def test_tokens_of_half_precision_give_float32() -> None:
    x = INPUTS["tokens"].bfloat16()
    assert METRICS["within_frame_similarity"].function(x).within_frame_quantile.dtype == torch.float32
    assert METRICS["effective_rank"].function(x).stable_rank.dtype == torch.float32
    assert METRICS["duplicate_fraction"].function(x).dtype == torch.float32
    agreement = METRICS["salience_density_agreement"].function(INPUTS["salience"].bfloat16(), x)
    assert {value.dtype for value in agreement} == {torch.float32}
    assert {value.dtype for value in METRICS["sinks"].function(x)} == {torch.float32}


def test_wrong_settings() -> None:
    x, s = INPUTS["tokens"], INPUTS["salience"]
    with pytest.raises(ValueError, match=r"quantile=\(2,\) given, expected numbers in 0..1"):
        METRICS["within_frame_similarity"].function(x, quantile=(2,))
    with pytest.raises(ValueError, match=r"tau=\(0.5, 1.5\) given, expected cosines in -1..1"):
        METRICS["duplicate_fraction"].function(x, tau=(0.5, 1.5))
    with pytest.raises(ValueError, match="top=0 given"):
        METRICS["salience_concentration"].function(s.abs(), top=(0,))
    with pytest.raises(ValueError, match="top=2 given"):
        METRICS["salience_density_agreement"].function(s, x, top=2)
    with pytest.raises(ValueError, match="k=0 given"):
        METRICS["salience_density_agreement"].function(s, x, k=0)
    with pytest.raises(ValueError, match="factor=-1 given"):
        METRICS["sinks"].function(x, factor=-1)
    with pytest.raises(ValueError, match="share=0 given"):
        METRICS["sinks_salience"].function(s, share=0)
    with pytest.raises(ValueError, match="expected one of 12 tokens per frame"):
        METRICS["spatial_smoothness"].function(x, TokenGrid(7, 3, 5))
