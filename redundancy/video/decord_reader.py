"""Second reader, on request: decord."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from redundancy.video.errors import UnsupportedCodecError
from redundancy.video.memory import reserve
from redundancy.video.packets import PacketTable, open_stream, packet_table
from redundancy.video.timeline import Choose, Decoded, make_timeline

# Measured right on clips with the frame number in the pixels. HEVC: some frames are two off. AV1: cannot be opened.
MEASURED_CODECS = frozenset({"h264", "mpeg4", "vp9"})
MEASURED_CONTAINERS = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"})

TOLERANCE = 1e-3  # seconds in each second: it counts in float32


def read_decord(path: Path, choose: Choose) -> Decoded:
    """Open a plain file with decord, read the chosen frames, and close it.

    The reader lives in this function alone: it cannot be pickled and must not cross a fork.

    Raises
    ------
    UnsupportedCodecError
        If decord is not installed, cannot decode the file, or would give wrong frames or times.
    """
    if find_spec("decord") is None:
        raise UnsupportedCodecError(path, "decord was asked for and is not installed")
    table = packet_table(path)
    if reason := _refusal(table):
        raise UnsupportedCodecError(path, f"decord would give wrong frames or times, or none: {reason}")
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    failures = (RuntimeError, decord.DECORDError)
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        _compare(path, reader, table)
    except failures as error:
        raise UnsupportedCodecError(path, "decord cannot open it") from error
    timeline = make_timeline(table, np.argsort(table.shown).tolist())
    indices = choose(timeline)
    with open_stream(path) as (_, stream):  # decord tells the size of frames that it has decoded alone
        reserve(2 * len(indices) * stream.width * stream.height * 3)  # its own array and numpy's
    try:
        frames = reader.get_batch(indices).asnumpy()
    except failures as error:
        raise UnsupportedCodecError(path, "decord opens it and fails on the frames asked for") from error
    return Decoded(frames, indices, timeline, f"decord {decord.__version__}")


def _refusal(table: PacketTable) -> str:
    if table.container not in MEASURED_CONTAINERS:
        return f"the container is {table.container}, expected MP4, MOV, Matroska or WebM"
    if table.codec not in MEASURED_CODECS:
        return f"the codec is {table.codec}, expected one of {', '.join(sorted(MEASURED_CODECS))}"
    if table.irregularity:
        return table.irregularity
    return "frames need others before their key frame (open GOP)" if table.leading.any() else ""


def _compare(path: Path, reader: Any, table: PacketTable) -> None:
    shown = np.sort(table.shown - table.shown.min()) * table.tick
    found = np.asarray(reader.get_frame_timestamp(np.arange(len(reader))), dtype=np.float64)[:, 0]
    if len(found) != len(shown):
        reason = f"it counts {len(found)} frames, expected {len(shown)}"
    elif np.abs(found - found[0] - shown).max() > TOLERANCE * max(1.0, found[-1]):
        reason = "its times are not those of the file"
    elif not np.array_equal(reader.get_key_indices(), np.flatnonzero(table.key)):
        reason = "it begins at frames that are no key frames"
    else:
        return
    raise UnsupportedCodecError(path, f"decord would give wrong frames or times: {reason}")
