"""The fuzzer's judge tells a right clip from a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from redundancy.paths import data_folder
from redundancy.video import NoFramesError, VideoClip, load_video
from tools import fuzz_videos
from tools.fuzz_videos import RIGHT, TYPED, decode, judge

CLIP = data_folder() / "clips" / "clip_000.mp4"


def raising(error: Exception) -> Callable[[VideoClip], VideoClip]:
    def read(clip: VideoClip) -> VideoClip:
        raise error

    return read


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda clip: clip, RIGHT),
        (lambda clip: replace(clip, frames=np.roll(clip.frames, 1, axis=0)), "WRONG FRAME"),
        (lambda clip: replace(clip, timestamps=clip.timestamps + 0.25), "WRONG FRAME"),
        (lambda clip: replace(clip, total_frames=31), "WRONG FRAME"),
        (raising(NoFramesError("a.mp4")), TYPED),
        (raising(KeyError("pts")), "untyped error"),
    ],
)
def test_verdicts(monkeypatch: pytest.MonkeyPatch, change: Callable[[VideoClip], VideoClip], verdict: str):
    def read(path: Path, **settings: Any) -> VideoClip:
        return change(load_video(path, **settings))

    monkeypatch.setattr(fuzz_videos, "load_video", read)
    assert judge(CLIP, frozenset(decode(CLIP).pixels))[0] == verdict


def test_every_mutation_gives_another_file(tmp_path: Path):
    for name in ("flip", "zero", "remove", "repeat", "truncate", "header", "trim"):
        fuzz_videos.MUTATIONS[name](CLIP, [CLIP], np.random.default_rng(2), tmp_path / f"{name}.mp4")
        assert (tmp_path / f"{name}.mp4").read_bytes() != CLIP.read_bytes(), name
