"""Error of any outputs: known answers, an outside oracle, invariants."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors

from redundancy.metrics.coverage import error_of_outputs


def tokens(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_known_answers():
    x = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]])
    assert error_of_outputs(x, x[0]).item() == 0.0
    assert error_of_outputs(x, x[0, :1]).item() == pytest.approx(1.0)  # |(0,4) - (3,0)| = 5 = |X|
    assert error_of_outputs(x, torch.zeros(1, 2)).item() == pytest.approx(1.0)
    assert error_of_outputs(x, x[0, :0]).item() == 1.0
    assert error_of_outputs(torch.zeros(1, 2, 3), torch.zeros(1, 3)).isnan()


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 6), st.integers(1, 8), st.integers(1, 6))
def test_against_scikit_learn(seed: int, frames: int, per_frame: int, channels: int, kept: int):
    x, outputs = tokens(seed, frames, per_frame, channels), tokens(seed + 1, kept, channels)
    distance, _ = NearestNeighbors(n_neighbors=1).fit(outputs.numpy()).kneighbors(x.flatten(0, 1).numpy())
    expected = (distance**2).sum() ** 0.5 / x.double().norm()
    # float32 distances by a matrix product may pick a neighbour that is farther by about 1e-3 of the norm
    assert error_of_outputs(x, outputs).item() == pytest.approx(expected.item(), rel=1e-3)


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_scale_and_order_do_not_matter_and_more_outputs_do_not_hurt(seed: int, scale: float):
    x = tokens(seed, 4, 6, 5)
    outputs = x.flatten(0, 1)[::3]
    error = error_of_outputs(x, outputs).item()
    assert error_of_outputs(scale * x, scale * outputs).item() == pytest.approx(error, rel=1e-3, abs=1e-4)
    assert error_of_outputs(x, outputs.flip(0)).item() == pytest.approx(error, rel=1e-3)
    assert error_of_outputs(x, x.flatten(0, 1)[::2].repeat(2, 1)).item() >= 0
    more = torch.cat([outputs, x.flatten(0, 1)[1::3]])
    assert error_of_outputs(x, more).item() <= error + 1e-3  # the neighbour's rounding, as above
