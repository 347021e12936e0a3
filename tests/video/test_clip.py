"""What a `VideoClip` accepts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from redundancy.video import Downsample, VideoClip


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
    ("changes", "kind", "message"),
    [
        ({"frames": np.zeros((3, 4, 6, 3), dtype=np.uint8)[:0]}, ValueError, r"shape \(0, 4, 6, 3\).*at least 1"),
        ({"frames": np.zeros((3, 4, 6, 1), dtype=np.uint8)}, ValueError, r"shape \(3, 4, 6, 1\)"),
        ({"frames": np.zeros((3, 0, 6, 3), dtype=np.uint8)}, ValueError, r"shape \(3, 0, 6, 3\)"),
        ({"frames": np.zeros((3, 4, 6, 3), dtype=np.uint8)[0]}, ValueError, r"shape \(4, 6, 3\)"),
        ({"timestamps": np.array([0.0, np.nan, 1.0])}, ValueError, "finite and rising"),
        ({"timestamps": np.array([0.0, np.inf, 1.0])}, ValueError, "finite and rising"),
        ({"timestamps": np.array([0.0, 0.0, 1.0])}, ValueError, "finite and rising"),
        ({"timestamps": np.array([0.0, 1.0])}, ValueError, "one for each of 3 frames"),
        ({"indices": np.array([0, 2, 1])}, ValueError, "indices are .*rising"),
        ({"fps": 0.0}, ValueError, "fps is 0.0"),
        ({"fps": float("nan")}, ValueError, "fps is nan"),
        ({"fps": float("inf")}, ValueError, "fps is inf"),
    ],
)
def test_other_values_are_refused(changes: dict, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        replace(_clip(), **changes)


def test_floats_are_refused() -> None:
    # The checker of shapes in tests would speak first.
    from redundancy.video.clip import _check_frames, _check_rising

    with pytest.raises(TypeError, match="frames are float32, expected a uint8 array"):
        _check_frames(np.zeros((3, 4, 6, 3), dtype=np.float32))
    with pytest.raises(TypeError, match="frames are a list"):
        _check_frames([0])
    with pytest.raises(TypeError, match="indices are float64, expected an array"):
        _check_rising("indices", np.zeros(3), 3, "integers", "iu")
