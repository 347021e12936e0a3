"""Damage that FFmpeg's H.264 decoder does not see: a slice that ends before its data do.

The decoder takes any bits for pictures. Damaged bits mostly end in an error, because a slice runs out of data or
breaks a rule; where neither happens the picture is filled before the data are used up, and the decoder says nothing. An
intact slice needs its last bytes. So they are changed: if the picture stays the same, it was not made of them.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

SLICES = frozenset({1, 5})  # types of the units that hold pictures
TAIL = 16  # bytes; the chance that 128 wrong bits decode to the same picture, three times, is none
SHORTEST = 64  # bytes of a slice of which the last ones are surely not its header
TRIALS = 3


class SliceEnd:
    """Check of H.264 key frames: whether the picture is made of all of its data.

    Parameters
    ----------
    context
        The decoder of the file, for its settings alone.

    Source: ITU-T H.264, 7.3.4 and 7.4.1 (slice data, units).
    """

    def __init__(self, context: Any) -> None:
        import av
        from av.codec.context import Flags2

        self.extradata = bytes(context.extradata or b"")
        self.decoder = av.CodecContext.create("h264", "r")
        self.decoder.flags2 = Flags2.ignore_crop  # the last bytes can be of pixels that nobody sees
        self.decoder.extradata = context.extradata
        self.decoder.thread_type, self.decoder.thread_count = "NONE", 1

    def is_early(self, data: bytes) -> bool:
        """True if the key frame of a packet stays the same whatever its last bytes are."""
        end = self._last_slice_end(data)
        if end is None:
            return False
        noise = np.random.default_rng(0).integers(0x21, 0x7F, (TRIALS, TAIL), dtype=np.uint8)  # no start codes
        picture = self._decode(data)
        return picture is not None and all(
            _same(picture, self._decode(data[: end - TAIL] + tail.tobytes() + data[end:])) for tail in noise
        )

    def _last_slice_end(self, data: bytes) -> int | None:
        """Where the data of the last slice end, None if it is too short to tell."""
        last = None
        for start, stop in self._units(data):
            if start < stop and data[start] & 0x1F in SLICES:
                length = len(data[start:stop].rstrip(b"\0\3"))  # encoders may fill up with zeros
                last = start + length if length >= SHORTEST else None
        return last

    def _units(self, data: bytes) -> list[tuple[int, int]]:
        if self.extradata[:1] != b"\1":
            marks = [match.span() for match in re.finditer(rb"\x00\x00\x01", data)]
            stops = [start for start, _ in marks[1:]] + [len(data)]
            return [(start, stop) for (_, start), stop in zip(marks, stops, strict=True)]
        width, at, units = (self.extradata[4] & 3) + 1, 0, []
        while at + width <= len(data):
            stop = at + width + int.from_bytes(data[at : at + width], "big")
            units.append((at + width, min(stop, len(data))))
            at = stop
        return units

    def _decode(self, data: bytes) -> np.ndarray | None:
        import av

        try:
            frames = [*self.decoder.decode(av.Packet(data)), *self.decoder.decode(None)]
        except av.error.MemoryError:
            raise
        except av.FFmpegError:
            frames = []
        self.decoder.flush_buffers()
        return _pixels(frames[0]) if len(frames) == 1 and not frames[0].is_corrupt else None


def _same(picture: np.ndarray, other: np.ndarray | None) -> bool:
    return other is not None and np.array_equal(picture, other)


def _pixels(frame: Any) -> np.ndarray | None:
    try:
        return np.asarray(frame.to_ndarray())
    except ValueError:  # a format without an array
        return None
