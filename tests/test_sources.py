"""What a user may name as videos, and known cuts on the steps that a model sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from redundancy.paths import data_folder
from redundancy.sources import cuts_on_steps, list_videos
from redundancy.video import load_video
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
