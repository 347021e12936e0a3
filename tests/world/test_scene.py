"""Scripts: bounds, distributions, cuts."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redundancy.world.clips import script_of
from redundancy.world.scene import BACKGROUNDS, COLORS, DIRECTIONS, QUADRANTS, SHAPES, WorldConfig

configs = st.builds(WorldConfig, frames=st.integers(8, 40), size=st.sampled_from([32, 64, 112]))


@given(configs, st.integers(0, 2**31))
def test_every_script_keeps_the_rules(config: WorldConfig, seed: int):
    script = script_of(seed, config)
    lengths = [s.length for s in script.scenes]
    assert 1 <= len(lengths) <= 4
    assert sum(lengths) == config.frames
    assert min(lengths) >= config.shortest_scene
    assert len({s.background for s in script.scenes}) == len(script.scenes)
    for scene in script.scenes:
        assert scene.background in BACKGROUNDS
        assert scene.direction in DIRECTIONS
        for thing in (scene.mover, scene.still):
            assert thing.shape in SHAPES
            assert thing.color in COLORS
            assert 0.22 <= thing.x <= 0.78
            assert 0.22 <= thing.y <= 0.78
            smallest = 0.12 if config.is_small else 0.09
            assert smallest <= thing.radius <= smallest + 0.05
        assert scene.mover.shape != scene.still.shape
        assert scene.mover.color != scene.still.color
    flash = script.flash
    assert 0 <= flash.digit <= 9
    assert 0 <= flash.onset < config.frames
    assert 1 <= flash.length <= 3
    assert flash.quadrant in QUADRANTS
    assert list(script.scene_cuts) == [sum(lengths[: i + 1]) - 1 for i in range(len(lengths) - 1)]


def test_what_is_drawn_is_drawn_evenly():
    scripts = [script_of(seed, WorldConfig(16, 64)) for seed in range(2000)]
    for values, choices in (
        ([len(s.scenes) for s in scripts], 4),
        ([s.flash.digit for s in scripts], 10),
        ([s.flash.quadrant for s in scripts], 4),
        ([s.scenes[0].direction for s in scripts], 4),
        ([s.scenes[0].still.color for s in scripts], 6),
    ):
        counts = Counter(values)
        assert len(counts) == choices
        # five standard deviations of a binomial count: wrong once in about two million counts
        expected = 2000 / choices
        assert max(abs(c - expected) for c in counts.values()) < 5 * (expected * (1 - 1 / choices)) ** 0.5


def test_same_seed_same_script():
    assert script_of(5, WorldConfig(16, 64)) == script_of(5, WorldConfig(16, 64))
    assert script_of(5, WorldConfig(16, 64)) != script_of(6, WorldConfig(16, 64))


def test_sampling_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    script_of(3, WorldConfig(16, 64))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("frames", "size"), [(7, 64), (16, 16)])
def test_videos_that_are_too_small_are_refused(frames: int, size: int):
    with pytest.raises(ValueError, match="at least 8 frames of 32 pixels"):
        WorldConfig(frames, size)
