"""Controls: counts, places, chance."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redundancy.pruning import AveragePool, FirstOf2x2, FrameDrop, RandomOf2x2, RandomTokens, UniformTokens
from redundancy.pruning.methods.controls.blocks import blocks
from redundancy.tokens import TokenGrid
from redundancy.video import Downsample
from tests.pruning.test_baselines import video
from tests.tiny_models import make_clip


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 5), st.floats(0.01, 1))
def test_random_tokens_keep_equally_many_in_every_frame(T: int, rows: int, cols: int, r: float):
    tokens = video(T, rows, cols, 3)
    N = rows * cols
    kept = RandomTokens(retention=r)(tokens).anchor
    assert torch.bincount(kept // N, minlength=T).tolist() == [max(round(r * N), 1)] * T
    assert kept.tolist() == sorted(set(kept.tolist()))
    across = RandomTokens(retention=r, across_frames=True)(tokens).anchor
    assert len(across) == max(round(r * T * N), 1)


def test_every_token_is_drawn_equally_often():
    tokens = video(2, 3, 3, 4)
    count = torch.zeros(18)
    for seed in range(600):
        count[RandomTokens(retention=1 / 3, seed=seed)(tokens).anchor] += 1
    # 600 draws of one in three: five standard deviations of a binomial count
    assert (count - 200).abs().max() < 5 * (600 * (1 / 3) * (2 / 3)) ** 0.5


def test_draws_depend_on_seed_and_video_and_not_on_type():
    tokens = video(4, 3, 3, 8)
    first = RandomTokens(seed=1)(tokens).anchor
    assert torch.equal(first, RandomTokens(seed=1)(tokens).anchor)
    assert not torch.equal(first, RandomTokens(seed=2)(tokens).anchor)
    assert not torch.equal(first, RandomTokens(seed=1)(video(4, 3, 3, 8, seed=5)).anchor)
    half = tokens.to(dtype=torch.bfloat16)
    assert torch.equal(RandomTokens(seed=1)(half).anchor, RandomTokens(seed=1)(half.to(dtype=torch.float32)).anchor)


def test_uniform_places():
    assert (UniformTokens(retention=0.25)(video(2, 4, 4, 3)).anchor % 16).tolist() == [2, 6, 10, 14] * 2
    assert UniformTokens(retention=1.0)(video(1, 2, 3, 3)).anchor.tolist() == list(range(6))


@given(st.integers(1, 200), st.floats(0.005, 1))
def test_uniform_places_are_distinct(N: int, r: float):
    kept = UniformTokens(retention=r)(video(1, 1, N, 1)).anchor
    assert len(kept.unique()) == max(round(r * N), 1)


def test_frame_drop_keeps_the_ends():
    kept = FrameDrop(retention=0.5)(video(9, 1, 2, 3))
    assert (kept.anchor // 2).unique().tolist() == [0, 3, 5, 8]  # linspace over 0..8, 2.67 and 5.33 rounded
    assert FrameDrop(retention=0.01)(video(9, 1, 2, 3)).anchor.tolist() == [0, 1]


def test_blocks_of_an_odd_grid():
    assert blocks(TokenGrid(1, 3, 5)).view(3, 5).tolist() == [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]


def test_average_pool_is_average_pooling():
    tokens = video(3, 4, 6, 5)
    pooled = AveragePool()(tokens)
    image = tokens.features.view(3, 4, 6, 5).permute(0, 3, 1, 2)
    expected = torch.nn.functional.avg_pool2d(image, 2).permute(0, 2, 3, 1).reshape(-1, 5)
    torch.testing.assert_close(pooled.apply(tokens.features), expected, atol=1e-6, rtol=0)  # means of four in float32
    assert pooled.anchor[:3].tolist() == [0, 2, 4]
    assert AveragePool(placement="centroid")(tokens).placement == "centroid"
    odd = video(1, 3, 3, 2)
    ceil = torch.nn.functional.avg_pool2d(
        odd.features.view(1, 3, 3, 2).permute(0, 3, 1, 2), 2, ceil_mode=True, count_include_pad=False
    )
    torch.testing.assert_close(
        AveragePool()(odd).apply(odd.features), ceil.permute(0, 2, 3, 1).reshape(-1, 2), atol=1e-6, rtol=0
    )


def test_first_and_random_of_blocks():
    tokens = video(5, 4, 4, 3)
    first, random = FirstOf2x2()(tokens), RandomOf2x2(seed=3)(tokens)
    assert first.anchor[:4].tolist() == [0, 2, 8, 10]
    assert first.achieved == random.achieved == 0.25
    block = blocks(tokens.grid)
    per_block = random.anchor // 16 * 4 + block[random.anchor % 16]
    assert per_block.sort().values.tolist() == list(range(20))
    counts = torch.zeros(80)
    for seed in range(400):
        counts[RandomOf2x2(seed=seed)(tokens).anchor] += 1
    assert (counts - 100).abs().max() < 5 * (400 * 0.25 * 0.75) ** 0.5  # five standard deviations


def test_nan_is_refused():
    tokens = video(3, 2, 2, 3)
    bad = tokens.features.clone()
    bad[1, 2, 0] = torch.nan
    for method in (RandomTokens(), UniformTokens(), FrameDrop(), AveragePool(), FirstOf2x2(), RandomOf2x2()):
        with pytest.raises(ValueError, match="frame 1 "):
            method(replace(tokens, features=bad))


def test_downsample_shrinks_a_clip():
    clip = make_clip(frames=6, height=84, width=112)
    small = Downsample(space=2.0, time=2)(clip)
    assert small.frames.shape == (3, 42, 56, 3)
    assert small.indices.tolist() == clip.indices[::2].tolist()
    assert small.sha256 != clip.sha256
    blocks_of_two = clip.frames[::2].reshape(3, 42, 2, 56, 2, 3).mean((2, 4))
    assert abs(small.frames - blocks_of_two).mean() < 6  # antialiasing reaches a little beyond each block of two
    with pytest.raises(ValueError, match="factors of at least 1"):
        Downsample(space=0.5)
