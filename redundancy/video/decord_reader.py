"""First reader: decord."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from redundancy.video.errors import CorruptVideoError, NoFramesError
from redundancy.video.timeline import Choose, Decoded, Timeline

# Measured right on clips with the frame number in the pixels; another codec goes to PyAV.
MEASURED_CODECS = frozenset({"h264", "mpeg4", "vp9"})
# HEVC: some frames are two off. AV1: cannot be opened.
WRONG_CODECS = frozenset({"hevc", "av1"})


def read_decord(path: Path, choose: Choose) -> Decoded:
    """Open a file with decord, read the chosen frames, and close it.

    The reader lives in this function alone: it cannot be pickled and must not cross a fork.

    Raises
    ------
    NoFramesError, CorruptVideoError
        If decord counts no frame, or cannot decode one.

    Source: own.
    """
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    failures = (RuntimeError, decord.DECORDError)
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        timeline = _timeline(reader, path)
    except failures as error:
        raise CorruptVideoError(path, "decord finds a video stream and cannot open it") from error
    indices = choose(timeline)
    try:
        frames = reader.get_batch(indices).asnumpy()
    except failures as error:
        raise CorruptVideoError(path, "decord opens it and fails on the frames asked for") from error
    return Decoded(frames, indices, timeline, f"decord {decord.__version__}")


def _timeline(reader: Any, path: Path) -> Timeline:
    total = len(reader)
    if total == 0:
        raise NoFramesError(path)
    spans = np.asarray(reader.get_frame_timestamp(np.arange(total)), dtype=np.float64)
    first = float(spans[0, 0])
    return Timeline(spans[:, 0] - first, float(spans[-1, 1]) - first, float(reader.get_avg_fps()))
