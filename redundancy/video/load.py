"""A video file in, a `VideoClip` out."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from redundancy.video.clip import VideoClip
from redundancy.video.container import check_container
from redundancy.video.decord_reader import read_decord
from redundancy.video.errors import UnreadableVideoError, VideoError, VideoMemoryError, printable
from redundancy.video.path import video_path
from redundancy.video.pyav_reader import read_pyav
from redundancy.video.resize import check_size, resize_frames
from redundancy.video.sampling import SAMPLINGS, frames_asked
from redundancy.video.timeline import Choose, Decoded, Timeline, WindowError

READERS: dict[str, Callable[[Path, Choose], Decoded]] = {
    "auto": read_pyav,
    "decord": read_decord,
    "pyav": read_pyav,
}
DECODERS = tuple(READERS)


def load_video(
    path: str | os.PathLike[str],
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

    1. Find the file (`video_path`) and tell from its first bytes whether it can be a whole video.
    2. Number its frames in the order in which FFmpeg's player shows them, with their true times: frames that an edit
       list hides do not count; where a file holds no times, they follow from the order of decoding.
    3. Sample among the frames shown at `start <= t <= end`, decode those and what they need, turn them upright, resize.

    A frame is given only if neither it nor a frame that it needs was damaged as far as the decoder tells.

    Parameters
    ----------
    path
        The file, or its `file://` URL; `~` is the home folder.
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
        `"pyav"`, which `"auto"` means, reads all that FFmpeg reads. `"decord"` is the choice for few frames of long
        plain files (random access), where it takes up to a fifth less time. It reads MP4, MOV, Matroska and WebM with
        H.264, MPEG-4 or VP9, and refuses what it would read wrongly (edit lists that hide frames, missing or unordered
        times, open GOPs). It conceals damage: pixels of a damaged file can be wrong without a word.

    Returns
    -------
    VideoClip
        With the frames `[T, H, W, 3]`, their true times and their numbers, both counted from the file's first frame.
        `clip.decoder` names the reader.

    Raises
    ------
    TypeError
        If the number of frames is no whole number, or a rate or time is no number.
    ValueError
        If a setting is out of its range, or no frame is shown between `start` and `end`.
    VideoError
        One subclass per cause, with the path and what to do, if the file gives no clip.

    Examples
    --------
    >>> load_video("bundled:clip_000.mp4", frames=4).frames.shape
    (4, 224, 224, 3)
    """
    _check(frames, fps, start, end, resize, sampling, decoder)
    file = video_path(path)
    asked: list[int] = []

    def choose(timeline: Timeline) -> Int64[np.ndarray, "frames"]:
        window = _window(timeline, start, end, file)
        convention = SAMPLINGS[sampling]
        rate = None if fps is None else float(fps)
        wanted = (convention.frames, convention.fps) if frames is None and rate is None else (frames, rate)
        asked.append(frames_asked(len(window), timeline.fps, frames=wanted[0], fps=wanted[1]))
        return window[convention.sample(len(window), timeline.fps, *wanted)]

    with _typed(file):
        check_container(file)
        digest = _digest(file)
        decoded = READERS[decoder](file, choose)
        pixels = resize_frames(decoded.frames, resize)
    return VideoClip(
        frames=pixels,
        timestamps=decoded.timeline.times[decoded.indices],
        indices=decoded.indices,
        fps=decoded.timeline.fps,
        total_frames=decoded.timeline.total,
        duration=decoded.timeline.duration,
        source=printable(path),
        sha256=digest,
        decoder=decoded.decoder,
        requested=asked[-1],  # a reader may choose by what a file promises first, and again by what it holds
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
    numbers: dict[str, tuple[object, type, str]] = {"frames": (frames, Integral, "a whole number")}
    numbers |= {name: (x, Real, "a number") for name, x in (("fps", fps), ("start", start), ("end", end))}
    for name, (value, kind, expected) in numbers.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, kind)):
            raise TypeError(f"{name} is {value!r}, expected {expected}, or None")
    if frames is not None and frames < 1:
        raise ValueError(f"frames is {frames}, expected at least 1")
    if fps is not None and not 0 < fps < float("inf"):
        raise ValueError(f"fps is {fps}, expected a number above 0")
    low, high = (0.0 if start is None else start), (float("inf") if end is None else end)
    if not 0 <= low <= high:
        raise ValueError(f"start is {start} s and end is {end} s, expected 0 <= start <= end")
    check_size(resize)
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling is {sampling!r}, expected one of {', '.join(SAMPLINGS)}")
    if decoder not in DECODERS:
        raise ValueError(f"decoder is {decoder!r}, expected one of {', '.join(DECODERS)}")


@contextmanager
def _typed(path: Path) -> Iterator[None]:
    """Whatever a reader raises leaves as a `VideoError` that names the file."""
    try:
        yield
    except (VideoError, WindowError):
        raise
    except MemoryError as error:
        raise VideoMemoryError(path, str(error)) from error
    except OSError as error:
        if error.errno in (errno.ENOMEM, errno.EAGAIN):  # a decoder that gets no thread
            raise VideoMemoryError(path, error.strerror or "") from error
        raise UnreadableVideoError(path, error.strerror or type(error).__name__) from error
    except Exception as error:
        if "alloc" in str(error) or "map segment" in str(error):  # torch, decord and imports have no type for it
            raise VideoMemoryError(path, str(error)) from error
        raise VideoError(path, f"{type(error).__name__}: {error}") from error


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _window(
    timeline: Timeline, start: float | int | None, end: float | int | None, path: Path
) -> Int64[np.ndarray, "window"]:
    times = timeline.times
    shown = (times >= (0.0 if start is None else start)) & (times <= (np.inf if end is None else end))
    window = np.flatnonzero(shown).astype(np.int64)
    if len(window) == 0:
        raise WindowError(
            f"{path}: no frame between start={start} s and end={end} s, it lasts {timeline.duration:.3f} s"
        )
    return window
