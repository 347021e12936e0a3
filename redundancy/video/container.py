"""Whether a file can be a whole video, from its bytes: what readers pass over in silence.

FFmpeg reads a cut file up to its end without a word, and takes text for a list of other files to open.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from redundancy.video.errors import NotAVideoError, TruncatedVideoError

HEAD_BYTES = 4096
MATROSKA = b"\x1a\x45\xdf\xa3"
MATROSKA_SEGMENT = b"\x18\x53\x80\x67"
MP4_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
MP4_BOXES = MP4_FIRST_BOXES | {b"moof", b"mfra", b"sidx", b"styp", b"uuid", b"meta"}


def check_container(path: Path) -> None:
    """Check that a file is no text, and as long as it says if it is MP4, MOV, Matroska or WebM.

    Raises
    ------
    TruncatedVideoError, NotAVideoError
        If it ends too early, or holds text.

    Source: ISO/IEC 14496-12 (boxes), RFC 8794 (EBML), RFC 9559 (Matroska).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if head[4:8] in MP4_FIRST_BOXES:
            _check_boxes(file, size, path)
    if head.startswith(MATROSKA):
        _check_segment(head, size, path)
    if _is_text(head):
        raise NotAVideoError(path, "it holds text")


def _check_boxes(file: BinaryIO, size: int, path: Path) -> None:
    offset, index = 0, False
    while offset + 8 <= size:
        file.seek(offset)
        start = file.read(16)
        kind, header = start[4:8], 8
        if kind not in MP4_BOXES:
            break  # bytes after the last box are nobody's
        length = int.from_bytes(start[:4], "big")
        if length == 1:
            length, header = int.from_bytes(start[8:16], "big"), 16
        length = length or size - offset  # 0: up to the end of the file
        if length < header or offset + length > size:
            name = kind.decode("ascii")
            raise TruncatedVideoError(path, f"box {name!r} needs {offset + length} bytes, the file has {size}")
        index = index or kind == b"moov"
        offset += length
    if not index:
        raise TruncatedVideoError(path, "its index, the box 'moov', is missing")


def _check_segment(head: bytes, size: int, path: Path) -> None:
    start = head.find(MATROSKA_SEGMENT)
    if start < 0 or start + 12 > len(head):
        raise TruncatedVideoError(path, "its segment is missing")
    width = 9 - head[start + 4].bit_length()  # leading zero bits give the number of bytes of an EBML size
    length = int.from_bytes(head[start + 4 : start + 4 + width], "big") & ((1 << 7 * width) - 1)
    end = start + 4 + width + length
    if length != (1 << 7 * width) - 1 and end > size:  # all ones: unknown, as in a live recording
        raise TruncatedVideoError(path, f"its segment needs {end} bytes, the file has {size}")


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"  # a character cut at the limit
    return True
