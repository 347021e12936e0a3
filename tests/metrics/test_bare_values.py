"""Values without labels are those of `measure`, and a mean on bare arrays is that of labelled ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from redundancy.metrics.measure import bare_values, defined_mean, inputs_of, measure, with_series
from redundancy.metrics.measure.labels import SUMMED, nanmean
from redundancy.pruning.methods.controls import UniformTokens
from redundancy.tokens import VideoTokens

OUTPUTS = ["frames_covered", "largest_gap_seconds", "turn_coverage", "nearest_distance", "reconstruction_error"]


@pytest.fixture
def tokens() -> VideoTokens:
    features = torch.randn(5, 16, 8, generator=torch.Generator().manual_seed(0))
    return VideoTokens.from_features(features, rows=4, cols=4)


def test_bare_values_are_those_of_measure(tokens: VideoTokens) -> None:
    reduction = UniformTokens(0.25)(tokens)
    metrics = ["frames_covered", "largest_gap", "turn_coverage", "nearest_distance", "reconstruction_error"]
    measured = measure(tokens, reduction, metrics)
    for inputs in (inputs_of(tokens), with_series(inputs_of(tokens))):
        found = bare_values(inputs, reduction, OUTPUTS)
        assert list(found) == OUTPUTS
        for name, values in found.items():
            np.testing.assert_array_equal(values, measured[name].values)


def test_what_measure_refuses_is_refused(tokens: VideoTokens) -> None:
    reduction, inputs = UniformTokens(0.25)(tokens), inputs_of(tokens)
    with pytest.raises(ValueError, match=r"metrics=\['speeds'\] given"):
        bare_values(inputs, reduction, ["speeds"])
    with pytest.raises(ValueError, match="the metric 'attention_lost' reads attention"):
        bare_values(inputs, reduction, ["attention_lost_sources"])
    other = VideoTokens.from_features(torch.randn(5, 9, 8), rows=3, cols=3)
    with pytest.raises(ValueError, match="a reduction of the grid"):
        bare_values(inputs, UniformTokens(0.25)(other), OUTPUTS)


@pytest.mark.parametrize(
    ("dims", "shape"), [(("kept", "axis"), (50, 2)), (("frame", "token"), (4, 9)), (("frame",), (0,))]
)
def test_means_are_those_of_labelled_arrays(dims: tuple[str, ...], shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=shape).astype("float32")
    values[rng.random(shape) < 0.3] = np.nan
    x = xr.DataArray(values, dims=dims, coords={d: list("xy") for d in dims if d == "axis"}, attrs={"units": "1"})
    summed = [d for d in dims if d in SUMMED]
    count = x.notnull().sum(summed)
    expected = (x.fillna(0).sum(summed) / count.where(count > 0)).astype("float32").assign_attrs(x.attrs)
    assert nanmean(x).identical(expected)
    if x.size:
        assert nanmean(x.chunk()).compute().rename(None).identical(expected)


def test_means_of_nothing_are_undefined() -> None:
    assert np.isnan(defined_mean(np.zeros(0)))
    assert np.isnan(defined_mean(np.full((2, 2), np.nan)))
