"""Options of the world: each changes what it says and nothing else, and the usual videos are what they were."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redundancy.video import SAMPLINGS
from redundancy.world.clip import WorldVideo
from redundancy.world.clips import balanced_seeds, script_of
from redundancy.world.questions import ask_all
from redundancy.world.render import NOISE, render, render_frames
from redundancy.world.scene import JITTER, SWING, VideoScript, WorldConfig

USUAL = WorldConfig(16, 64)
BEFORE = "063304b265bd3219aee86e4b7c5ed8ff2c76a39a6190073ee0dfabacebf176d3"


def hidden(script: VideoScript) -> VideoScript:
    return replace(script, flash=replace(script.flash, onset=script.config.frames))


def test_usual_videos_are_what_they_were():
    """Taken before there were options: frames of four bundled clips, hashed."""
    frames = np.stack([render_frames(script_of(seed, USUAL), seed=seed) for seed in range(1_000_000, 1_000_004)])
    assert hashlib.sha256(frames.tobytes()).hexdigest() == BEFORE


@given(
    st.integers(0, 2**31),
    st.integers(1, 8) | st.none(),
    st.integers(8, 40),
    st.integers(0, 6),
    st.integers(0, 20),
)
def test_scripts_keep_the_rules(seed: int, scenes: int | None, moving: int, duplicates: int, tail: int):
    most = 4 if scenes is None else scenes
    duplicates = min(duplicates, max(most - 2, 0))
    config = WorldConfig(moving + tail, 64, scenes=scenes, duplicates=duplicates, tail=tail)
    script = script_of(seed, config)
    assert script == script_of(seed, config)
    lengths = [s.length for s in script.scenes]
    assert sum(lengths) == moving
    assert min(lengths) >= config.shortest_scene
    assert scenes is None or len(lengths) == scenes
    own = script.scenes[: len(lengths) - duplicates]
    assert all(s.copies is None for s in own)
    assert [s.copies for s in script.scenes[len(own) :]] == [i % len(own) for i in range(duplicates)]
    assert len(own) >= (2 if duplicates else 1)
    assert all(a.background != b.background for a, b in pairwise(script.scenes))
    if len(own) > 4:
        counts = [sum(s.background == t.background for t in own) for s in own]
        assert sorted(counts)[:2] == [1, 1]


def test_near_duplicates_have_the_things_of_their_scene():
    script = script_of(3, WorldConfig(16, 64, scenes=4, duplicates=2))
    for first, again in zip(script.scenes[:2], script.scenes[2:], strict=True):
        assert (again.background, again.direction) == (first.background, first.direction)
        for a, b in ((first.mover, again.mover), (first.still, again.still)):
            assert (a.shape, a.color, a.radius) == (b.shape, b.color, b.radius)
            assert 0 < max(abs(a.x - b.x), abs(a.y - b.y)) <= JITTER
    first, other, copy = (frame_of(script, i) for i in range(3))
    assert cosine(first, copy) > 0.75
    assert cosine(first, other) < 0.5


def frame_of(script: VideoScript, number: int) -> torch.Tensor:
    """The first frame of a scene without noise and digit, its mean taken away."""
    frame = render([hidden(script)])[0][sum(s.length for s in script.scenes[:number])]
    return (frame - frame.mean((1, 2), keepdim=True)).flatten()


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.nn.functional.cosine_similarity(a, b, dim=0).item()


@pytest.mark.parametrize("seed", range(6))
def test_drift_moves_the_picture_and_changes_nothing_else(seed: int):
    config = WorldConfig(16, size=128, scenes=1)
    still, moving = script_of(seed, config), script_of(seed, replace(config, drift=2))
    assert replace(moving, config=config, camera=(0.0, 0.0)) == still
    assert np.hypot(*moving.camera) == pytest.approx(2)
    a, b = (render([hidden(s)])[0].mean(1) for s in (still, moving))  # grey [T, H, W]
    for t in range(config.frames):
        dx, dy = ((t - 7.5) * v for v in moving.camera)
        assert np.hypot(dx, dy) <= SWING * 127  # no turn in so few frames
        rows, cols = (slice(20, 108) for _ in range(2))
        shifted = a[t, 20 + round(dy) : 108 + round(dy), 20 + round(dx) : 108 + round(dx)]
        off = (shifted - b[t, rows, cols]).abs().mean()
        assert off < 0.01  # half a pixel of rounding along edges of things
        if np.hypot(dx, dy) > 4:
            assert (a[t, rows, cols] - b[t, rows, cols]).abs().mean() > 2.5 * off


def test_drift_turns_before_things_leave():
    script = script_of(0, WorldConfig(64, 64, scenes=1, drift=3))
    scene = script.scenes[0]
    middle = replace(scene, still=replace(scene.still, x=0.5, y=0.5, color="red", radius=0.05))
    lone = replace(middle, mover=replace(scene.mover, radius=0.0))
    frames = render([hidden(replace(script, scenes=(lone,)))])[0]
    is_red = (frames[:, 0] - frames[:, 1]) > 0.5
    places = torch.stack([m.nonzero().double().mean(0) / 63 - 0.5 for m in is_red])
    distance = places.norm(dim=1)
    assert distance.max() == pytest.approx(SWING, abs=0.05)
    steps = (places[1:] - places[:-1]).norm(dim=1) * 63
    assert steps.median() == pytest.approx(3, abs=0.5)


def test_the_digit_stays_on_the_screen():
    a, b = (script_of(1, WorldConfig(16, 64, drift=d)) for d in (0, 3))
    t = a.flash.onset
    boxes = []
    for script in (a, b):
        boxes.append((render([script])[0][t] - render([hidden(script)])[0][t]).abs().sum(0) > 0)
    # where the box lies on a thing of its own colour nothing changes
    assert (boxes[0] == boxes[1]).double().mean() > 0.99


def test_noise_is_of_backgrounds_alone():
    script = hidden(script_of(0, WorldConfig(16, size=128, noise=3)))
    clean = render([script])[0]
    noisy = render([script], generator=torch.Generator().manual_seed(0))[0]
    usual = render(
        [replace(script, config=replace(script.config, noise=1))], generator=torch.Generator().manual_seed(0)
    )[0]
    on_thing = (clean - clean.median(3, keepdim=True).values).abs().amax(1, keepdim=True) > 0.3
    inside = (clean > 0.2) & (clean < 0.8)
    thing, ground = (((m & inside).expand_as(clean)) for m in (on_thing, ~on_thing))
    assert (noisy - clean)[ground].std() == pytest.approx(3 * NOISE, rel=0.05)
    assert torch.equal(noisy[thing], usual[thing])
    assert (usual - clean)[ground].std() == pytest.approx(NOISE, rel=0.05)


def test_tails_are_static_to_the_bit():
    config = WorldConfig(24, 64, tail=9)
    frames = render_frames(script_of(5, config), seed=5)
    assert len(frames) == 24
    assert (frames[15:] == frames[14]).all()
    assert not (frames[14] == frames[13]).all()
    script = script_of(5, config)
    assert script.flash.onset < 15
    assert all(cut < 14 for cut in script.scene_cuts)


def test_questions_name_only_scenes_that_are_told_apart():
    for seed in range(40):
        config = WorldConfig(32, 64, scenes=8)
        script = script_of(seed, config)
        backgrounds = [s.background for s in script.scenes]
        for question in ask_all(script, seed=seed):
            named = [b for b in set(backgrounds) if b in question.text.split()]
            assert all(backgrounds.count(b) == 1 for b in named)
            assert question.skill != "count"
        copies = script_of(seed, WorldConfig(16, 64, scenes=4, duplicates=2))
        answers = {q.skill: q for q in ask_all(copies, seed=seed)}
        assert answers["count"].answer == "four"
        own = {s.background: s for s in copies.scenes[:2]}
        named = next(b for b in own if b in answers["direction"].text.split())
        assert answers["direction"].answer == own[named].direction
        assert answers["first"].answer == copies.scenes[0].background


def test_clips_in_memory():
    video = WorldVideo(3, WorldConfig(32, 64))
    clip, drawn = video.clip(8), render_frames(script_of(3, video.config), seed=3)
    assert clip.indices.tolist() == np.linspace(0, 31, 8).astype(int).tolist()
    assert np.array_equal(clip.frames, drawn[clip.indices])
    assert clip.timestamps.tolist() == (clip.indices / 2).tolist()
    assert (clip.total_frames, clip.duration, clip.requested) == (32, 16.0, 8)
    assert clip.sha256 == hashlib.sha256(clip.frames.tobytes()).hexdigest() != video.clip(9).sha256
    assert clip.decoder.startswith("world ")
    for name, convention in SAMPLINGS.items():
        expected = convention.sample(32, 2.0, convention.frames, convention.fps)
        assert video.clip(sampling=name).indices.tolist() == expected.tolist()
    assert len(video.clip(fps=1).frames) == 16
    for wrong in ({"frames": 0}, {"fps": 0}, {"sampling": "some"}):
        with pytest.raises(ValueError, match="expected numbers above 0 or None"):
            video.clip(**wrong)


def test_records():
    video = WorldVideo(3, WorldConfig(scenes=2))
    record = video.record()
    assert (record.seed, record.kind, record.frames, record.fps) == (3, "2 scenes", 32, 2)
    assert record.questions == ask_all(script_of(3, video.config), seed=3)
    assert video.name == "world 3 scenes=2"


def test_balanced_seeds_need_free_numbers_of_scenes():
    with pytest.raises(ValueError, match="scenes=2, duplicates=0 given, expected a free number"):
        balanced_seeds(4, WorldConfig(16, 64, scenes=2))
