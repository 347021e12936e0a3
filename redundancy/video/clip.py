"""Frames of a video and where they come from."""

from __future__ import annotations

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

    Source: own.
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

    def __repr__(self) -> str:
        count, height, width = self.frames.shape[:3]
        times = f"{self.timestamps[0]:.2f} to {self.timestamps[-1]:.2f} s of {self.duration:.2f} s"
        return f"VideoClip({count} frames of {width} x {height}, {times}, {self.source!r}, read by {self.decoder})"
