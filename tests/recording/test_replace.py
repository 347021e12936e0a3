"""At every moment of a replacement a whole store stands at the path, or comes back to it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from redundancy.recording import open_dataset, replace, save_dataset
from redundancy.recording.manifest import MANIFEST


def filled(value: int) -> xr.Dataset:
    return xr.Dataset({name: ("x", np.full(3, value)) for name in "ab"})


def value_at(path: Path) -> int:
    (value,) = {int(x) for v in open_dataset(path).load().values() for x in v.values}
    return value


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return save_dataset(filled(0), tmp_path / "s.zarr")


class KilledError(BaseException):
    pass


def failing(monkeypatch: pytest.MonkeyPatch, name: str, nth: int, error: BaseException, *, ever_after: bool) -> None:
    """From its nth call on, or then alone, a function of os fails."""
    real, calls = getattr(os, name), iter(range(10**6))

    def call(*args: Any, **kwargs: Any) -> Any:
        now = next(calls)
        if now == nth or (ever_after and now > nth):
            raise error
        return real(*args, **kwargs)

    monkeypatch.setattr(os, name, call)


@pytest.mark.parametrize("ever_after", [False, True])
@pytest.mark.parametrize(("name", "nth"), [*(("rename", n) for n in range(5)), ("fsync", 0), ("fsync", 3)])
def test_a_replacement_that_fails_leaves_a_whole_store(
    store: Path, monkeypatch: pytest.MonkeyPatch, name: str, nth: int, ever_after: bool
) -> None:
    with monkeypatch.context() as patch:
        failing(patch, name, nth, OSError(28, "No space left on device"), ever_after=ever_after)
        with suppress(OSError):
            save_dataset(filled(1), store, overwrite=True)
    assert value_at(store) in (0, 1)
    save_dataset(filled(2), store, overwrite=True)
    assert value_at(store) == 2
    assert names(store.parent) == ["s.zarr"]


@pytest.mark.parametrize("nth", range(5))
def test_a_replacement_that_is_killed_leaves_a_whole_store(
    store: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    with monkeypatch.context() as patch:
        failing(patch, "rename", nth, KilledError(), ever_after=False)
        patch.setattr(replace, "_put_back", lambda *_: None)  # a killed process tidies nothing
        patch.setattr(replace, "_remove", lambda *_: None)
        with suppress(KilledError):
            save_dataset(filled(1), store, overwrite=True)
    with pytest.raises(FileExistsError, match="overwrite=True to replace it"):
        save_dataset(filled(2), store)
    assert value_at(store) in (0, 1)
    save_dataset(filled(2), store, overwrite=True)
    assert value_at(store) == 2
    assert names(store.parent) == ["s.zarr"]


def test_what_a_killed_run_moved_away_comes_back_when_it_is_opened(store: Path) -> None:
    work = store.with_name(".s.zarr.0123456789abcdef.writing")
    work.mkdir()
    store.rename(work / "1f.replaced")
    assert value_at(store) == 0


def test_a_store_that_was_half_removed_does_not_come_back(store: Path) -> None:
    work = store.with_name(".s.zarr.0123456789abcdef.writing")
    work.mkdir()
    store.rename(work / "1f.removing")
    with pytest.raises(FileNotFoundError, match="no zarr v3 store"):
        open_dataset(store)
    save_dataset(filled(1), store)
    assert names(store.parent) == ["s.zarr"]


def test_runs_that_live_keep_their_hidden_folder(store: Path) -> None:
    dead, living = (store.with_name(f".s.zarr.{name}.writing") for name in ("dead", "11fe"))
    other = store.with_name(".other.zarr.dead.writing")
    for folder in (dead, living, other):
        folder.mkdir()
        (folder / "half").write_text("x")
    descriptor = os.open(living, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        save_dataset(filled(1), store, overwrite=True)
    finally:
        os.close(descriptor)
    assert names(store.parent) == [".other.zarr.dead.writing", ".s.zarr.11fe.writing", "s.zarr"]


def make_file(path: Path) -> None:
    path.write_text("two years of work")


def make_folder(path: Path) -> None:
    path.mkdir()
    (path / "chapter.txt").write_text("two years of work")


def make_other_zarr(path: Path) -> None:
    filled(0).to_zarr(path, zarr_format=3, consolidated=False)


def make_store_with_notes(path: Path) -> None:
    save_dataset(filled(0), path)
    (path / "notes.txt").write_text("two years of work")


def make_damaged_manifest(path: Path) -> None:
    save_dataset(filled(0), path)
    (path / MANIFEST).write_text("{}")


FOREIGN: dict[str, tuple[Callable[[Path], object], str]] = {
    "a file": (make_file, "no store with a whole manifest"),
    "an empty folder": (Path.mkdir, "no store with a whole manifest"),
    "a folder": (make_folder, "no store with a whole manifest"),
    "another zarr store": (make_other_zarr, "no store with a whole manifest"),
    "a store whose manifest is damaged": (make_damaged_manifest, "no store with a whole manifest"),
    "a store with notes": (make_store_with_notes, "also holds notes.txt"),
    "a link to itself": (lambda path: path.symlink_to(path), "no store with a whole manifest"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_not_ours_is_never_replaced(tmp_path: Path, kind: str) -> None:
    make, message = FOREIGN[kind]
    path = tmp_path / "there"
    make(path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    for overwrite, said in ((False, "exists; give another path"), (True, message)):
        with pytest.raises(FileExistsError, match=said):
            save_dataset(filled(1), path, overwrite=overwrite)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert names(tmp_path) == ["there"]


def test_a_damaged_store_of_ours_is_replaced(store: Path) -> None:
    shutil.rmtree(store / "a")
    save_dataset(filled(1), store, overwrite=True)
    assert value_at(store) == 1


def test_a_link_stands_for_what_it_points_to(store: Path) -> None:
    link, dangling = store.with_name("link"), store.with_name("dangling")
    link.symlink_to("s.zarr")
    dangling.symlink_to("new.zarr")
    save_dataset(filled(1), link, overwrite=True)
    save_dataset(filled(2), dangling)
    assert link.is_symlink()
    assert [value_at(p) for p in (store, link, store.with_name("new.zarr"))] == [1, 1, 2]


def test_a_run_that_comes_second_wins(store: Path) -> None:
    with replace.written_whole(store, overwrite=True) as fresh:
        shutil.copytree(store, fresh)
        save_dataset(filled(3), store, overwrite=True)
    assert value_at(store) == 0


def test_a_run_that_comes_second_and_may_not_replace_is_refused(store: Path) -> None:
    new = store.with_name("n.zarr")

    def write() -> None:
        with replace.written_whole(new, overwrite=False) as fresh:
            shutil.copytree(store, fresh)
            save_dataset(filled(4), new)

    with pytest.raises(FileExistsError, match="overwrite=True"):
        write()
    assert value_at(new) == 4
    assert names(store.parent) == ["n.zarr", "s.zarr"]
