"""A video file in, a `VideoClip` out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from redundancy.video.clip import VideoClip
from redundancy.video.container import sniff_codec, starts_like_media
from redundancy.video.decord_reader import MEASURED_CODECS, WRONG_CODECS, read_decord
from redundancy.video.errors import (
    DirectoryVideoError,
    EmptyVideoError,
    MissingVideoError,
    NotAVideoError,
    UnreadableVideoError,
    UnsupportedCodecError,
)
from redundancy.video.pyav_reader import pyav_codec, pyav_installed, read_pyav
from redundancy.video.resize import resize_frames
from redundancy.video.sampling import SAMPLINGS, frames_asked
from redundancy.video.timeline import Choose, Decoded, Timeline

DECODERS = ("auto", "decord", "pyav")
Reader = Callable[[Path, Choose], Decoded]


def load_video(
    path: str | Path,
    frames: int | None = None,
    *,
    fps: float | int | None = None,
    start: float | int | None = None,
    end: float | int | None = None,
    resize: int | tuple[int, int] | None = None,
    sampling: str = "linspace",
    decoder: str = "auto",
) -> VideoClip:
    """Read frames of a video file.

    1. Tell from the file's bytes what it is; say what is wrong with it if it is no whole video.
    2. Choose the reader by the codec: decord where it is known to give the right frames, else PyAV.
    3. Sample among the frames shown at `start <= t <= end`, decode those alone, turn them upright, resize.

    Parameters
    ----------
    path
        The file.
    frames
        Number of frames. Where fewer exist, each of them once, and `clip.requested` is larger than their number. With
        `fps`, the most that are taken.
    fps
        Frames per second to sample instead of a number of frames. Without both, the convention's default: 32 frames for
        `"linspace"`, `"uniform"` and `"bin_starts"`.
    start, end
        Seconds from the first frame; None is the start or the end of the video.
    resize
        None, the shorter side in pixels, or `(height, width)`.
    sampling
        Name in `SAMPLINGS`.
    decoder
        `"auto"`, `"decord"` or `"pyav"`.

    Returns
    -------
    VideoClip
        With the frames `[T, H, W, 3]`, their true times and their numbers, both counted from the file's first frame.
        `clip.decoder` names the reader.

    Raises
    ------
    ValueError
        If a setting is out of its range, or no frame is shown between `start` and `end`.
    VideoError
        One subclass per cause, with the path and what to do, if the file gives no clip.

    Source: own.
    """
    _check(frames, fps, start, end, resize, sampling, decoder)
    file = Path(path)
    digest = _digest(file)
    reader = _reader(file, decoder)
    asked: list[int] = []

    def choose(timeline: Timeline) -> Int64[np.ndarray, "frames"]:
        window = _window(timeline, start, end, file)
        convention = SAMPLINGS[sampling]
        rate = None if fps is None else float(fps)
        wanted = (convention.frames, convention.fps) if frames is None and rate is None else (frames, rate)
        asked.append(frames_asked(len(window), timeline.fps, frames=wanted[0], fps=wanted[1]))
        return window[convention.sample(len(window), timeline.fps, *wanted)]

    decoded = reader(file, choose)
    return VideoClip(
        frames=resize_frames(decoded.frames, resize),
        timestamps=decoded.timeline.times[decoded.indices],
        indices=decoded.indices,
        fps=decoded.timeline.fps,
        total_frames=decoded.timeline.total,
        duration=decoded.timeline.duration,
        source=str(path),
        sha256=digest,
        decoder=decoded.decoder,
        requested=asked[0],
    )


def _check(
    frames: int | None,
    fps: float | int | None,
    start: float | int | None,
    end: float | int | None,
    resize: int | tuple[int, int] | None,
    sampling: str,
    decoder: str,
) -> None:
    if frames is not None and frames < 1:
        raise ValueError(f"frames is {frames}, expected at least 1")
    if fps is not None and not 0 < fps < float("inf"):
        raise ValueError(f"fps is {fps}, expected a number above 0")
    low, high = (0.0 if start is None else start), (float("inf") if end is None else end)
    if not 0 <= low <= high:
        raise ValueError(f"start is {start} s and end is {end} s, expected 0 <= start <= end")
    if resize is not None and min(np.ravel(resize)) < 1:
        raise ValueError(f"resize is {resize}, expected pixels above 0")
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling is {sampling!r}, expected one of {', '.join(SAMPLINGS)}")
    if decoder not in DECODERS:
        raise ValueError(f"decoder is {decoder!r}, expected one of {', '.join(DECODERS)}")


def _digest(path: Path) -> str:
    """SHA-256 of the file, after the file system's own reasons why it has none."""
    try:
        if path.is_dir():
            raise DirectoryVideoError(path)
        if not path.exists():
            raise MissingVideoError(path)
        if path.stat().st_size == 0:
            raise EmptyVideoError(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UnreadableVideoError(path, error.strerror or type(error).__name__) from error


def _reader(path: Path, decoder: str) -> Reader:
    codec = sniff_codec(path)
    if codec is None and pyav_installed():
        codec = pyav_codec(path)
    elif codec is None and not starts_like_media(path):
        raise NotAVideoError(path)
    name = codec or "of a container that only PyAV tells"
    if decoder == "pyav" or (decoder == "auto" and (codec not in MEASURED_CODECS or not _decord_installed())):
        if not pyav_installed():
            raise UnsupportedCodecError(path, f"codec {name}: needs PyAV, which is not installed")
        return read_pyav
    if not _decord_installed():
        raise UnsupportedCodecError(path, f"codec {name}: decord was asked for and is not installed")
    if codec in WRONG_CODECS:
        raise UnsupportedCodecError(path, f"codec {name}: decord gives wrong frames or none, use decoder='auto'")
    return read_decord


def _decord_installed() -> bool:
    return find_spec("decord") is not None


def _window(
    timeline: Timeline, start: float | int | None, end: float | int | None, path: Path
) -> Int64[np.ndarray, "window"]:
    times = timeline.times
    shown = (times >= (0.0 if start is None else start)) & (times <= (np.inf if end is None else end))
    window = np.flatnonzero(shown).astype(np.int64)
    if len(window) == 0:
        raise ValueError(
            f"{path}: no frame between start={start} s and end={end} s, it lasts {timeline.duration:.3f} s"
        )
    return window
