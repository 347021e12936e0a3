"""Cells are labelled with what they show."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from redundancy.world.clips import script_of
from redundancy.world.labels import BACKGROUND, CHANNELS, DIGIT, MOTION, THING, cell_labels
from redundancy.world.questions import DIGITS
from redundancy.world.scene import BACKGROUNDS, COLORS, DIRECTIONS, SHAPES, Thing, VideoScript, WorldConfig

CELLS = 4
CONFIG = WorldConfig(16, 64)


def script(seed: int = 3) -> VideoScript:
    return script_of(seed, CONFIG)


def with_things(still: Thing, mover_at: tuple[float, float]) -> VideoScript:
    """The first scene of a video, alone, with a mover of small radius; its direction moves it along one axis only."""
    given = script()
    scene = given.scenes[0]
    mover = replace(scene.mover, shape="square", color="red", x=mover_at[0], y=mover_at[1], radius=0.1)
    only = replace(scene, direction="right", mover=mover, still=still, length=CONFIG.frames)
    return replace(given, scenes=(only,), flash=replace(given.flash, onset=CONFIG.frames))


def channel(thing: Thing) -> int:
    return THING.start + SHAPES.index(thing.shape) * len(COLORS) + list(COLORS).index(thing.color)


def test_the_background_is_in_every_cell_of_its_frames():
    given = script()
    labels = cell_labels([given], CELLS)[0]
    assert labels.shape == (16, CELLS, CELLS, CHANNELS)
    start = 0
    for scene in given.scenes:
        here = labels[start : start + scene.length, ..., BACKGROUND]
        assert here[..., list(BACKGROUNDS).index(scene.background)].all()
        assert here.sum() == here[..., 0].numel()
        start += scene.length


def test_the_digit_is_where_and_when_it_flashes():
    given = script()
    flash = replace(given.flash, digit=7, onset=5, length=2, quadrant="southeast", offset=(0.1, 0.1))
    digits = cell_labels([replace(given, flash=flash)], CELLS)[0, ..., DIGIT]
    # its corner is at .66, its side .24: pixels 42 to 57 of 64, so the third and fourth cells both ways
    expected = torch.zeros_like(digits)
    expected[5:7, 2:, 2:, DIGITS.index("7")] = True
    assert torch.equal(digits, expected)


def test_a_thing_is_in_its_cells_and_the_mover_carries_its_direction():
    still = Thing("square", "blue", 0.625, 0.875, 0.1)  # in the middle of a cell, within it
    labels = cell_labels([with_things(still, (0.5, 0.125))], CELLS)[0]
    resting = torch.zeros(16, CELLS, CELLS, dtype=torch.bool)
    resting[:, 3, 2] = True
    assert torch.equal(labels[..., channel(still)], resting)
    motion = labels[..., MOTION]
    moved = labels[..., channel(Thing("square", "red", 0.0, 0.0, 0.1))]
    assert torch.equal(motion[..., list(DIRECTIONS).index("right")], moved)
    assert motion.sum() == moved.sum()
    assert moved[:, 0].any(-1).all()
    assert not moved[:, 1:].any()
    assert moved[0, 0].tolist() == [True, True, False, False]  # from .25
    assert moved[-1, 0].tolist() == [False, False, True, True]  # to .75


def test_hidden_pixels_do_not_count():
    wall = Thing("square", "blue", 0.5, 0.125, 0.6)  # covers the mover's whole way
    given = with_things(wall, (0.5, 0.125))
    labels = cell_labels([given], CELLS)[0]
    assert labels[..., channel(wall)].any()
    assert not labels[..., channel(given.scenes[0].mover)].any()
    assert not labels[..., MOTION].any()


def test_the_tail_repeats_the_last_frame():
    given = script_of(3, WorldConfig(16, 64, tail=4))
    labels = cell_labels([given], CELLS)[0]
    assert labels.shape[0] == 16
    assert all(torch.equal(labels[i], labels[11]) for i in range(12, 16))


def test_videos_are_labelled_as_alone():
    scripts = [script(seed) for seed in range(3)]
    together = cell_labels(scripts, CELLS)
    for i, given in enumerate(scripts):
        assert torch.equal(together[i], cell_labels([given], CELLS)[0])


@pytest.mark.parametrize("cells", [0, 65])
def test_impossible_grids_are_refused(cells: int):
    with pytest.raises(ValueError, match=rf"cells={cells} given, expected a number in \[1, 64\]"):
        cell_labels([script()], cells)


def test_videos_of_different_size_are_refused():
    with pytest.raises(ValueError, match="videos of one size"):
        cell_labels([script(), script_of(0, WorldConfig(16, 112))], CELLS)
