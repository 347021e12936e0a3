"""Where a number comes from: versions, commit, hashes of weights and clips."""

from __future__ import annotations

import hashlib
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = ("torch", "transformers", "numpy", "scikit-learn", "scipy", "xarray", "zarr", "decord", "av")


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Version of each library that shapes a result; absent libraries are left out.

    Source: own.
    """
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def commit() -> str:
    """Commit of the checkout that the package runs from, with `+changes` where files differ; empty if none.

    Source: own.
    """
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def weights_hash(folder: str | Path) -> str:
    """SHA-256 over the names and bytes of a folder's safetensors files; empty where there are none.

    Files in the hub's cache are named by their own hash, which is then taken instead of reading gigabytes again.

    Source: own.
    """
    files = sorted(Path(folder).glob("*.safetensors")) if Path(folder).is_dir() else []
    if not files:
        return ""
    total = hashlib.sha256()
    for file in files:
        total.update(file.name.encode())
        total.update(file_sha256(file).encode())
    return total.hexdigest()


def file_sha256(file: str | Path) -> str:
    """SHA-256 of a file's bytes, read once as long as the file does not change.

    Raises
    ------
    OSError
        If the file cannot be read.

    Source: own.
    """
    file = Path(file).resolve()
    status = file.stat()
    return _file_hash(file, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)  # size and time of change are part of the key: a changed file is hashed again
def _file_hash(file: Path, size: int, changed: int) -> str:
    if file.parent.name == "blobs" and len(file.name) == 64:
        return file.name
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
