"""What a user may name as videos, and known cuts on the steps that a model sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from redundancy.models import load_model
from redundancy.paths import data_folder
from redundancy.provenance import file_sha256
from redundancy.sources import SEED_STEP, WORLD_SEED, cuts_on_steps, list_videos
from redundancy.video import load_video
from redundancy.world.scene import WorldConfig
from tests.tiny_models import make_clip


def test_bundled_clips_come_with_their_records():
    sources = list_videos()
    assert len(sources) == 64
    assert len({s.name for s in sources}) == 64
    assert all(s.path.is_file() and s.record is not None for s in sources)
    assert list_videos(limit=3) == sources[:3]


def test_files_and_folders(tmp_path: Path):
    for name in ("b.mp4", "a.MKV", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [s.name for s in list_videos([tmp_path])] == ["a.MKV", "b.mp4"]
    twice = list_videos([tmp_path / "b.mp4", tmp_path / "b.mp4", tmp_path / "absent.mp4"])
    assert [s.name for s in twice] == ["b.mp4", "b.mp4 (2)", "absent.mp4"]


def test_a_folder_without_video_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="holds no video"):
        list_videos([tmp_path])
    with pytest.raises(ValueError, match="at least 1 video, given 0"):
        list_videos(limit=0)


def test_cuts_between_steps():
    clip = make_clip(frames=6)  # file frames 0, 2, ..., 10
    single = np.arange(6)[:, None]
    assert cuts_on_steps([1, 4, 10], clip, single).tolist() == [0, 2]  # after the last frame there is no transition
    assert cuts_on_steps([0, 1], clip, single).tolist() == [0]
    pairs = np.arange(6).reshape(3, 2)
    assert cuts_on_steps([2, 6], clip, pairs).tolist() == [0, 1]
    assert cuts_on_steps([], clip, single).tolist() == []


def test_known_cuts_are_where_the_pictures_change():
    for source in list_videos(limit=12):
        clip = load_video(source.path, frames=16)
        assert source.record is not None
        known = cuts_on_steps(source.record.scene_cuts, clip, np.arange(16)[:, None])
        corner = clip.frames[:, -40:, -40:].astype(float).mean((1, 2))  # background: things stay inside
        change = np.abs(np.diff(corner, axis=0)).sum(1)
        assert set(known.tolist()) <= set(np.argsort(-change)[: len(known) + 2].tolist())


def test_data_folder_holds_what_is_bundled():
    assert (data_folder() / "models" / "tiny-llava-onevision" / "config.json").is_file()


def test_files_are_read_as_the_model_reads_them():
    source = list_videos(limit=1)[0]
    model = load_model("tiny-llava-onevision", device="cpu")
    for clip, other in (
        (source.load(model, frames=5), model.load_video(source.path, frames=5)),
        (source.load(frames=5), load_video(source.path, frames=5)),
        (source.load(fps=1), load_video(source.path, fps=1)),
    ):
        assert np.array_equal(clip.frames, other.frames)
        assert clip.indices.tolist() == other.indices.tolist()
    assert source.digest == file_sha256(source.path)


def test_the_world_is_a_source():
    sources = list_videos(["world:3", Path("world:2?frames=16&scenes=3&seed=7")])
    assert [s.name for s in sources] == [
        "world 2000000",
        "world 2000001",
        "world 2000002",
        "world 2700000 frames=16 scenes=3",
        "world 2700001 frames=16 scenes=3",
    ]
    assert [s.kind for s in sources[3:]] == ["3 scenes"] * 2
    assert len({s.digest for s in sources}) == 5
    for source in sources:
        assert source.record is not None
        clip = source.load(frames=16)
        assert clip.frames.shape == (16, 112, 112, 3)
        assert clip.source == source.name
        assert {q.skill for q in source.record.questions} >= {"digit", "when", "where", "count"}
    assert list_videos(["world:3"]) == sources[:3]
    assert list_videos(["world:100000"], limit=1) == sources[:1]  # not all are drawn
    bundled = {s.record.seed for s in list_videos() if s.record is not None}
    assert max(bundled) < WORLD_SEED
    one, other = (list_videos([f"world:1?seed={seed}"])[0].record for seed in (0, 1))
    assert one is not None
    assert other is not None
    assert other.seed - one.seed == SEED_STEP


def test_every_option_of_the_world():
    options = "frames=24&size=64&scenes=3&drift=1&noise=2&tail=8&duplicates=1&seed=7"
    source = list_videos([f"world:1?{options}"])[0]
    assert source.world is not None
    assert source.world.config == WorldConfig(24, 64, scenes=3, drift=1, noise=2, tail=8, duplicates=1)
    assert source.world.seed == WORLD_SEED + 7 * SEED_STEP
    assert source.name == "world 2700000 frames=24 size=64 scenes=3 drift=1 noise=2 tail=8 duplicates=1"
    assert list_videos([f"world:1?{options.replace('drift=1', 'drift=1.0')}"])[0] == source


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("world:", "'world:' given, expected world:N or world:N"),
        ("world:0", "with N in 1..100000"),
        ("world:-2", "expected world:N"),
        ("world:2?scenes", "expected world:N"),
        ("world:2?colour=red", "options .'colour'. given in 'world:2.colour=red', expected each once, of frames, size"),
        ("world:2?size=64&size=32", "expected each once"),
        ("world:2?frames=many", "frames='many' given in 'world:2.frames=many', expected a whole number"),
        ("world:2?frames=1.5", "expected a whole number"),
        ("world:2?noise=loud", "noise='loud' given in 'world:2.noise=loud', expected a number"),
        ("world:2?frames=4", "at least 8 frames of 32 pixels are needed, given 4 of 112"),
        ("world:2?scenes=9", "scenes=9 given, expected a number in .1, 8."),
        ("world:2?scenes=0", "scenes=0 given, expected a number in .1, 8."),
        ("world:2?duplicates=3", "duplicates=3 given, expected a number in .0, 2."),
        ("world:2?scenes=1&duplicates=1", "duplicates=1 given, expected a number in .0, 0."),
        ("world:2?tail=25", "tail=25 given, expected a number in .0, 24."),
        ("world:2?drift=nan", "drift=nan given"),
        ("world:2?noise=-1", "noise=-1"),
        ("world:2?seed=-1", "seed=-1 given"),
    ],
)
def test_a_world_that_is_none_is_refused(name: str, message: str):
    with pytest.raises(ValueError, match=message):
        list_videos([name])
