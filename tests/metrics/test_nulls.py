"""Null models keep exactly what they claim to keep, and scores against them have known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from redundancy.metrics.measure.nulls import NULL_MODELS, gaussian, null_score, shuffle_frames, shuffle_tokens
from redundancy.metrics.registry import NULLS
from redundancy.metrics.temporal import transition_similarity
from tests.metrics.checks.case import randn

sizes = st.tuples(st.integers(0, 9999), st.integers(1, 7), st.integers(1, 9), st.integers(1, 6))


def rows(x: torch.Tensor) -> list[list[float]]:
    """Vectors in an order of their own."""
    return sorted(x.reshape(-1, x.shape[-1]).tolist())


def test_names_are_those_of_the_facts() -> None:
    assert tuple(NULL_MODELS) == NULLS
    assert all(model.__name__ == name for name, model in NULL_MODELS.items())


@pytest.mark.parametrize("name", NULLS)
@given(size=sizes)
def test_a_seed_is_a_draw(name: str, size: tuple[int, int, int, int]) -> None:
    seed, *shape = size
    x = randn(*shape)
    draw = NULL_MODELS[name](x, seed=seed)
    assert draw.shape == x.shape
    assert torch.equal(draw.nan_to_num(), NULL_MODELS[name](x, seed=seed).nan_to_num())


@pytest.mark.parametrize("name", NULLS)
def test_seeds_differ_and_the_input_stays(name: str) -> None:
    x = randn(8, 9, 4)
    before = x.clone()
    assert not torch.equal(NULL_MODELS[name](x, seed=0), NULL_MODELS[name](x, seed=1))
    assert torch.equal(x, before)


@given(sizes)
def test_shuffled_frames_are_the_same_frames(size: tuple[int, int, int, int]) -> None:
    seed, *shape = size
    x = randn(*shape, seed=seed).bfloat16()
    draw = shuffle_frames(x, seed=seed)
    assert draw.dtype == x.dtype
    assert rows(draw.flatten(1)) == rows(x.flatten(1))


@given(sizes)
def test_shuffled_tokens_stay_in_their_frame(size: tuple[int, int, int, int]) -> None:
    seed, *shape = size
    x = randn(*shape, seed=seed).bfloat16()
    draw = shuffle_tokens(x, seed=seed)
    assert draw.dtype == x.dtype
    assert all(rows(a) == rows(b) for a, b in zip(draw, x, strict=True))


def test_every_frame_has_its_own_permutation_and_all_are_equally_frequent() -> None:
    place = torch.arange(3.0)[None, :, None].expand(2, 3, 1)
    drawn = [shuffle_tokens(place, seed=seed)[..., 0].long() for seed in range(1800)]
    code = torch.stack(drawn) @ torch.tensor([9, 3, 1])
    _, pairs = torch.unique(code[:, 0] * 27 + code[:, 1], return_counts=True)
    assert len(pairs) == 36  # six permutations in each of two frames, in all combinations
    assert stats.chisquare(pairs.numpy()).pvalue > 0.001  # fixed seeds


def test_gaussian_has_the_mean_and_covariance_of_the_tokens() -> None:
    x = (randn(6, 10, 4) @ randn(4, 4, seed=1) + torch.tensor([5.0, 0, -3, 1])).double()
    drawn = torch.cat([gaussian(x, seed=seed).reshape(-1, 4) for seed in range(200)]).double().numpy()
    flat = x.reshape(-1, 4).numpy()
    covariance, n = np.cov(flat.T), len(drawn)
    variance = np.diag(covariance)
    # five standard errors of a mean, and of a covariance of normal numbers
    assert (np.abs(drawn.mean(0) - flat.mean(0)) < 5 * np.sqrt(variance / n)).all()
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / n)
    assert (np.abs(np.cov(drawn.T) - covariance) < 5 * error).all()
    assert stats.kstest((drawn[:, 0] - flat[:, 0].mean()) / np.sqrt(variance[0]), "norm").pvalue > 0.001  # fixed seeds


def test_gaussian_is_independent_over_places_and_frames() -> None:
    x = randn(1, 5, 3).repeat(8, 5, 1)  # every frame and place alike
    drawn = torch.stack([gaussian(x, seed=seed)[..., 0] for seed in range(400)])
    at_places, at_frames = np.corrcoef(drawn[:, 0].T), np.corrcoef(drawn[:, :, 0].T)
    for correlation in (at_places, at_frames):
        off = correlation[~np.eye(len(correlation), dtype=bool)]
        assert np.abs(off).max() < 5 / np.sqrt(400)  # five standard errors
    redundant, null = transition_similarity(x.mean(1)), transition_similarity(gaussian(x, seed=0).mean(1))
    assert (redundant > 0.999).all()
    assert null.mean() < 0.99


def test_gaussian_stays_in_the_span_of_the_tokens() -> None:
    x = randn(4, 9, 2) @ randn(2, 16, seed=1)
    drawn = gaussian(x, seed=0).reshape(-1, 16)
    singular = torch.linalg.svdvals(drawn - drawn.mean(0))
    assert (singular[2:] < 1e-5 * singular[0]).all()  # float32 products
    x[..., 3] = 7
    assert (gaussian(x, seed=0)[..., 3] == 7).all()


def test_gaussian_of_one_token_is_undefined() -> None:
    assert gaussian(randn(1, 1, 3), seed=0).isnan().all()
    assert gaussian(randn(2, 3, 4).bfloat16(), seed=0).dtype == torch.float32


def test_score_of_known_draws() -> None:
    score = null_score(torch.tensor(5.0), torch.tensor([1.0, 2, 3, 4, -5]))
    assert (score.mean, score.draws) == (1, 5)
    assert score.sd.item() == pytest.approx(np.std([1, 2, 3, 4, -5], ddof=1))
    assert score.z.item() == pytest.approx(4 / np.std([1, 2, 3, 4, -5], ddof=1))
    assert score.p.item() == pytest.approx(2 / 6)  # -5 is 6 below the mean, 5 is 4 above it


def test_score_per_element() -> None:
    observed, draws = randn(2, 3, seed=1), randn(99, 2, 3)
    whole = null_score(observed, draws)
    one = null_score(observed[1, 2], draws[:, 1, 2])
    for field, value in zip(whole, one, strict=True):
        assert field.shape == (2, 3)
        torch.testing.assert_close(field[1, 2], value)


def test_least_p_is_one_over_draws_and_one() -> None:
    assert null_score(torch.tensor(100.0), randn(99)).p.item() == pytest.approx(0.01)


def test_equal_draws_have_no_z() -> None:
    same = null_score(torch.tensor(0.1), torch.full((7,), 0.1))
    other = null_score(torch.tensor(0.2), torch.full((7,), 0.1))
    assert (same.sd, same.p) == (0, 1)
    assert (other.sd, other.p) == (0, 1 / 8)
    assert same.z.isnan()
    assert other.z.isnan()


def test_undefined_draws_are_left_out() -> None:
    nan = float("nan")
    partly = null_score(torch.tensor(3.0), torch.tensor([1.0, nan, 2.0]))
    assert [x.item() for x in partly] == pytest.approx([1.5, 0.5**0.5, 1.5 / 0.5**0.5, 2 / 3, 2])
    for never in (null_score(torch.tensor(nan), randn(9)), null_score(torch.tensor(1.0), torch.full((3,), nan))):
        assert never.z.isnan()
        assert never.p.isnan()
    single = null_score(torch.tensor(1.0), torch.tensor([2.0]))
    assert single.sd.isnan()
    assert single.z.isnan()
    assert single.p == 1  # both lie as far from their middle
    with pytest.raises(ValueError, match="0 draws given"):
        null_score(torch.tensor(1.0), torch.zeros(0))


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("draws", [19, 39, 99])
def test_p_of_the_null_itself(draws: int, skewed: bool) -> None:
    """With the distance from the mean of the draws alone 19 draws give .061, 39 .056."""
    values = randn(draws + 1, 20000)
    values = values.exp() if skewed else values
    p = null_score(values[0], values[1:]).p
    assert 0.045 < (p <= 0.05 + 1e-6).double().mean().item() < 0.055  # s.e. .0015; p is float32
