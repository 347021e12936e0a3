"""When the frames of a file are shown, and what a reader gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from redundancy.video.packets import PacketTable

DEFAULT_RATE = 25.0  # frames per second, where a file names none: FFmpeg's
FEW_MISSING = 0.1  # share of frames without a time, below which the times around them say when they are shown


@dataclass(frozen=True, eq=False)
class Timeline:
    """Presentation times of all frames of a file, in the order in which they are shown.

    Parameters
    ----------
    times
        `[total]` seconds from the first frame's start, rising.
    duration
        Seconds from the first frame's start to the last frame's end.
    nominal_fps
        What the container says; wrong where the frame rate varies.
    """

    times: Float64[np.ndarray, "total"]
    duration: float
    nominal_fps: float

    @property
    def total(self) -> int:
        """Frames in the file."""
        return len(self.times)

    @property
    def fps(self) -> float:
        """Mean frames per second: total / duration, or the nominal rate where it agrees within half a frame.

        The nominal rate is exact where total / duration carries the rounding of the container's clock.
        """
        nominal = self.nominal_fps
        if nominal > 0 and abs(self.duration - self.total / nominal) <= 0.5 / nominal:
            return nominal
        return self.total / self.duration


def make_timeline(table: PacketTable, packets: Sequence[int]) -> Timeline:
    """Timeline of frames in the order in which a decoder gives them.

    1. Their presentation times; where a few are missing, times between those of their neighbours.
    2. Where many are missing, or they do not rise although the decoding times do (AVI holds no presentation times): the
       decoding times in rising order.
    3. Where these are missing as well: number / rate.
    4. Where times begin again, as in recordings that were joined, they go on one frame after the last.
    5. Counted from the first frame. The last frame lasts as long as its packet says, else 1 / rate.

    Parameters
    ----------
    table
        Packets of the file.
    packets
        Of each frame, the packet that it came from.

    Source: own; FFmpeg, `guess_correct_pts` (step 2).
    """
    step = 1 / (table.rate or DEFAULT_RATE)
    times = _rising(_times(table, packets, step), step)
    end = float(table.duration[packets[-1]]) * table.tick or step
    return Timeline(times - times[0], float(times[-1] - times[0]) + end, table.rate or DEFAULT_RATE)


def _times(table: PacketTable, packets: Sequence[int], step: float) -> Float64[np.ndarray, "total"]:
    shown = np.array([np.nan if (tick := table.pts[i]) is None else tick for i in packets], dtype=np.float64)
    sent = np.array([np.nan if (tick := table.dts[i]) is None else tick for i in sorted(packets)], dtype=np.float64)
    missing = np.isnan(shown)
    many_missing = missing.mean() > FEW_MISSING
    if not many_missing:
        order = np.arange(len(shown))
        shown = np.interp(order, order[~missing], shown[~missing])
    if not many_missing and (np.diff(shown) > 0).all():
        return shown * table.tick
    if not np.isnan(sent).any() and (np.diff(sent) > 0).all():
        return sent * table.tick
    return np.arange(len(shown)) * step if many_missing else shown * table.tick


def _rising(times: Float64[np.ndarray, "total"], step: float) -> Float64[np.ndarray, "total"]:
    back = np.flatnonzero(np.diff(times) <= 0) + 1
    shift = np.zeros_like(times)
    shift[back] = times[back - 1] - times[back] + step
    shifted: np.ndarray = times + np.cumsum(shift)
    return shifted


Choose = Callable[[Timeline], Int64[np.ndarray, "frames"]]
"""Which frames to keep, given when they are shown: sorted, without repetition."""


class WindowError(ValueError):
    """No frame is shown between the times asked for."""


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
    """

    frames: UInt8[np.ndarray, "frames height width 3"]
    indices: Int64[np.ndarray, "frames"]
    timeline: Timeline
    decoder: str
