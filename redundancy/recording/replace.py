"""A folder that appears at its path whole or not at all, and that replaces an old one without a moment of loss.

A new folder is written inside a hidden one beside its path, `.NAME.RANDOM.writing`, and renamed when it is whole; the
old one moves in there first and is removed last. Whoever writes holds a lock on the hidden folder, which ends with the
process: what a killed run left is recognised by that, put back at the path if it was moved away, and else removed.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from redundancy.paths import flush_folder
from redundancy.recording.manifest import check_replaceable

OCCUPIED = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
PATIENCE = 2.0  # seconds that a running replacement may leave the path empty; two renames take microseconds


@contextmanager
def written_whole(path: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a path to write a folder at, which is then moved to `path`.

    Raises
    ------
    FileExistsError
        If something is at `path`, and `overwrite` is False or it is no store with a manifest.
    """
    _check_free(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path)
    _check_free(path, overwrite=overwrite)  # what a killed run moved away may have come back
    with _workplace(path) as work:
        try:
            fresh = work / f"{secrets.token_hex(4)}.writing"
            yield fresh
            _put_in_place(fresh, path, work, overwrite=overwrite)
        finally:
            _put_back(work, path)
            _remove(work, path)


def recover(path: Path) -> None:
    """Put back the store that a killed run moved away from `path` before its new one was there."""
    given_up = time.monotonic() + PATIENCE
    while not os.path.lexists(path) and (left := [w for w in _leftovers(path) if _replaced(w)]):
        too_late = time.monotonic() > given_up
        for work in left:
            with _lock(work) as held:
                if held or too_late:  # on some network drives nobody can say whether the writer lives
                    _put_back(work, path)
        if too_late:
            return
        time.sleep(0.01)


def sweep(path: Path) -> None:
    """Remove what killed runs left beside `path`; the folders of living ones are locked and stay."""
    for work in _leftovers(path):
        with _lock(work) as held:
            if held:
                _put_back(work, path)
                _remove(work, path)


def _check_free(path: Path, *, overwrite: bool) -> None:
    if not os.path.lexists(path):
        return
    if not overwrite:
        raise FileExistsError(f"{path} exists; give another path, or overwrite=True to replace it")
    check_replaceable(path)


@contextmanager
def _workplace(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` that is locked while it is used."""
    while True:
        work = path.with_name(f".{path.name}.{secrets.token_hex(8)}.writing")
        work.mkdir()
        with _lock(work) as held:
            if held is not False and work.is_dir():  # else another run took it for a leftover before it was locked
                yield work
                return


@contextmanager
def _lock(folder: Path) -> Iterator[bool | None]:
    """True while the folder is locked; False if another process holds it or it is gone; None if there are no locks."""
    if sys.platform == "win32":
        yield None
        return
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        yield _locked(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(descriptor)


def _locked(descriptor: int, how: int) -> bool | None:
    import fcntl

    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


def _put_in_place(fresh: Path, path: Path, work: Path, *, overwrite: bool) -> None:
    """Rename the new folder to its path; what stands there moves into the hidden folder."""
    while True:
        try:
            fresh.rename(path)
            flush_folder(path.parent)
            return
        except OSError as error:
            if error.errno not in OCCUPIED:
                raise
        _check_free(path, overwrite=overwrite)
        with suppress(FileNotFoundError):  # another run replaces it at the same moment: the last one wins
            path.rename(work / f"{secrets.token_hex(4)}.replaced")


def _put_back(work: Path, path: Path) -> None:
    """Rename a folder that was moved away back to its path, if nothing is there."""
    for old in _replaced(work):
        if not os.path.lexists(path):
            with suppress(OSError):  # said where the path is read, or the cause is raised already
                old.rename(path)


def _remove(work: Path, path: Path) -> None:
    """Remove a hidden folder, unless it holds the only store there is."""
    if os.path.lexists(path):
        for old in _replaced(work):
            old.rename(old.with_suffix(".removing"))  # in one step: a store that is half removed never comes back
    if not _replaced(work):
        shutil.rmtree(work, ignore_errors=True)


def _replaced(work: Path) -> list[Path]:
    """Folders that were moved away from the path, the latest first."""
    with suppress(FileNotFoundError):
        return sorted(work.glob("*.replaced"), key=lambda old: old.stat().st_ctime_ns, reverse=True)
    return []


def _leftovers(path: Path) -> list[Path]:
    named = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]+\.writing")
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(path.parent) as entries:
        return [Path(e.path) for e in entries if named.fullmatch(e.name) and e.is_dir(follow_symlinks=False)]
    return []
