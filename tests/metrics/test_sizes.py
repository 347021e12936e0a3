"""Tokens that float32 cannot square are refused by name wherever they enter."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

import redundancy as rd
from redundancy.evaluation.decisions import suited
from redundancy.metrics.kernels.sizes import check_sizes
from redundancy.metrics.trajectory import curvature
from redundancy.metrics.trajectory.projection import project_trajectory
from redundancy.pruning import FastV
from redundancy.pruning.table import METHODS
from redundancy.tokens import VideoTokens
from tests.metrics.checks.case import randn

POWERS = [-100, -60, 60, 100]


def tokens(power: int) -> VideoTokens:
    made = VideoTokens.from_features(randn(8, 16, 12), rows=4, cols=4)
    salience = {source: randn(8, 16, seed=1).abs() for source in ("received", "mean_query", "pooling_head")}
    features, keys = made.features * 2.0**power, {"keys": randn(8, 16, 4)}
    mean = {"mean": features.mean(1), "pooling_head": randn(8, 12)}
    return replace(made, features=features, frame_features=mean, salience=salience, extra=keys)


def lazy(given: VideoTokens) -> Any:
    return given.to_xarray().chunk({"frame": 3})


@pytest.mark.parametrize("power", POWERS)
def test_measure_and_its_relatives(power: int) -> None:
    far = tokens(power)
    for call in (
        lambda: rd.measure(far, metrics="run_length"),
        lambda: rd.measure(far, rd.Reduction.keep_all(far.grid), "reconstruction_error"),
        lambda: rd.measure(lazy(far), metrics="static_fraction").compute(),
        lambda: project_trajectory(far),
    ):
        with pytest.raises(ValueError, match=r"frame 0 holds .* of norm .*multiply all of them by one power of two"):
            call()


@pytest.mark.parametrize("name", METHODS)
def test_methods(name: str) -> None:
    method = suited(METHODS[name].method, tokens(0))[0]
    if not method.compares:
        assert [method(tokens(power)).kept for power in POWERS] == [method(tokens(0)).kept] * len(POWERS)
        return
    for power in POWERS:
        with pytest.raises(ValueError, match="frame 0 holds tokens of norm"):
            method(tokens(power))
    some = tokens(0)
    some.features[5] *= 2.0**-60  # a frame that is next to nothing
    with pytest.raises(ValueError, match="frame 5 holds tokens of norm"):
        method(some)


def test_methods_inside_the_model() -> None:
    with pytest.raises(ValueError, match="holds states of norm"):
        FastV(layer=2)(randn(6, 4) * 2.0**100, torch.ones(6) / 6)


def test_zero_tokens_are_no_small_tokens() -> None:
    check_sizes(torch.zeros(2, 3, 4), "tokens")
    check_sizes(torch.full((2, 3, 4), torch.nan), "tokens")
    with pytest.raises(ValueError, match="frame 11 holds tokens of norm 2e-30"):
        check_sizes(torch.full((2, 3, 4), 1e-30) * torch.tensor([0.0, 1.0])[:, None, None], "tokens", start=10)


@pytest.mark.parametrize("power", [-40, -20, 20, 40])
def test_curvature_of_points_far_from_unit_length(power: int) -> None:
    """The published bound on lengths, 1e-6, is one beside unit vectors."""
    points = randn(9, 5)
    torch.testing.assert_close(curvature(points * 2.0**power), curvature(points), rtol=0, atol=0)
