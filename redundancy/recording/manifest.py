"""What a store on disk must hold: a manifest of its files, and a zarr store that reads nothing that differs from it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore

from redundancy.paths import flush_folder

MANIFEST = "manifest.json"
FORMAT = "redundancy store, manifest 1"
METADATA = "zarr.json"
LITTER = ("Thumbs.db", "desktop.ini")  # of file managers, beside names that begin with a dot


class IncompleteStoreError(OSError):
    """A store on disk lacks a file, or one of its files is not what was written."""


class Entry(NamedTuple):
    """Size in bytes and SHA-256 of one file."""

    size: int
    sha256: str


Manifest = dict[str, Entry]


def write_manifest(folder: Path) -> None:
    """Record every file of a store that was just written, with everything of it on the disk afterwards."""
    keys = sorted(_files(folder))
    with ThreadPoolExecutor(8) as pool:  # a disk takes several files at once
        files = dict(zip(keys, pool.map(lambda key: _digest(folder / key)._asdict(), keys), strict=True))
    with (folder / MANIFEST).open("w") as file:
        json.dump({"format": FORMAT, "sha256": _seal(files), "files": files}, file, indent=0)
        file.flush()
        os.fsync(file.fileno())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(flush_folder, [Path(parent) for parent, _, _ in os.walk(folder)]))


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a store.

    Raises
    ------
    IncompleteStoreError
        If there is none, or it was changed.
    """
    try:
        text = (folder / MANIFEST).read_text()
    except FileNotFoundError:
        raise IncompleteStoreError(
            f"{folder} has no {MANIFEST}: it was copied incompletely, or an earlier version wrote it. Copy it again; "
            f"or, if you know that it is whole, store it anew: save_dataset(xarray.open_zarr({str(folder)!r}, "
            "consolidated=False), NEW_PATH)"
        ) from None
    except (UnicodeDecodeError, IsADirectoryError):
        text = ""
    try:
        given = json.loads(text)
        if (given["format"], given["sha256"]) != (FORMAT, _seal(given["files"])):
            raise ValueError
        return {key: Entry(**entry) for key, entry in given["files"].items()}
    except (ValueError, TypeError, KeyError):
        raise IncompleteStoreError(f"{folder / MANIFEST} is damaged; {ADVICE}") from None


def check_manifest(folder: Path, manifest: Manifest) -> None:
    """Compare with the manifest which files there are, their sizes, and metadata; chunks are compared as they are read.

    Raises
    ------
    IncompleteStoreError
        Naming variable and chunk of the first that is missing, was added, or is not what was written.
    """
    wrong = [f"{_named(key)} {what}" for key, entry in manifest.items() if (what := _wrong(folder / key, entry))]
    wrong += [f"{_named(key)} was added" for key in sorted(_files(folder) - set(manifest)) if not _is_litter(key)]
    if wrong:
        more = f" (and {len(wrong) - 1} more files)" * (len(wrong) > 1)
        raise IncompleteStoreError(f"{folder}: {wrong[0]}{more}; {ADVICE}")


def check_replaceable(folder: Path) -> None:
    """Refuse to replace what is not a store that this module wrote, and nothing else.

    Raises
    ------
    FileExistsError
        If it is a file, has no manifest or one that was changed, or holds files that are not in it.
    """
    try:
        manifest = read_manifest(folder)
    except OSError:
        manifest = {}
    foreign = sorted(_files(folder) - set(manifest)) if manifest else []
    foreign = [key for key in foreign if not _is_litter(key)]
    if not manifest or foreign:
        what = f"also holds {foreign[0]}" if foreign else "is no store with a whole manifest"
        raise FileExistsError(f"{folder} {what}, so it is not replaced; move it away yourself, or give another path")


class VerifiedStore(LocalStore):  # type: ignore[misc]  # zarr is read without its types
    """A zarr store, to be read only, each file of which is compared with its manifest when it is read.

    It can be pickled, so that workers of dask verify what they read as well.

    Parameters
    ----------
    root
        Folder of the store.
    manifest
        What it must hold.
    """

    def __init__(self, root: Path, *, manifest: Manifest, read_only: bool = True) -> None:
        super().__init__(root, read_only=read_only)
        self._manifest = manifest

    def with_read_only(self, read_only: bool = False) -> VerifiedStore:
        """The same store; a manifest holds for files that are not written any more."""
        if not read_only:
            raise ValueError("a stored dataset is not changed in place; save what you change as a new one")
        return self

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Bytes of a file, None if the store has none of that name."""
        entry = self._manifest.get(key)
        if entry is None:
            variable, _, rest = key.partition("/c/")
            if rest and f"{variable}/{METADATA}" in self._manifest:
                raise self._error(key, "is not in the manifest")
            return None
        try:
            content = (self.root / key).read_bytes()
        except FileNotFoundError:
            raise self._error(key, "is missing") from None
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise self._error(key, "is not what was written")
        return (prototype or default_buffer_prototype()).buffer.from_bytes(_part(content, byte_range))

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Bytes of a file, None if the store has none of that name."""
        return await asyncio.to_thread(self.get_sync, key, prototype=prototype, byte_range=byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Parts of several files."""
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        """True if the manifest has a file of that name."""
        return key in self._manifest

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Names in a folder, by the manifest."""
        start = f"{prefix.rstrip('/')}/" if prefix else ""
        for name in dict.fromkeys(k[len(start) :].partition("/")[0] for k in self._manifest if k.startswith(start)):
            yield name

    def _error(self, key: str, what: str) -> IncompleteStoreError:
        message = f"{_named(key)} {what}; {ADVICE}"
        if not self.root.exists():
            message = "the store was moved or removed after it was opened"
        else:
            with suppress(OSError):
                if read_manifest(self.root) != self._manifest:
                    message = "the store was replaced after it was opened; open it again"
        return IncompleteStoreError(f"{self.root}: {message}")


ADVICE = "copy the store again from where it was whole, or make it again"


def _digest(path: Path) -> Entry:
    with path.open("rb+") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
        return Entry(file.tell(), digest)


def _seal(files: Any) -> str:
    """Digest of the manifest's own entries."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _files(folder: Path) -> set[str]:
    """Names of all files but the manifest, from the folder's top, with slashes."""
    return {key for parent, _, names in os.walk(folder) for key in _keys(folder, parent, names)} - {MANIFEST}


def _keys(folder: Path, parent: str, names: list[str]) -> Iterator[str]:
    top = Path(parent).relative_to(folder)
    return ((top / name).as_posix() for name in names)


def _is_litter(key: str) -> bool:
    name = key.rpartition("/")[2]
    return name.startswith(".") or name in LITTER


def _wrong(path: Path, entry: Entry) -> str:
    """What is wrong with a file, as far as that is cheap to say; empty if nothing is."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    if not stat.S_ISREG(found.st_mode):
        return "is no file"
    if found.st_size != entry.size:
        return f"has {found.st_size} bytes, {entry.size} were written"
    if path.name == METADATA and hashlib.sha256(path.read_bytes()).hexdigest() != entry.sha256:
        return "is not what was written"
    return ""


def _named(key: str) -> str:
    """A file of a store in the words of its user."""
    if key == METADATA:
        return f"the store's metadata ({METADATA})"
    if key.endswith(f"/{METADATA}"):
        return f"the metadata of {key.removesuffix(f'/{METADATA}')!r}"
    variable, _, chunk = key.partition("/c")
    if variable == key:
        return f"the file {key!r}"
    return f"chunk ({', '.join(chunk.split('/')[1:])}) of {variable!r}"


def _part(content: bytes, wanted: ByteRequest | None) -> bytes:
    match wanted:
        case None:
            return content
        case RangeByteRequest(start, end):
            return content[start:end]
        case OffsetByteRequest(offset):
            return content[offset:]
        case SuffixByteRequest(suffix):
            return content[max(len(content) - suffix, 0) :]
    raise TypeError(f"a byte range is expected, given {wanted!r}")
