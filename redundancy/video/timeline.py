"""When the frames of a file are shown, and what a reader gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8


@dataclass(frozen=True, eq=False)
class Timeline:
    """Presentation times of all frames of a file, in the order in which they are shown.

    Parameters
    ----------
    times
        `[total]` seconds from the first frame's start.
    duration
        Seconds from the first frame's start to the last frame's end.
    nominal_fps
        What the container says; wrong where the frame rate varies.

    Source: own.
    """

    times: Float64[np.ndarray, "total"]
    duration: float
    nominal_fps: float

    @property
    def total(self) -> int:
        """Frames in the file. Source: own."""
        return len(self.times)

    @property
    def fps(self) -> float:
        """Mean frames per second: total / duration, or the nominal rate where it agrees within half a frame.

        The nominal rate is exact where total / duration carries the rounding of the container's clock.

        Source: own.
        """
        nominal = self.nominal_fps
        if nominal > 0 and abs(self.duration - self.total / nominal) <= 0.5 / nominal:
            return nominal
        return self.total / self.duration if self.duration > 0 else nominal


Choose = Callable[[Timeline], Int64[np.ndarray, "frames"]]
"""Which frames to keep, given when they are shown: sorted, without repetition."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a reader gives back.

    Parameters
    ----------
    frames
        `[T, H, W, 3]` uint8, RGB, upright.
    indices
        `[T]` frame numbers in the file.
    timeline
        Of the whole file.
    decoder
        Name and version of the library.

    Source: own.
    """

    frames: UInt8[np.ndarray, "frames height width 3"]
    indices: Int64[np.ndarray, "frames"]
    timeline: Timeline
    decoder: str
