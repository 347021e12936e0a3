"""Results on disk, one cell per video: whole or not at all, checked when they are read, in a folder of one run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import pandas as pd

from redundancy.paths import flush_folder

MARK = "study.json"
LOCK = ".lock"
UNFINISHED = ".writing"
Facts = dict[str, Any]


class NothingMeasuredError(ValueError):
    """Every video of a run failed."""


class FolderInUseError(OSError):
    """Another run works in the folder."""


class CannotStoreError(OSError):
    """Results cannot be written: the disk is full, say, which is no fault of a video."""


@dataclass(frozen=True)
class Cell:
    """What is stored about one video.

    Parameters
    ----------
    rows
        A table; of a study with a column `condition`.
    facts
        Further data that json can hold.
    settings
        Digest of each condition that the rows are of, by its label.
    """

    rows: pd.DataFrame
    facts: Facts
    settings: Mapping[str, str]


@dataclass
class Cells:
    """A folder of cells.

    A cell is `KEY.parquet` with its rows, and `KEY-HASH.json` with the rest, where HASH begins the SHA-256 of the
    Parquet file. The json is written first, so that a kill leaves the old cell, or the new one.

    Parameters
    ----------
    folder
        Where the cells lie; it need not exist where they are only read.
    damaged
        Files whose content is not what was written, as they are met.
    """

    folder: Path
    damaged: list[Path] = field(default_factory=list)

    def load(self, key: str) -> Cell | None:
        """The cell of a key; None if there is none, or none that is whole: then `damaged` names its file."""
        file = self.folder / f"{key}.parquet"
        if not file.is_file():
            return None
        try:
            rows = file.read_bytes()
            note = json.loads(self._note(key, rows).read_bytes())
            if note.pop("sha256") != _sha256(_json(note)) or note["rows"] != _sha256(rows):
                raise ValueError("checksum")
            return Cell(pd.read_parquet(io.BytesIO(rows)), note["facts"], note["settings"])
        except Exception:  # whatever a damaged file makes its reader raise
            self.damaged.append(file)
            return None

    def save(self, key: str, cell: Cell) -> None:
        """Store a cell in place of an older one.

        Raises
        ------
        CannotStoreError
            If it cannot be written; the older one is left.
        """
        rows = cell.rows.to_parquet(index=False)
        assert isinstance(rows, bytes)
        note: Facts = {"rows": _sha256(rows), "facts": cell.facts, "settings": dict(cell.settings)}
        content = _json(note | {"sha256": _sha256(_json(note))})
        fresh = self._note(key, rows)
        try:
            write_whole(fresh, content)
            write_whole(self.folder / f"{key}.parquet", rows)
            for old in self.folder.glob(f"{key}-*.json"):
                if old != fresh:
                    old.unlink(missing_ok=True)
        except OSError as error:
            raise CannotStoreError(f"results cannot be stored in {self.folder}: {error}") from error

    def _note(self, key: str, rows: bytes) -> Path:
        return self.folder / f"{key}-{_sha256(rows)[:16]}.json"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and onto the disk before it has its name."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}{UNFINISHED}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


@contextmanager
def open_cells(folder: Path) -> Iterator[Cells]:
    """The cells of a folder, which is made if need be; no other run can open them meanwhile.

    Raises
    ------
    FolderInUseError
        If another run has them open.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        yield Cells(folder)


@contextmanager
def own_folder(folder: Path, name: str) -> Iterator[None]:
    """A folder for the results of one study, made if need be, that no other study and no other run writes to meanwhile.

    Parameters
    ----------
    folder
        New, empty, or of an earlier run of the same study.
    name
        Of the study; `study.json` in the folder holds it.

    Raises
    ------
    FileExistsError
        If the folder holds results of another study, or files that are no study's.
    FolderInUseError
        If another run works in the folder.
    """
    _check_owner(folder, name)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if not _check_owner(folder, name):
            write_whole(folder / MARK, _json({"study": name}))
        yield


def _check_owner(folder: Path, name: str) -> bool:
    """True if the folder is the study's, False if it is nobody's."""
    if not folder.is_dir():
        if os.path.lexists(folder):
            raise NotADirectoryError(f"{folder} is no folder, expected one for results of {name}")
        return False
    mark = folder / MARK
    if not mark.is_file():
        if others := sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")):
            raise FileExistsError(
                f"the folder {folder} holds {', '.join(others[:3])} and no {MARK} which says that it is one of "
                f"{name}; give a new folder, or remove what it holds"
            )
        return False
    with suppress(ValueError, TypeError, KeyError):
        owner = json.loads(mark.read_bytes())["study"]
        if owner == name:
            return True
        raise FileExistsError(f"the folder {folder} holds results of {owner}; give another folder for those of {name}")
    raise FileExistsError(f"{mark} does not say which study wrote the folder; give another folder, or remove this one")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, and remove what runs that died left half written.

    Raises
    ------
    FolderInUseError
        If another run holds the folder, naming its process.
    """
    with (folder / LOCK).open("a+") as file:
        _take(file, folder)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        for left in folder.glob(f".*{UNFINISHED}"):
            left.unlink(missing_ok=True)
        yield


def _take(file: IO[str], folder: Path) -> None:
    """Lock a file until it is closed, by which a killed process lets go as well."""
    try:
        fcntl = import_module("fcntl")
    except ImportError:
        print(f"{folder} cannot be locked on this system: let no other run write to it", file=sys.stderr)
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read() or "another process"
        raise FolderInUseError(f"{holder} works in the folder {folder}: wait for it, or give another folder") from None
    except OSError as error:  # some network file systems
        print(f"{folder} cannot be locked ({error.strerror}): let no other run write to it", file=sys.stderr)
