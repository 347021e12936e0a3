"""The compressed packets of a file's first video stream, in the order in which they are decoded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import Bool, Int64

from redundancy.video.errors import NotAVideoError, NoVideoStreamError, UnsupportedCodecError

# One packet of these holds one shown frame. Packets of VP8 and of MPEG-4 Part 2 may hold none or two.
ONE_FRAME_A_PACKET = frozenset({"h264", "hevc", "vp9", "av1"})
# These hold decoding times alone. FFmpeg guesses the others, wrongly where frames are reordered or irregular.
WITHOUT_SHOWN_TIMES = frozenset({"avi", "asf"})


@dataclass(frozen=True, eq=False)
class PacketTable:
    """What a container says of each packet.

    Parameters
    ----------
    pts, dts
        Ticks at which the frame is shown and decoded, None where the container does not say.
    duration
        `[packets]` ticks, 0 where unknown.
    key
        `[packets]` the container calls it a key frame.
    dropped
        `[packets]` an edit list takes its frame off the timeline.
    corrupt
        `[packets]` the container says that it is damaged.
    tick
        Seconds.
    rate
        Frames per second that the container names, 0 if none.
    codec, container
        FFmpeg's names.
    """

    pts: tuple[int | None, ...]
    dts: tuple[int | None, ...]
    duration: Int64[np.ndarray, "packets"]
    key: Bool[np.ndarray, "packets"]
    dropped: Bool[np.ndarray, "packets"]
    corrupt: Bool[np.ndarray, "packets"]
    tick: float
    rate: float
    codec: str
    container: str

    @cached_property
    def shown(self) -> Int64[np.ndarray, "packets"]:
        """`pts` as an array, of a table without `irregularity`."""
        return np.array(self.pts, dtype=np.int64)

    @cached_property
    def irregularity(self) -> str:
        """Why the packets alone do not tell which frames are shown when; empty where they do."""
        if None in self.pts:
            return "presentation times are missing"
        if self.dropped.any():
            return "an edit list hides frames"
        if self.corrupt.any():
            return "packets are damaged"
        if len(set(self.pts)) < len(self.pts):
            return "two frames have one time"
        order = [tick for tick in self.dts if tick is not None]
        if any(a >= b for a, b in pairwise(order)):
            return "decoding times are not in order"
        if not self.key[0] or self.shown[0] != self.shown.min():
            return "it does not start with a key frame"
        return ""

    @cached_property
    def leading(self) -> Bool[np.ndarray, "packets"]:
        """Packets that are shown before the key frame that they follow: they need the frames before it (open GOP)."""
        leads: np.ndarray = self.shown < self.shown[self.starts]
        return leads

    @cached_property
    def starts(self) -> Int64[np.ndarray, "packets"]:
        """The key packet at or before each packet."""
        return np.maximum.accumulate(np.where(self.key, np.arange(len(self.key)), 0))


@contextmanager
def open_stream(path: Path) -> Iterator[tuple[Any, Any]]:
    """Container and first video stream that is no cover picture, as PyAV gives them.

    Raises
    ------
    NotAVideoError, NoVideoStreamError, UnsupportedCodecError
        If FFmpeg knows no such container, finds no video stream in it, or has no decoder for it.
    """
    import av

    with _openable(path) as name:
        try:
            # Nothing but this file: playlists and references inside containers could name others.
            container = av.open(name, metadata_errors="ignore", options={"protocol_whitelist": "file"})
        except MemoryError:
            raise
        except av.FFmpegError as error:
            raise NotAVideoError(path, f"FFmpeg knows no such container: {error.strerror}") from error
        with container:
            yield container, _video_stream(container, path)


@contextmanager
def _openable(path: Path) -> Iterator[str | _Unnamed]:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:  # PyAV takes names in UTF-8 alone
        with path.open("rb") as file:
            yield _Unnamed(file)
    else:
        yield str(path)


class _Unnamed:
    """A file without the name that PyAV could not encode."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def _video_stream(container: Any, path: Path) -> Any:
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise NoVideoStreamError(path)
    if streams[0].codec_context is None:
        raise UnsupportedCodecError(path, "this build of FFmpeg has no decoder for it")
    return streams[0]


class PacketNumber(int):
    """Number of a packet as an object of its own.

    PyAV keeps what `opaque` holds by the object's address, one table for all files, and small numbers of Python are one
    object everywhere: with two videos read at a time, the end of one would take the numbers of the other away.
    """


def read_packets(container: Any, stream: Any) -> Iterator[Any]:
    """Packets of a stream that hold data, each with its number in `opaque`."""
    import av

    number = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.error.InvalidDataError:  # as players do: what was read so far is the video
            return
        if packet.size:  # an empty packet would tell the decoder that the file ends
            packet.opaque = PacketNumber(number)
            number += 1
            yield packet


def packet_table(path: Path) -> PacketTable:
    """Read all packets of a file's first video stream without decoding them."""
    with open_stream(path) as (container, stream):
        rows = [
            (p.pts, p.dts, p.duration or 0, p.is_keyframe, p.is_discard, p.is_corrupt)
            for p in read_packets(container, stream)
        ]
        pts, dts, duration, key, dropped, corrupt = zip(*rows, strict=True) if rows else ((),) * 6
        if container.format.name in WITHOUT_SHOWN_TIMES:
            pts = (None,) * len(pts)
        return PacketTable(
            pts=pts,
            dts=dts,
            duration=np.array(duration, dtype=np.int64),
            key=np.array(key, dtype=bool),
            dropped=np.array(dropped, dtype=bool),
            corrupt=np.array(corrupt, dtype=bool),
            tick=float(stream.time_base),
            rate=float(stream.guessed_rate or stream.average_rate or 0),
            codec=str(stream.codec_context.codec.canonical_name),
            container=str(container.format.name),
        )
