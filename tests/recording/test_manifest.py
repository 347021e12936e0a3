"""Nothing is read from a store that is not what was written into it."""

from __future__ import annotations

import asyncio
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from zarr.abc.store import OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core.buffer import default_buffer_prototype

from redundancy.recording import IncompleteStoreError, open_dataset, save_dataset
from redundancy.recording.manifest import MANIFEST, VerifiedStore, read_manifest

TOKENS, TIME = "tokens/c/1/0", "frame_time/c/0"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tokens in two chunks of random numbers; positions and salience that are one fill value throughout."""
    rows = 2**18  # float64, so that a chunk is one frame
    dataset = xr.Dataset(
        {
            "tokens": (("frame", "token"), np.random.default_rng(0).random((2, rows))),
            "positions": ("frame", np.zeros(2, np.int64)),
            "salience": ("frame", np.full(2, np.nan)),
            "prompt": ((), 0),
        },
        coords={"frame_time": ("frame", [0.5, 1.5], {"units": "s"})},
    )
    return save_dataset(dataset, tmp_path_factory.mktemp("whole") / "a.zarr")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def to_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def add(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing": (TOKENS, Path.unlink, r"chunk \(1, 0\) of 'tokens' is missing"),
    "missing zeros": ("positions/c/0", Path.unlink, r"chunk \(0\) of 'positions' is missing"),
    "missing NaN": ("salience/c/0", Path.unlink, r"chunk \(0\) of 'salience' is missing"),
    "missing coordinate": (TIME, Path.unlink, r"chunk \(0\) of 'frame_time' is missing"),
    "missing scalar": ("prompt/c", Path.unlink, r"chunk \(\) of 'prompt' is missing"),
    "missing variable": ("tokens", shutil.rmtree, r"of 'tokens' is missing \(and 2 more files\)"),
    "missing metadata": ("tokens/zarr.json", Path.unlink, "the metadata of 'tokens' is missing"),
    "missing root": ("zarr.json", Path.unlink, r"the store's metadata \(zarr.json\) is missing"),
    "truncated": (TOKENS, cut, r"chunk \(1, 0\) of 'tokens' has \d+ bytes, \d+ were written"),
    "empty": (TOKENS, lambda path: path.write_bytes(b""), "has 0 bytes"),
    "a folder": (TOKENS, to_folder, r"chunk \(1, 0\) of 'tokens' is no file"),
    "a pipe": (TOKENS, to_pipe, r"chunk \(1, 0\) of 'tokens' is no file"),
    "altered": (TOKENS, flip, r"chunk \(1, 0\) of 'tokens' is not what was written"),
    "altered coordinate": (TIME, flip, r"chunk \(0\) of 'frame_time' is not what was written"),
    "altered metadata": ("tokens/zarr.json", flip, "the metadata of 'tokens' is not what was written"),
    "extra chunk": ("tokens/c/2/0", add, r"chunk \(2, 0\) of 'tokens' was added"),
    "extra file": ("notes.txt", add, "the file 'notes.txt' was added"),
    "manifest missing": (MANIFEST, Path.unlink, "copied incompletely, or an earlier version wrote it"),
    "manifest altered": (MANIFEST, flip, f"{MANIFEST} is damaged"),
    "manifest truncated": (MANIFEST, cut, f"{MANIFEST} is damaged"),
    "manifest of bytes": (MANIFEST, lambda path: path.write_bytes(b"\xff"), f"{MANIFEST} is damaged"),
    "a folder as manifest": (MANIFEST, lambda path: (path.unlink(), path.mkdir()), f"{MANIFEST} is damaged"),
    "another manifest": (MANIFEST, lambda path: path.write_text("[]"), f"{MANIFEST} is damaged"),
}


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_an_error_that_names_variable_and_chunk(whole: Path, tmp_path: Path, kind: str, lazy: bool) -> None:
    if lazy:
        pytest.importorskip("dask", reason="lazy captures need the extra 'cluster'")
    key, damage, message = DAMAGE[kind]
    store = Path(shutil.copytree(whole, tmp_path / "a.zarr"))
    damage(store / key)
    with pytest.raises(IncompleteStoreError, match=message):
        open_dataset(store, chunks={} if lazy else None).load()


def test_other_parts_of_a_damaged_store_can_be_read(whole: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(whole, tmp_path / "a.zarr"))
    flip(store / TOKENS)
    opened = open_dataset(store)
    np.testing.assert_array_equal(opened["tokens"][0], open_dataset(whole)["tokens"][0])
    with pytest.raises(IncompleteStoreError):
        opened["tokens"][1].load()


def test_what_file_managers_leave_behind_is_no_damage(whole: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(whole, tmp_path / "a.zarr"))
    for name in (".DS_Store", "tokens/._zarr.json", "Thumbs.db"):
        (store / name).write_bytes(b"x")
    xr.testing.assert_identical(open_dataset(store).load(), open_dataset(whole).load())


def test_chunks_of_one_fill_value_are_stored(whole: Path) -> None:
    assert {"positions/c/0", "salience/c/0", "prompt/c"} < set(read_manifest(whole))
    opened = open_dataset(whole)
    assert opened["positions"].values.tolist() == [0, 0]
    assert np.isnan(opened["salience"].values).all()


def test_workers_verify_what_they_read(whole: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(whole, tmp_path / "a.zarr"))
    opened = pickle.loads(pickle.dumps(open_dataset(store)))
    flip(store / TOKENS)
    with pytest.raises(IncompleteStoreError, match="'tokens'"):
        opened.load()


def test_a_store_that_changed_while_it_was_open_is_not_mixed(whole: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(whole, tmp_path / "a.zarr"))
    opened, again = open_dataset(store), open_dataset(store)
    save_dataset(open_dataset(whole) + 1, store, overwrite=True)
    with pytest.raises(IncompleteStoreError, match="was replaced after it was opened; open it again"):
        opened["tokens"].load()
    shutil.rmtree(store)
    with pytest.raises(IncompleteStoreError, match="was moved or removed after it was opened"):
        again["tokens"].load()


def test_a_store_without_a_manifest_is_stored_anew_as_the_error_says(whole: Path, tmp_path: Path) -> None:
    store = Path(shutil.copytree(whole, tmp_path / "a.zarr"))
    (store / MANIFEST).unlink()
    with pytest.raises(IncompleteStoreError, match=r"save_dataset\(xarray.open_zarr\('.*', consolidated=False\), NEW"):
        open_dataset(store)
    anew = save_dataset(xr.open_zarr(store, chunks=None, consolidated=False), tmp_path / "b.zarr")
    xr.testing.assert_identical(open_dataset(anew).load(), open_dataset(whole).load())


def test_parts_of_files_are_parts_of_verified_files(whole: Path) -> None:
    store, content = VerifiedStore(whole, manifest=read_manifest(whole)), (whole / TIME).read_bytes()
    requests = {
        RangeByteRequest(1, 4): content[1:4],
        OffsetByteRequest(3): content[3:],
        SuffixByteRequest(2): content[-2:],
        SuffixByteRequest(10**6): content,
        None: content,
    }
    given = [(TIME, request) for request in requests]
    read = asyncio.run(store.get_partial_values(default_buffer_prototype(), given))
    assert [part.to_bytes() for part in read] == list(requests.values())
    assert asyncio.run(store.get("absent")) is None
    with pytest.raises(IncompleteStoreError, match=r"chunk \(7, 0\) of 'tokens' is not in the manifest"):
        asyncio.run(store.get("tokens/c/7/0"))
    with pytest.raises(ValueError, match="not changed in place"):
        store.with_read_only(False)
