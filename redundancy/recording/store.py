"""Captures on disk: zarr v3 with a manifest, whole or not there at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from redundancy.checks import require_type, whole_number
from redundancy.recording.bfloat16 import decoded, encoded
from redundancy.recording.manifest import (
    MANIFEST,
    METADATA,
    VerifiedStore,
    check_manifest,
    read_manifest,
    write_manifest,
)
from redundancy.recording.replace import recover, written_whole
from redundancy.tokens import TORCH_DTYPE, is_bfloat16

CHUNK = 2**21  # bytes: less than a frame of a large model, in float32
OPENINGS = 20  # tries to open a store that others replace again and again
_SETTINGS = threading.Lock()


def save_dataset(dataset: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write a dataset as a zarr v3 store with a manifest, which appears at its path when everything is written.

    A run that is killed leaves no half store, and a store that is replaced stays until the new one is whole; what
    killed runs left beside it is removed. `manifest.json` holds the size and SHA-256 of every file.

    Variables with the attribute `torch_dtype="bfloat16"` are stored as the uint16 of their bits. If one holds other
    values by now (arithmetic keeps attributes), it is stored as float32 and without the attribute: nothing is rounded.

    Parameters
    ----------
    dataset
        What to store; lazy variables are computed in parts.
    path
        Folder to write; `~` is the home folder, and a link stands for what it points to.
    overwrite
        Replace a store that exists. Other folders, and files, are never replaced.

    Returns
    -------
    The path.

    Raises
    ------
    FileExistsError
        If something is at `path`, and `overwrite` is False or it is not a store with a whole manifest.

    Examples
    --------
    >>> save_dataset(rd.measure(tokens), "~/results/measured.zarr", overwrite=True)  # doctest: +SKIP
    """
    path = _expanded(path)
    with written_whole(Path(os.path.realpath(path)), overwrite=overwrite) as fresh:
        stored, chunks = _in_chunks(_storable(dataset))
        with _every_chunk():
            stored.to_zarr(fresh, mode="w", zarr_format=3, consolidated=False, encoding=chunks)
        write_manifest(fresh)
    return path


@contextmanager
def _every_chunk() -> Iterator[None]:
    """Have zarr write chunks that hold the fill value alone: if left out they could not be told from lost ones.

    By zarr's setting, since not every version of xarray hands its argument on; settings hold for all threads.
    """
    with _SETTINGS, zarr.config.set({"array.write_empty_chunks": True}):
        yield


def _expanded(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.expanduser(path))


def _storable(dataset: xr.Dataset) -> xr.Dataset:
    """Bfloat16 as bits, and text as variable-length strings: zarr v3 specifies neither."""
    dataset = dataset.drop_encoding()  # of the store that it was read from
    text = {name: v.compute().astype(object) for name, v in dataset.variables.items() if v.dtype.kind in "UO"}
    return _with(dataset, text | {name: encoded(v) for name, v in dataset.variables.items() if is_bfloat16(v)})


def _with(dataset: xr.Dataset, variables: Mapping[Hashable, xr.Variable]) -> xr.Dataset:
    coords = {name: v for name, v in variables.items() if name in dataset.coords}
    return dataset.assign_coords(coords).assign({n: v for n, v in variables.items() if n not in coords})


def _in_chunks(dataset: xr.Dataset) -> tuple[xr.Dataset, dict[str, dict[str, tuple[int, ...]]]]:
    """Chunks of some frames in a row, alike for all arrays, so that a capture can be read in parts.

    Arrays without frames are cut along their first dim. Lazy arrays are cut as they will be stored.
    """
    filled = {name: v for name, v in dataset.variables.items() if v.ndim and v.size}
    along = {name: "frame" if "frame" in v.dims else v.dims[0] for name, v in filled.items()}
    length = {name: max(CHUNK * v.sizes[along[name]] // max(v.nbytes, 1), 1) for name, v in filled.items()}
    frames = min((n for name, n in length.items() if along[name] == "frame"), default=1)
    length |= dict.fromkeys((name for name in filled if along[name] == "frame"), frames)
    cut = {
        name: {d: min(length[name], n) if d == along[name] else n for d, n in v.sizes.items()}
        for name, v in filled.items()
    }
    lazy = {name: v.chunk(cut[name]) for name, v in filled.items() if v.chunks is not None}
    return _with(dataset, lazy), {str(name): {"chunks": tuple(sizes.values())} for name, sizes in cut.items()}


def open_dataset(path: str | os.PathLike[str], *, chunks: Mapping[str, int] | None = None) -> xr.Dataset:
    """Open a store that `save_dataset` wrote; arrays are read when they are used, and verified then.

    That every file is there and has its size is checked first. Bfloat16 becomes float32, of a lazy array per chunk.

    Parameters
    ----------
    path
        The store; `~` is the home folder.
    chunks
        Given (`{}` for the stored chunks), arrays are dask arrays; needs dask (the extra `cluster`).

    Raises
    ------
    FileNotFoundError
        If there is no store.
    IncompleteStoreError
        If a file is missing, was added or has another size, or there is no manifest; and later, when an array is read,
        if a chunk is not what was written. The message names variable and chunk.
    TypeError, ValueError
        If the size of a chunk is no whole number of at least 1 (or -1), or a dim is not there.
    """
    require_type("chunks", chunks, Mapping | None, expected="frames or tokens in a chunk by dim, or None")
    for dim, size in (chunks or {}).items():
        if whole_number(f"chunks[{dim!r}]", size) < 1 and size != -1:
            raise ValueError(f"chunks[{dim!r}]={size} given, expected at least 1, or -1 for all in one")
    folder = Path(os.path.realpath(_expanded(path)))  # arrays are still read after the working folder has changed
    for _ in range(OPENINGS):
        seen = _seen(folder)
        try:
            return _open(folder, chunks)
        except OSError:
            if seen == _seen(folder):
                raise
    return _open(folder, chunks)


def _seen(folder: Path) -> tuple[int, int] | None:
    """What tells a folder from the one that replaces it."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns


def _open(folder: Path, chunks: Mapping[str, int] | None) -> xr.Dataset:
    recover(folder)
    if not (folder / METADATA).is_file() and not (folder / MANIFEST).is_file():
        raise FileNotFoundError(f"{folder} is no zarr v3 store; expected a folder that save_capture wrote")
    manifest = read_manifest(folder)
    check_manifest(folder, manifest)
    store = VerifiedStore(folder, manifest=manifest)
    opened: xr.Dataset = xr.open_zarr(store, chunks=None if chunks is None else dict(chunks), consolidated=False)
    if unknown := sorted(map(str, set(chunks or ()) - set(opened.dims))):
        raise ValueError(f"chunks along {unknown} given, expected some of the dims {sorted(map(str, opened.dims))}")
    return _with(opened, {name: decoded(v) for name, v in opened.variables.items() if is_bfloat16(v)})


def save_capture(
    capture: xr.Dataset, path: str | os.PathLike[str], *, dtype: str | None = None, overwrite: bool = False
) -> Path:
    """Store what `capture` returned, bit for bit unless a smaller type is asked for.

    Parameters
    ----------
    capture
        The captured dataset.
    path
        The store to write; see `save_dataset`, which also says how bfloat16 is stored.
    dtype
        `"float16"` halves a float32 capture: features, salience, DeepStack features and keys are rounded, and the
        attribute `stored_dtype` says so. Positions, times and frequencies stay as they are.
    overwrite
        Replace a store that exists. Other folders, and files, are never replaced.

    Raises
    ------
    FileExistsError
        If something is at `path`, and `overwrite` is False or it is not a store with a whole manifest.
    ValueError
        If the dataset is no capture, `dtype` is another one, or a value is too large for float16.

    Examples
    --------
    >>> path = rd.save_capture(cap, "results/clip_000.zarr")
    >>> path.name
    'clip_000.zarr'
    """
    require_type("capture", capture, xr.Dataset, expected="what redundancy.recording returns")
    if "tokens" not in capture:
        raise ValueError(f"expected what redundancy.recording returns, given a dataset of {sorted(map(str, capture))}")
    if dtype not in (None, "float16"):
        raise ValueError(f"dtype must be None or 'float16', given {dtype!r}")
    return save_dataset(capture if dtype is None else _halved(capture), path, overwrite=overwrite)


def _halved(capture: xr.Dataset) -> xr.Dataset:
    """Float32 variables, which may have come as bfloat16, as float16."""
    halved = {}
    for name, variable in capture.data_vars.items():
        if variable.dtype != np.float32:
            continue
        values = variable.values
        with np.errstate(over="ignore"):
            rounded = values.astype(np.float16)
        too_large = np.isinf(rounded) & np.isfinite(values)
        if too_large.any():
            largest = float(np.abs(values[too_large]).max())
            raise ValueError(f"{name} holds {largest:.3g}, float16 holds up to 65504; store it with dtype=None")
        halved[name] = (variable.dims, rounded, {k: v for k, v in variable.attrs.items() if k != TORCH_DTYPE})
    return capture.assign(halved).assign_attrs(stored_dtype="float16")


def open_capture(path: str | os.PathLike[str], *, chunks: Mapping[str, int] | None = None) -> xr.Dataset:
    """Open a stored capture; arrays are read when they are used.

    Parameters
    ----------
    path
        The store that `save_capture` wrote; `~` is the home folder.
    chunks
        Given (`{}` for the stored chunks), arrays are dask arrays; needs dask (the extra `cluster`).

    Raises
    ------
    FileNotFoundError
        If there is no store.
    IncompleteStoreError
        If the store lacks a file or a file is not what was written, see `open_dataset`.
    ValueError
        If the store holds something else than a capture.

    Examples
    --------
    >>> path = rd.save_capture(cap, "results/again.zarr")
    >>> rd.open_capture(path).equals(cap)
    True
    """
    dataset = open_dataset(path, chunks=chunks)
    if "tokens" not in dataset:
        raise ValueError(f"{path} holds {sorted(map(str, dataset))}, which is no capture")
    return dataset
