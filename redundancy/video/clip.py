"""Frames of a video and where they come from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8


@dataclass(frozen=True, eq=False)
class VideoClip:
    """Frames of a video and where they come from.

    Parameters
    ----------
    frames
        `[T, H, W, 3]` uint8, RGB, upright.
    timestamps
        `[T]` seconds, the true presentation times.
    indices
        `[T]` frame numbers in the file.
    fps
        Mean frames per second of the file.
    total_frames
        Frames in the file.
    duration
        Seconds.
    source
        Path, or a description of where the frames were made.
    sha256
        Of the file's bytes; of the frames where there is no file.
    decoder
        What read the frames, with its version, for example `"decord 0.6.0"`.
    requested
        Frames that were asked for; fewer are here where the file, or the part of it between `start` and `end`, has
        fewer (then each is here once), or where the sampling convention rounds. None if nobody asked.

    Raises
    ------
    TypeError
        If the frames are no uint8 array, or times and indices no arrays of numbers.
    ValueError
        If a shape is another, there is no frame, times are not finite and rising, indices do not rise, or fps is not
        above 0.

    Examples
    --------
    >>> import numpy as np
    >>> clip = VideoClip(
    ...     frames=np.zeros((2, 64, 64, 3), dtype=np.uint8), timestamps=np.array([0.0, 0.5]), indices=np.array([0, 1]),
    ...     fps=2.0, total_frames=2, duration=1.0, source="zeros", sha256="", decoder="numpy",
    ... )
    """

    frames: UInt8[np.ndarray, "frames height width 3"]
    timestamps: Float64[np.ndarray, "frames"]
    indices: Int64[np.ndarray, "frames"]
    fps: float
    total_frames: int
    duration: float
    source: str
    sha256: str
    decoder: str
    requested: int | None = None

    def __post_init__(self) -> None:
        _check_frames(self.frames)
        _check_rising("timestamps", self.timestamps, len(self.frames), "float64 seconds", "f")
        _check_rising("indices", self.indices, len(self.frames), "integers", "iu")
        if not (math.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps is {self.fps}, expected a finite number above 0")

    def __repr__(self) -> str:
        count, height, width = self.frames.shape[:3]
        times = f"{self.timestamps[0]:.2f} to {self.timestamps[-1]:.2f} s of {self.duration:.2f} s"
        return f"VideoClip({count} frames of {width} x {height}, {times}, {self.source!r}, read by {self.decoder})"


def _check_frames(frames: object) -> None:
    expected = "expected a uint8 array [T, H, W, 3] with values from 0 to 255"
    if not isinstance(frames, np.ndarray):
        raise TypeError(f"frames are a {type(frames).__name__}, {expected}")
    if frames.dtype != np.uint8:
        raise TypeError(f"frames are {frames.dtype}, {expected}")
    if frames.ndim != 4 or frames.shape[3] != 3 or 0 in frames.shape:
        raise ValueError(f"frames have the shape {frames.shape}, {expected}, and T, H and W of at least 1")


def _check_rising(name: str, values: object, count: int, expected: str, kinds: str) -> None:
    if not isinstance(values, np.ndarray) or values.dtype.kind not in kinds:
        given = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise TypeError(f"{name} are {given}, expected an array [T] of {expected}")
    if values.shape != (count,):
        raise ValueError(f"{name} have the shape {values.shape}, expected one for each of {count} frames")
    if not np.isfinite(values).all() or (np.diff(values) <= 0).any():
        raise ValueError(f"{name} are {values}, expected finite and rising numbers")
