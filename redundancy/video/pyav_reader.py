"""Second reader: PyAV (extra `av`)."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from redundancy.video.errors import CorruptVideoError, NoFramesError, NotAVideoError, NoVideoStreamError
from redundancy.video.timeline import Choose, Decoded, Timeline


def pyav_installed() -> bool:
    """True if the extra `av` is installed.

    Source: own.
    """
    return find_spec("av") is not None


def pyav_codec(path: Path) -> str:
    """Name of the codec of the first video stream, as FFmpeg calls it.

    Raises
    ------
    NotAVideoError, NoVideoStreamError
        If FFmpeg knows no such container, or finds no video stream in it.

    Source: own.
    """
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise NoVideoStreamError(path)
            return str(container.streams.video[0].codec.canonical_name)
    except (av.FFmpegError, av.codec.codec.UnknownCodecError) as error:
        raise NotAVideoError(path, "FFmpeg knows no such container") from error


def read_pyav(path: Path, choose: Choose) -> Decoded:
    """Open a file with PyAV, read the chosen frames, and close it.

    1. Read the packets without decoding them: their presentation times, sorted, number the frames.
    2. Decode from the start to the last chosen frame, and keep the chosen ones alone. Sequential decoding is exact for
       every codec, where seeking is not; it costs time in proportion to the last chosen frame's number.

    Raises
    ------
    NoFramesError, CorruptVideoError
        If there is no frame, or one that was chosen cannot be decoded.

    Source: own.
    """
    import av

    try:
        stamps, timeline = _scan(path)
        indices = choose(timeline)
        frames = _decode(path, stamps[indices])
    except av.FFmpegError as error:
        raise CorruptVideoError(path, f"FFmpeg says: {error.strerror}") from error
    return Decoded(frames, indices, timeline, f"PyAV {av.__version__}")


def _scan(path: Path) -> tuple[Int64[np.ndarray, "total"], Timeline]:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        shown = [(p.pts, p.duration) for p in container.demux(stream) if p.size and not p.is_discard]
        nominal = float(stream.average_rate or 0)
        tick = stream.time_base
    if any(pts is None for pts, _ in shown):
        shown = _decoded_times(path)
    if not shown:
        raise NoFramesError(path)
    spans = np.array(sorted((pts, duration or 0) for pts, duration in shown), dtype=np.int64)
    stamps = spans[:, 0]
    last = spans[-1, 1] * float(tick) or (1 / nominal if nominal else 0.0)
    times = (stamps - stamps[0]) * float(tick)
    return stamps, Timeline(times, float(times[-1] + last), nominal)


def _decoded_times(path: Path) -> list[tuple[int, int]]:
    """Times of decoded frames, for containers that store no presentation time with a packet."""
    import av

    with av.open(str(path)) as container:
        return [(frame.pts, frame.duration) for frame in container.decode(video=0) if frame.pts is not None]


def _decode(path: Path, stamps: Int64[np.ndarray, "frames"]) -> UInt8[np.ndarray, "frames height width 3"]:
    import av

    with av.open(str(path)) as container:
        kept = _keep(container.decode(video=0), frozenset(stamps.tolist()))
    if len(kept) < len(stamps):
        raise CorruptVideoError(path, f"{len(stamps) - len(kept)} of {len(stamps)} frames asked for cannot be decoded")
    return np.stack([kept[stamp] for stamp in stamps.tolist()])


def _keep(decoded: Iterable[Any], wanted: frozenset[int]) -> dict[int, np.ndarray]:
    kept: dict[int, np.ndarray] = {}
    for frame in decoded:
        if frame.pts in wanted and not frame.is_corrupt:
            kept[frame.pts] = _upright(frame)
            if len(kept) == len(wanted):
                break
    return kept


def _upright(frame: Any) -> UInt8[np.ndarray, "height width 3"]:
    # `rotation` is in degrees counterclockwise, as is `rot90`.
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90)))
