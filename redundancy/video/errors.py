"""Why a file gave no clip: one type per cause, each message with the path and what to do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar


def printable(name: str | os.PathLike[str]) -> str:
    r"""A name as text that can be printed and stored: a byte that is not UTF-8 is `\udcff`, a newline is `\n`."""
    text = os.fsdecode(name).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class VideoError(Exception):
    """A file gave no clip; subclasses name the cause.

    Parameters
    ----------
    path
        The file.
    detail
        What is known beyond the cause, added to the message.
    """

    cause: ClassVar[str] = "cannot be read as a video"
    advice: ClassVar[str] = "Check the file with a video player."

    def __init__(self, path: str | Path, detail: str = "") -> None:
        # Both go to `args`, from which an exception is rebuilt when it is sent between processes.
        super().__init__(str(path), detail)
        self.path = Path(path)
        self.detail = detail

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{printable(self.args[0] or self.path)}: {self.cause}{detail}. {self.advice}"


class MissingVideoError(VideoError):
    """There is no such file."""

    cause = "does not exist"
    advice = "Check the path; a relative path starts at the working directory."


class RemoteVideoError(VideoError):
    """The name is a URL, and files are read from local disks alone."""

    cause = "is no local file"
    advice = "Fetch the video first, and give the path of the local file, or a file:// URL of this machine."


class DirectoryVideoError(VideoError):
    """The path is a directory."""

    cause = "is a directory"
    advice = "Give the path of one video file."


class UnreadableVideoError(VideoError):
    """The system refuses to open or read the file."""

    cause = "cannot be opened"
    advice = "Check its permissions, and that it is a regular file on a disk that can be read."


class EmptyVideoError(VideoError):
    """The file has no bytes."""

    cause = "is empty (0 bytes)"
    advice = "Fetch or copy the file again."


class NotAVideoError(VideoError):
    """The bytes are not those of a video container."""

    cause = "is not a video file"
    advice = "Give a video file, for example MP4, MOV, MKV or WebM."


class NoVideoStreamError(VideoError):
    """A media file that holds sound or data alone."""

    cause = "has no video stream"
    advice = "Give a file that holds pictures, not sound alone."


class TruncatedVideoError(VideoError):
    """The file ends before its container says it does."""

    cause = "is truncated"
    advice = "Copying, downloading or recording was probably interrupted; fetch the file again."


class NoFramesError(VideoError):
    """There is a video stream, and no frame in it."""

    cause = "has a video stream without frames"
    advice = "Record or export the video again."


class CorruptVideoError(VideoError):
    """The container is whole, and the data inside cannot be decoded."""

    cause = "is damaged inside"
    advice = "Fetch the file again, or encode it again from its source."


class FrameSizeError(VideoError):
    """The frames of one stream differ in size, as in recordings of a turned phone."""

    cause = "changes the size of its frames"
    advice = "Encode it again at one size, or cut it where the size changes."


class VideoMemoryError(VideoError):
    """There is too little memory for the frames asked for; nothing is said of the file."""

    cause = "needs more memory than there is"
    advice = "Ask for fewer frames, or allow more memory: VideoReader(memory=...) in bytes where a VideoReader reads."


class UnsupportedCodecError(VideoError):
    """The reader does not decode the file, or not rightly."""

    cause = "cannot be decoded here"
    advice = "Read it with decoder='pyav', or encode the video as H.264."


class VideoTimeoutError(VideoError):
    """Reading takes longer than it may."""

    cause = "takes longer to read than the time limit"
    advice = "Allow more: VideoReader(timeout=...) in seconds, --decode-timeout in a study."


class ReaderDiedError(VideoError):
    """The process that read the file ended."""

    cause = "ended the process that read it"
    advice = "Encode it again, try the other decoder, or, if it is large, allow more memory: VideoReader(memory=...)."


class MismatchedVideoError(VideoError):
    """The file's bytes are not those that a record of it speaks of."""

    cause = "is another file than its record speaks of"
    advice = "Restore the file, or make its record again."
