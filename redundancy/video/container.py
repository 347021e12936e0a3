"""What a file is, from its bytes: container, codec, and whether it is whole.

The readers' messages name no cause, and without PyAV nothing else tells which codec a file holds. MP4 and MOV (boxes)
and Matroska and WebM (EBML) are read here, as far as that question goes; other containers are PyAV's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from redundancy.video.errors import NoFramesError, NotAVideoError, NoVideoStreamError, TruncatedVideoError

HEAD_BYTES = 1 << 20  # the tracks of a Matroska file stand before its pictures
MATROSKA = b"\x1a\x45\xdf\xa3"
MATROSKA_SEGMENT = b"\x18\x53\x80\x67"
MP4_FIRST_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
AUDIO_STARTS = (b"ID3", b"fLaC", b"OggS\x00\x02")
OTHER_VIDEO_STARTS = (b"RIFF", b"FLV", b"\x30\x26\xb2\x75", b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3", b"\x47")
CODECS = {
    b"avc1": "h264",
    b"avc3": "h264",
    b"hvc1": "hevc",
    b"hev1": "hevc",
    b"av01": "av1",
    b"vp08": "vp8",
    b"vp09": "vp9",
    b"mp4v": "mpeg4",
    b"V_MPEG4/ISO/AVC": "h264",
    b"V_MPEG4/ISO/ASP": "mpeg4",
    b"V_MPEGH/ISO/HEVC": "hevc",
    b"V_AV1": "av1",
    b"V_VP8": "vp8",
    b"V_VP9": "vp9",
}


def sniff_codec(path: Path) -> str | None:
    """Name of the first video stream's codec (FFmpeg's names), None where the container is not read here.

    Raises
    ------
    TruncatedVideoError, NoVideoStreamError, NoFramesError, NotAVideoError
        If the file ends too early, holds no video stream, no frame, or is text.

    Source: ISO/IEC 14496-12 (boxes), RFC 8794 (EBML), RFC 9559 (Matroska).
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
        if head[4:8] in MP4_FIRST_BOXES:
            return _mp4_codec(_movie(file, size, path), path)
    if head.startswith(MATROSKA):
        return _matroska_codec(head, size, path)
    if _is_text(head):
        raise NotAVideoError(path, "it holds text")
    return None


def starts_like_media(path: Path) -> bool:
    """True if the first bytes are those of a video container that is not read here.

    Raises
    ------
    NoVideoStreamError
        If they are those of a sound file.

    Source: own.
    """
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(AUDIO_STARTS) or head[8:12] == b"WAVE":
        raise NoVideoStreamError(path)
    return head.startswith(OTHER_VIDEO_STARTS)


def _movie(file: BinaryIO, size: int, path: Path) -> bytes:
    """Content of the box `moov`, after every box of the file was found whole."""
    movie, offset = None, 0
    while offset + 8 <= size:
        file.seek(offset)
        start = file.read(16)
        kind, header = start[4:8], 8
        length = int.from_bytes(start[:4], "big")
        if not kind.isascii() or not kind.decode("ascii").isprintable():
            break  # bytes after the last box are nobody's
        if length == 1:
            length, header = int.from_bytes(start[8:16], "big"), 16
        length = length or size - offset  # 0: up to the end of the file
        if length < header or offset + length > size:
            name = kind.decode("ascii")
            raise TruncatedVideoError(path, f"box {name!r} needs {offset + length} bytes, the file has {size}")
        if kind == b"moov":
            file.seek(offset + header)
            movie = file.read(length - header)
        offset += length
    if movie is None:
        raise TruncatedVideoError(path, "its index, the box 'moov', is missing")
    return movie


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    offset = 0
    while offset + 8 <= len(data):
        length = int.from_bytes(data[offset : offset + 4], "big") or len(data) - offset
        if length < 8:
            return
        yield data[offset + 4 : offset + 8], data[offset + 8 : offset + length]
        offset += length


def _inside(data: bytes, *names: bytes) -> Iterator[bytes]:
    """Contents of the boxes at a path of names."""
    if not names:
        yield data
        return
    for kind, content in _boxes(data):
        if kind == names[0]:
            yield from _inside(content, *names[1:])


def _mp4_codec(movie: bytes, path: Path) -> str:
    fragmented = any(_inside(movie, b"mvex"))
    for media in _inside(movie, b"trak", b"mdia"):
        handler = next(_inside(media, b"hdlr"), b"")
        if handler[8:12] != b"vide":
            continue
        table = next(_inside(media, b"minf", b"stbl"), b"")
        sizes = next(_inside(table, b"stsz"), next(_inside(table, b"stz2"), b""))
        if not fragmented and int.from_bytes(sizes[8:12], "big") == 0:
            raise NoFramesError(path)
        entry = next(_inside(table, b"stsd"), b"")[12:16]
        return CODECS.get(entry, entry.decode("latin-1").strip("\0 "))
    if not fragmented and not any(_inside(movie, b"trak")):
        raise NoFramesError(path, "the container holds no stream")
    raise NoVideoStreamError(path)


def _matroska_codec(head: bytes, size: int, path: Path) -> str:
    start = head.find(MATROSKA_SEGMENT)
    if start < 0 or start + 12 > len(head):
        raise TruncatedVideoError(path, "its segment is missing")
    width = 9 - head[start + 4].bit_length()  # leading zero bits give the number of bytes of an EBML size
    length = int.from_bytes(head[start + 4 : start + 4 + width], "big") & ((1 << 7 * width) - 1)
    end = start + 4 + width + length
    if length != (1 << 7 * width) - 1 and end > size:  # all ones: unknown, as in a live recording
        raise TruncatedVideoError(path, f"its segment needs {end} bytes, the file has {size}")
    names = [match[2][: match[1][0] & 0x7F] for match in re.finditer(rb"\x86([\x80-\xbf])([VA]_[\w/.]+)", head)]
    video = [name for name in names if name.startswith(b"V_")]
    if not video:
        raise NoVideoStreamError(path)
    return CODECS.get(video[0], video[0].decode("ascii"))


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head[:4096].decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"  # a character cut at the limit
    return True
