"""Which file a name means: the one place where names of videos become paths."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from urllib.parse import unquote_to_bytes

from redundancy.paths import BUNDLED, bundled_clip
from redundancy.video.errors import (
    DirectoryVideoError,
    EmptyVideoError,
    MissingVideoError,
    RemoteVideoError,
    UnreadableVideoError,
)

URL = re.compile(r"([a-z][a-z0-9+.-]+):(/+)", re.IGNORECASE)  # a `Path` made of a URL has lost one of its slashes
SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def video_path(name: str | os.PathLike[str]) -> Path:
    """Absolute path of the regular file that a name means.

    `~` is expanded, and `file://` taken with its percent signs decoded. A name that FFmpeg would take for a protocol
    (`file:a.mp4`, `concat:a|b`) is a name; `bundled:clip_000.mp4` is a bundled clip. The file is looked at, not opened.

    Parameters
    ----------
    name
        A path, relative to the working directory or absolute, a `file://` URL, or `bundled:` and a clip's file name.

    Raises
    ------
    TypeError
        If the name is no text and no path.
    NoDataError
        If it is a bundled clip and these are not installed.
    RemoteVideoError
        If it is a URL of another kind.
    MissingVideoError, DirectoryVideoError, UnreadableVideoError, EmptyVideoError
        If there is no such file, it is a directory, no regular file (a pipe, a device, a loop of links), or has no
        bytes.

    Examples
    --------
    >>> video_path("~/videos/a.mp4")  # doctest: +SKIP
    PosixPath('/home/me/videos/a.mp4')

    Source: RFC 8089 (`file://`).
    """
    text = os.fsdecode(name)  # refuses what is no name
    if not text:
        raise MissingVideoError(text, "the name is empty")
    bundled = bundled_clip(text) if text.startswith(BUNDLED) else None
    try:
        path = bundled or Path(_local(text)).absolute()
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingVideoError(text, _dangling(text)) from error
    except OSError as error:
        raise UnreadableVideoError(text, error.strerror or type(error).__name__) from error
    except ValueError as error:  # a zero byte, or a character that no file name of this system can hold
        raise UnreadableVideoError(text, f"no file can have this name: {error}") from error
    _check_regular(path, status)
    return path


def _local(text: str) -> str:
    """The local path that a text means."""
    url = URL.match(text)
    if url is None or (len(url[2]) == 1 and os.path.lexists(text)):
        return os.path.expanduser(text)
    if url[1].lower() != "file":
        raise RemoteVideoError(text, f"a URL of the kind {url[1]!r}")
    host, slash, rest = text[url.end(1) + 1 :].removeprefix("//").partition("/")
    if host not in ("", "localhost") or not slash:
        raise RemoteVideoError(text, f"a URL of the host {host!r}")
    return os.fsdecode(unquote_to_bytes("/" + rest))


def _dangling(text: str) -> str:
    return f"a link to {os.readlink(text)}, which is missing" if os.path.islink(text) else ""


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise DirectoryVideoError(path)
    if not stat.S_ISREG(status.st_mode):
        kind = SPECIAL.get(stat.S_IFMT(status.st_mode), "no regular file")
        raise UnreadableVideoError(path, f"it is {kind}, expected a regular file")
    if status.st_size == 0:
        raise EmptyVideoError(path)
