"""What a `VideoClip` accepts."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from redundancy.video import Downsample, VideoClip
from redundancy.video.clip import _check_frames, _check_rising  # in tests, the checker of shapes would speak first


def _clip(count: int = 3) -> VideoClip:
    return VideoClip(
        frames=np.zeros((count, 4, 6, 3), dtype=np.uint8),
        timestamps=np.arange(count) / 2,
        indices=np.arange(count),
        fps=2.0,
        total_frames=count,
        duration=count / 2,
        source="zeros",
        sha256="",
        decoder="numpy",
    )


def test_plain_clips_are_accepted() -> None:
    for clip in (_clip(1), _clip(3), Downsample(time=2)(_clip(3))):
        assert len(clip.frames) == len(clip.timestamps)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timestamps": np.array([0.0, np.nan, 1.0])}, "finite and rising"),
        ({"timestamps": np.array([0.0, np.inf, 1.0])}, "finite and rising"),
        ({"timestamps": np.array([0.0, 0.0, 1.0])}, "finite and rising"),
        ({"indices": np.array([0, 2, 1])}, "indices are .*rising"),
        ({"fps": 0.0}, "fps is 0.0"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"fps": float("inf")}, "fps is inf"),
    ],
)
def test_other_values_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(_clip(), **changes)


@pytest.mark.parametrize("shape", [(0, 4, 6, 3), (3, 4, 6, 1), (3, 0, 6, 3), (4, 6, 3)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=re.escape(f"the shape {shape}")):
        _check_frames(np.zeros(shape, dtype=np.uint8))


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="frames are float32, expected a uint8 array"):
        _check_frames(np.zeros((3, 4, 6, 3), dtype=np.float32))
    with pytest.raises(TypeError, match="frames are a list"):
        _check_frames([0])
    with pytest.raises(TypeError, match="indices are float64, expected an array"):
        _check_rising("indices", np.zeros(3), 3, "integers", "iu")
    with pytest.raises(ValueError, match="one for each of 3 frames"):
        _check_rising("timestamps", np.zeros(2), 3, "float64 seconds", "f")
