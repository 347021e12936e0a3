"""Pixels show what the script says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from redundancy.world.clips import script_of
from redundancy.world.render import GLYPHS, render, render_frames
from redundancy.world.scene import BACKGROUNDS, COLORS, DIRECTIONS, QUADRANTS, Flash, VideoScript, WorldConfig

CONFIG = WorldConfig(16, 64)


def plain(seed: int) -> tuple[VideoScript, torch.Tensor]:
    """A script and its frames [T, 3, H, W] without noise."""
    script = script_of(seed, CONFIG)
    return script, render([script])[0]


def hidden(script: VideoScript) -> VideoScript:
    """The same video, its digit flashing after the end."""
    return replace(script, flash=replace(script.flash, onset=CONFIG.frames))


def test_one_by_one_is_the_same_as_together():
    scripts = [script_of(seed, CONFIG) for seed in range(4)]
    together = render(scripts)
    assert together.shape == (4, 16, 3, 64, 64)
    for i, script in enumerate(scripts):
        assert torch.equal(together[i], render([script])[0])


def test_noise_is_the_seeds_own_and_of_the_stated_size():
    script = script_of(0, CONFIG)
    a, b, c = render_frames(script, seed=1), render_frames(script, seed=1), render_frames(script, seed=2)
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)
    difference = (a.astype(float) - c.astype(float))[(a > 20) & (a < 235)]
    # two independent noises of .015 * 255, and rounding: sqrt(2 (3.8^2 + 1/12))
    assert difference.std() == pytest.approx(np.sqrt(2 * (3.825**2 + 1 / 12)), rel=0.02)


@pytest.mark.parametrize("seed", range(8))
def test_digit_shows_during_its_flash_and_not_outside(seed: int):
    script, frames = plain(seed)
    flash = script.flash
    changed = (frames - render([hidden(script)])[0]).abs().sum(1).flatten(1).sum(1) > 0
    expected = [flash.onset <= t < flash.onset + flash.length for t in range(CONFIG.frames)]
    assert changed.tolist() == expected


@pytest.mark.parametrize("seed", range(8))
def test_digit_is_the_one_of_the_script_in_its_quadrant(seed: int):
    script, frames = plain(seed)
    flash = script.flash
    frame = frames[flash.onset]
    difference = (frame - render([hidden(script)])[0][flash.onset]).abs().sum(0) > 0
    rows, cols = difference.nonzero().T
    middle = ((rows.min() + rows.max()) / 2 / 63, (cols.min() + cols.max()) / 2 / 63)
    index = QUADRANTS.index(flash.quadrant)
    assert (middle[0] > 0.5) == (index // 2 == 1)
    assert (middle[1] > 0.5) == (index % 2 == 1)
    box = frame[0, rows.min() : rows.max() + 1, cols.min() : cols.max() + 1]
    small = torch.nn.functional.interpolate(box[None, None], size=GLYPHS.shape[1:], mode="area")[0, 0]
    # strokes are white on black: the right glyph overlaps best
    scores = ((GLYPHS.float() - 0.5) * (small - 0.5)).flatten(1).sum(1)
    assert int(scores.argmax()) == flash.digit


@pytest.mark.parametrize("seed", range(8))
def test_mover_moves_in_its_direction(seed: int):
    script = hidden(script_of(seed, CONFIG))
    frames = render([script])[0]
    start = 0
    for scene in script.scenes:
        color = torch.tensor(COLORS[scene.mover.color])[:, None, None]
        is_mover = [(frames[start + t] - color).abs().amax(0) < 1e-3 for t in range(scene.length)]
        seen = [m.nonzero().double().mean(0) for m in (is_mover[0], is_mover[-1]) if m.sum() > 20]
        if len(seen) == 2 and scene.length > 1:
            (y0, x0), (y1, x1) = seen
            dx, dy = DIRECTIONS[scene.direction]
            assert dx * float(x1 - x0) + dy * float(y1 - y0) > 10  # half of 64 pixels, partly hidden at most
        start += scene.length


@pytest.mark.parametrize("seed", range(8))
def test_background_changes_at_scene_cuts_and_nowhere_else(seed: int):
    script, frames = plain(seed)
    corner = frames[:, :, -4:, -4:].mean((2, 3))
    jumps = (corner[1:] - corner[:-1]).abs().amax(1) > 0.02
    if script.flash.quadrant != "southeast":
        assert jumps.nonzero().flatten().tolist() == list(script.scene_cuts)
    base = torch.tensor(BACKGROUNDS[script.scenes[0].background])
    assert torch.allclose(frames[0].median(2).values.median(1).values, base, atol=0.09)  # the texture's height


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        ("circle", np.pi),
        ("square", 1.7**2),
        ("triangle", 1.8 * 1.8 / 2),  # from y = -r down to .8 r, as wide as high
        ("cross", 2 * 2 * 0.6 - 0.6**2),
        ("ring", np.pi * (1 - 0.6**2)),
    ],
)
def test_shapes_cover_their_area(shape: str, area: float):
    config = WorldConfig(16, 256)
    script = script_of(0, config)
    scene = script.scenes[0]
    thing = replace(scene.still, shape=shape, color="red", x=0.5, y=0.5, radius=0.2)
    scene = replace(scene, still=thing, mover=replace(scene.mover, radius=0.0), length=config.frames)
    frame = render([replace(script, scenes=(scene,), flash=replace(script.flash, onset=config.frames))])[0, 0]
    red = (frame - torch.tensor(COLORS["red"])[:, None, None]).abs().amax(0) < 1e-3
    # a pixel's width along the edge: about 10 r of edge, at 51 pixels to the radius
    assert red.double().mean().item() == pytest.approx(area * 0.2**2, rel=0.05)
    middle = red[128, 128].item()
    assert middle == (shape != "ring")


def test_every_digit_has_its_own_glyph():
    assert len(GLYPHS.flatten(1).unique(dim=0)) == 10


@pytest.mark.parametrize("digit", range(10))
def test_digit_is_drawn_with_its_own_glyph(digit: int):
    config = WorldConfig(16, 256)
    flash = Flash(digit=digit, onset=0, length=1, quadrant="northwest", offset=(0.0, 0.0))
    frame = render([replace(script_of(0, config), flash=flash)])[0, 0, 0]
    # from 112 pixels on the box is .16 wide, from .06 on: the middle of each of its 7 x 5 cells
    rows, cols = (((0.06 + 0.16 * (torch.arange(n) + 0.5) / n) * 255).round().long() for n in (7, 5))
    assert torch.equal(frame[rows][:, cols] == 1, GLYPHS[digit])


def test_videos_of_different_size_are_refused():
    with pytest.raises(ValueError, match="given 2 scripts of 2 sizes"):
        render([script_of(0, CONFIG), script_of(0, WorldConfig(32, 64))])
