"""Stored cells: whole or unused; a folder is of one study, and of one run at a time."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from redundancy.evaluation.cells import (
    CannotStoreError,
    Cell,
    Cells,
    FolderInUseError,
    locked,
    open_cells,
    own_folder,
    write_whole,
)

CELL = Cell(pd.DataFrame({"setting": ["a"], "value": [1.5]}), {"frames": 3}, {"a": "0"})


def flipped(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "a bit flipped": flipped,
    "zeros": lambda content: bytes(len(content)),
    "longer": lambda content: content + b"\0",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_a_damaged_cell_is_none(tmp_path: Path, suffix: str, damage: Callable[[bytes], bytes]):
    cells = Cells(tmp_path)
    cells.save("k", CELL)
    file = next(tmp_path.glob(f"*{suffix}"))
    file.write_bytes(damage(file.read_bytes()))
    assert cells.load("k") is None
    assert cells.damaged == [tmp_path / "k.parquet"]
    cells.save("k", CELL)
    stored = cells.load("k")
    assert stored is not None
    pd.testing.assert_frame_equal(stored.rows, CELL.rows)
    assert (stored.facts, stored.settings) == (CELL.facts, CELL.settings)
    assert len(list(tmp_path.iterdir())) == 2


def test_the_note_of_another_cell_does_not_fit(tmp_path: Path):
    cells = Cells(tmp_path)
    cells.save("k", CELL)
    old = {file: file.read_bytes() for file in tmp_path.iterdir()}
    cells.save("k", Cell(CELL.rows.assign(value=2.5), {}, {"a": "0"}))
    note = next(file for file in old if file.suffix == ".json")
    assert not note.exists()  # the old one is gone
    (tmp_path / "k.parquet").write_bytes(old[tmp_path / "k.parquet"])  # an old file put back without it
    assert cells.load("k") is None


def test_a_full_disk_is_no_fault_of_a_video_and_leaves_the_old_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cells = Cells(tmp_path)
    cells.save("k", CELL)

    def full(opened: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotStoreError, match="No space left on device"):
        cells.save("k", Cell(CELL.rows, {"frames": 4}, {"a": "1"}))
    monkeypatch.undo()
    stored = cells.load("k")
    assert stored is not None
    assert stored.facts == {"frames": 3}
    assert not list(tmp_path.glob(".*.writing"))


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    steps: list[str] = []
    sync, move = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda opened: (steps.append("sync"), sync(opened)))
    monkeypatch.setattr(os, "replace", lambda a, b: (steps.append("rename"), move(a, b)))
    write_whole(tmp_path / "a", b"1")
    assert steps == ["sync", "rename", "sync"]  # the file, then its folder


def hold(folder: Path, ready: object, leave: object) -> None:
    with own_folder(folder, "one"), open_cells(folder / "cells"):
        ready.set()  # type: ignore[attr-defined]
        leave.wait(60)  # type: ignore[attr-defined]


def test_a_folder_is_of_one_run_at_a_time(tmp_path: Path):
    context = multiprocessing.get_context("fork")
    ready, leave = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path / "out", ready, leave))
    process.start()
    try:
        assert ready.wait(60)
        with pytest.raises(FolderInUseError, match=f"process {process.pid} on .* works in the folder"):
            own_folder(tmp_path / "out", "one").__enter__()
        with pytest.raises(FolderInUseError, match="works in the folder"):
            open_cells(tmp_path / "out" / "cells").__enter__()
    finally:
        process.kill()  # lets go without having been asked
        process.join()
    with own_folder(tmp_path / "out", "one"), open_cells(tmp_path / "out" / "cells"):
        pass


def test_what_dead_runs_left_is_swept(tmp_path: Path):
    left = tmp_path / ".k.parquet.0123.writing"
    left.write_bytes(b"half")
    with locked(tmp_path):
        assert not left.exists()


def test_a_folder_of_another_study_or_of_nobody_is_refused_and_left(tmp_path: Path):
    with own_folder(tmp_path / "a", "one"):
        pass
    with own_folder(tmp_path / "a", "one"):
        pass
    with pytest.raises(FileExistsError, match="holds results of one; give another folder for those of two"):
        own_folder(tmp_path / "a", "two").__enter__()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds thesis\.tex and no study\.json"):
        own_folder(foreign, "one").__enter__()
    assert [p.name for p in foreign.iterdir()] == ["thesis.tex"]
    with pytest.raises(NotADirectoryError, match="is no folder"):
        own_folder(foreign / "thesis.tex", "one").__enter__()
    (tmp_path / "a" / "study.json").write_bytes(b"")
    with pytest.raises(FileExistsError, match="does not say which study"):
        own_folder(tmp_path / "a", "one").__enter__()
