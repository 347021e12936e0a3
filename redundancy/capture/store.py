"""Captures on disk: zarr v3, whole or not there at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import xarray as xr

CHUNK = 2**21  # bytes: less than a frame of a large model, in float32


def save_dataset(dataset: xr.Dataset, path: str | Path, *, overwrite: bool = False) -> Path:
    """Write a dataset as a zarr v3 store, under a temporary name that is renamed when everything is written.

    A run that is killed leaves no half store, and a store that is replaced stays until the new one is whole.

    Raises
    ------
    FileExistsError
        If `path` exists and `overwrite` is False.

    Source: own.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; give another path, or overwrite=True to replace it")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.writing")
    old = path.with_name(f".{path.name}.{os.getpid()}.replaced")
    try:
        stored = _storable(dataset)
        stored.to_zarr(fresh, mode="w", zarr_format=3, consolidated=False, encoding=_by_frames(stored))
        if path.exists():
            path.rename(old)
        fresh.rename(path)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    return path


def _by_frames(dataset: xr.Dataset) -> dict[str, dict[str, tuple[int, ...]]]:
    """Chunks of some frames in a row, alike for all arrays, so that a capture can be read in parts."""
    per_frame = max((v.nbytes // v.sizes["frame"] for v in dataset.variables.values() if _has_frames(v)), default=1)
    size = max(CHUNK // max(per_frame, 1), 1)
    return {
        str(name): {"chunks": tuple(min(size, n) if d == "frame" else n for d, n in zip(v.dims, v.shape, strict=True))}
        for name, v in dataset.variables.items()
        if _has_frames(v)
    }


def _has_frames(variable: xr.Variable) -> bool:
    return "frame" in variable.dims and variable.size > 0


def _storable(dataset: xr.Dataset) -> xr.Dataset:
    """Text as variable-length strings: zarr v3 specifies no fixed-length ones."""
    text = {name: v.astype(object) for name, v in dataset.variables.items() if v.dtype.kind == "U"}
    return dataset.assign_coords({n: v for n, v in text.items() if n in dataset.coords}).assign(
        {n: v for n, v in text.items() if n in dataset.data_vars}
    )


def open_dataset(path: str | Path, *, chunks: Mapping[str, int] | None = None) -> xr.Dataset:
    """Open a zarr store; arrays are read when they are used.

    Parameters
    ----------
    path
        The store.
    chunks
        Given (`{}` for the stored chunks), arrays are dask arrays; needs dask (the extra `cluster`).

    Raises
    ------
    FileNotFoundError
        If there is no store.

    Source: own.
    """
    path = Path(path)
    if not (path / "zarr.json").is_file():
        raise FileNotFoundError(f"{path} is no zarr v3 store; expected a folder that save_capture wrote")
    opened: xr.Dataset = xr.open_zarr(path, chunks=None if chunks is None else dict(chunks), consolidated=False)
    return opened


def save_capture(capture: xr.Dataset, path: str | Path, *, dtype: str | None = None, overwrite: bool = False) -> Path:
    """Store what `capture` returned, bit for bit unless a smaller type is asked for.

    Parameters
    ----------
    capture
        The captured dataset.
    path
        The store to write.
    dtype
        `"float16"` halves a float32 capture: features, salience, DeepStack features and keys are rounded, and the
        attribute `stored_dtype` says so. Positions, times and frequencies stay as they are.
    overwrite
        Replace a store that exists.

    Raises
    ------
    FileExistsError
        If `path` exists and `overwrite` is False.
    ValueError
        If the dataset is no capture, `dtype` is another one, or a value is too large for float16.

    Source: own.
    """
    if "tokens" not in capture:
        raise ValueError(f"expected what redundancy.capture returns, given a dataset of {sorted(map(str, capture))}")
    if dtype not in (None, "float16"):
        raise ValueError(f"dtype must be None or 'float16', given {dtype!r}")
    return save_dataset(capture if dtype is None else _halved(capture), path, overwrite=overwrite)


def _halved(capture: xr.Dataset) -> xr.Dataset:
    """Float32 and bfloat16 variables as float16."""
    halved = {}
    for name, variable in capture.data_vars.items():
        is_bfloat16 = variable.attrs.get("torch_dtype") == "bfloat16"
        if variable.dtype != np.float32 and not is_bfloat16:
            continue
        # bfloat16 is the upper half of float32
        values = (variable.values.astype(np.uint32) << 16).view(np.float32) if is_bfloat16 else variable.values
        largest = float(np.abs(values).max(initial=0))
        if largest > float(np.finfo(np.float16).max):
            raise ValueError(f"{name} holds {largest:.3g}, float16 holds up to 65504; store it with dtype=None")
        attrs = {k: v for k, v in variable.attrs.items() if k != "torch_dtype"}
        halved[name] = (variable.dims, values.astype(np.float16), attrs)
    return capture.assign(halved).assign_attrs(stored_dtype="float16")


def open_capture(path: str | Path, *, chunks: Mapping[str, int] | None = None) -> xr.Dataset:
    """Open a stored capture; arrays are read when they are used.

    Parameters
    ----------
    path
        The store that `save_capture` wrote.
    chunks
        Given (`{}` for the stored chunks), arrays are dask arrays; needs dask (the extra `cluster`).

    Raises
    ------
    FileNotFoundError
        If there is no store.
    ValueError
        If the store holds something else than a capture.

    Source: own.
    """
    dataset = open_dataset(path, chunks=chunks)
    if "tokens" not in dataset:
        raise ValueError(f"{path} holds {sorted(map(str, dataset))}, which is no capture")
    return dataset
