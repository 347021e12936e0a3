"""The runner: what is stored is not computed again, a kill loses nothing, an unreadable video is a row."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import xarray as xr
from studies.runner import StudyRun, VideoResult, command_line, run_videos, say_what_ran, write_rows

from redundancy.evaluation.cells import CannotStoreError, NothingMeasuredError
from redundancy.paths import data_folder
from redundancy.pruning import FastVID
from redundancy.pruning.parts.segment import DySeg
from redundancy.sources import VideoSource, list_videos
from redundancy.video import RemoteVideoError, VideoReader, load_video


class Study:
    """Counts what it computes; each row holds a number that only the video and the setting determine."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.computed: list[tuple[str, str]] = []
        self.stop_after = stop_after

    def compute(self, source: VideoSource, settings: Sequence[str]) -> VideoResult:
        if self.stop_after is not None and len(self.computed) >= self.stop_after:
            raise KeyboardInterrupt
        clip = load_video(source.path, frames=2)
        self.computed += [(source.name, s) for s in settings]
        rows: list[dict[str, Any]] = [
            {"setting": s, "seed": seed, "value": float(clip.frames.mean()) + len(s) + seed, "lengths": [1, seed]}
            for s in settings
            for seed in range(2)
        ]
        return VideoResult(rows, {"duration": clip.duration})


@pytest.fixture
def sources() -> list[VideoSource]:
    return list_videos(limit=4)


def run(
    study: Study, sources: Sequence[VideoSource], out: Path, settings: Sequence[str] = ("a", "bb"), **context: Any
) -> StudyRun:
    return run_videos(sources, settings, study.compute, out=out, context={"version": 1, **context})


def table(result: StudyRun, path: Path) -> bytes:
    write_rows(result.rows, path)
    return path.read_bytes()


def test_second_run_computes_nothing_and_says_so(sources: list[VideoSource], tmp_path: Path):
    first, again = Study(), Study()
    whole = run(first, sources, tmp_path)
    repeated = run(again, sources, tmp_path)
    assert (len(first.computed), again.computed) == (8, [])
    assert "Nothing to compute" in say_what_ran(repeated)
    assert table(whole, tmp_path / "1.parquet") == table(repeated, tmp_path / "2.parquet")
    assert repeated.facts == whole.facts


def test_only_missing_settings_are_computed(sources: list[VideoSource], tmp_path: Path):
    run(Study(), sources, tmp_path, settings=("a",))
    more = Study()
    result = run(more, sources, tmp_path, settings=("a", "bb"))
    assert {s for _, s in more.computed} == {"bb"}
    assert set(result.rows["setting"]) == {"a", "bb"}
    assert set(run(Study(), sources, tmp_path, settings=("bb",)).rows["setting"]) == {"bb"}


@pytest.mark.parametrize("stop_after", [0, 2, 4, 6])
def test_an_interrupted_run_goes_on_and_ends_in_the_same_table(
    sources: list[VideoSource], tmp_path: Path, stop_after: int
):
    expected = table(run(Study(), sources, tmp_path / "whole"), tmp_path / "whole.parquet")
    broken = Study(stop_after=stop_after)
    with pytest.raises(KeyboardInterrupt):
        run(broken, sources, tmp_path / "broken")
    resumed = Study()
    result = run(resumed, sources, tmp_path / "broken")
    assert not set(broken.computed) & set(resumed.computed)
    assert table(result, tmp_path / "broken.parquet") == expected
    assert not list((tmp_path / "broken").rglob("*.writing"))


def test_other_context_is_computed_anew(sources: list[VideoSource], tmp_path: Path):
    run(Study(), sources, tmp_path, weights="x")
    other = Study()
    run(other, sources, tmp_path, weights="y")
    assert len(other.computed) == 8


def test_unreadable_videos_are_rows_and_the_others_are_measured(tmp_path: Path):
    clip = data_folder() / "clips" / "clip_000.mp4"
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(clip, folder / "good.mp4")
    (folder / "bad.mp4").write_bytes(b"no video at all")
    sources = [*list_videos([folder]), *list_videos([folder / "absent.mp4"])]
    result = run(Study(), sources, tmp_path / "out")
    assert set(result.errors) == {"bad.mp4", "absent.mp4"}
    rows = result.rows.set_index("video")
    assert rows.loc["bad.mp4", "error_type"] == "NotAVideoError"
    assert rows.loc["absent.mp4", "error_type"] == "MissingVideoError"
    assert str(folder / "absent.mp4") in rows.loc["absent.mp4", "error"]
    assert len(rows.loc["good.mp4"]) == 4
    assert say_what_ran(result).startswith("1 measured, 2 failed; 0 taken from stored results.\n  bad.mp4: NotAVideo")
    shutil.copy(clip, folder / "bad.mp4")  # mended before the next run
    mended = run(Study(), sources, tmp_path / "out")
    assert set(mended.errors) == {"absent.mp4"}


def test_rows_hold_lists(sources: list[VideoSource], tmp_path: Path):
    path = tmp_path / "rows.parquet"
    write_rows(run(Study(), sources[:1], tmp_path).rows, path)
    assert pd.read_parquet(path)["lengths"].map(list).tolist() == [[1, 0], [1, 1]] * 2


FAILURES: list[Exception] = [
    ValueError("no questions"),
    RuntimeError("a hook did not fire"),
    torch.OutOfMemoryError("CUDA out of memory"),
    FloatingPointError("NaN logits"),
    KeyError("fps"),
    MemoryError(),
    OSError(5, "Input/output error"),
    UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid"),
    NotImplementedError("not on this family"),
    AssertionError(),
    ValueError("caf\udce9.mp4"),  # a name that is no UTF-8
]


def test_whatever_a_video_raises_is_its_row_and_is_tried_again(tmp_path: Path):
    sources = list_videos(["world:13?frames=8"])
    raised = dict(zip((s.name for s in sources[1:]), FAILURES, strict=False))
    calls: list[str] = []

    def compute(source: VideoSource, settings: Sequence[str]) -> VideoResult:
        calls.append(source.name)
        if source.name in raised:
            raise raised[source.name]
        return VideoResult([{"setting": s, "seed": 0, "value": 1.0} for s in settings], {"grid": "2x7x7"})

    for again in (False, True):
        result = run_videos(sources, ["a"], compute, out=tmp_path, context={}, columns={"model": "m"})
        write_rows(result.rows, tmp_path / "rows.parquet")
        rows = pd.read_parquet(tmp_path / "rows.parquet").set_index("video")
        assert len(rows) == len(sources)
        assert set(rows.index[rows["error"].notna()]) == set(raised)
        for name, error in raised.items():
            assert rows.loc[name, "error_type"] == type(error).__name__
            assert rows.loc[name, "error"]
        measured = rows[rows["error"].isna()]
        assert set(measured["grid"]) == {"2x7x7"}
        assert set(rows["model"]) == {"m"}
        assert rows["commit"].notna().all()
        assert f"2 measured, {len(raised)} failed; {2 * again} taken" in say_what_ran(result)
    assert len(calls) == len(sources) + len(raised)


def test_results_that_cannot_be_stored_stop_the_run(
    sources: list[VideoSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(opened: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(CannotStoreError, match="No space left"):
        run(Study(), sources, tmp_path)


def test_a_setting_that_stands_for_something_else_is_computed_again(sources: list[VideoSource], tmp_path: Path):
    """A method whose default was changed keeps its name: its rows must not be served as those of the new one."""

    def computed(**settings: object) -> set[tuple[str, str]]:
        study = Study()
        result = run_videos(sources[:1], settings, study.compute, out=tmp_path, context={})
        assert len(result.rows) == 2 * len(settings)
        return set(study.computed)

    name = sources[0].name
    assert computed(a=FastVID(), b=None) == {(name, "a"), (name, "b")}
    assert computed(a=FastVID(), b=None) == set()
    assert computed(a=FastVID(segmenter=replace(DySeg(), tau=0.5)), b=None) == {(name, "a")}


def test_rows_of_another_folder_are_taken_and_nothing_is_written_there(sources: list[VideoSource], tmp_path: Path):
    run(Study(), sources[:2], tmp_path / "other", settings=("a",))
    before = {p: p.read_bytes() for p in (tmp_path / "other").rglob("*") if p.is_file()}
    study = Study()
    result = run_videos(
        sources, ["a", "bb"], study.compute, out=tmp_path / "out", context={"version": 1}, also=[tmp_path / "other"]
    )
    names = [s.name for s in sources]
    expected = {(n, "bb") for n in names} | {(n, "a") for n in names[2:]}
    assert set(study.computed) == expected
    assert len(result.rows) == 2 * 2 * len(sources)
    assert {p: p.read_bytes() for p in (tmp_path / "other").rglob("*") if p.is_file()} == before


def test_a_folder_of_hostile_files_is_measured_but_for_those(tmp_path: Path):
    clip = data_folder() / "clips" / "clip_000.mp4"
    folder = tmp_path / "videos"
    folder.mkdir()
    for i in range(4):
        (folder / f"good{i}.mp4").write_bytes(clip.read_bytes() + b"\0\0\0\x0cfree" + bytes([i]) * 4)
    shutil.copy(clip, os.fsencode(folder) + b"/caf\xe9.mp4")
    os.mkfifo(folder / "fifo.mp4")
    (folder / "loop.mp4").symlink_to(folder / "loop.mp4")
    (folder / "zero.mp4").symlink_to("/dev/zero")
    (folder / "folder.mp4").mkdir()
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mp4").write_text("no video")
    (folder / "cut.mp4").write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])

    def compute(source: VideoSource, settings: Sequence[str]) -> VideoResult:
        return VideoResult([{"setting": s, "value": float(source.load(frames=2).frames.mean())} for s in settings], {})

    with VideoReader(timeout=30) as reader:
        sources = list_videos([folder], reader=reader)
        result = run_videos(sources, ["a"], compute, out=tmp_path / "out", context={})
    hostile = {f"{name}.mp4" for name in ("fifo", "loop", "zero", "folder", "empty", "text", "cut")}
    assert set(result.errors) == hostile
    write_rows(result.rows, tmp_path / "rows.parquet")
    assert "5 measured, 7 failed" in say_what_ran(result)


@dataclass(frozen=True)
class NoOptions:
    """A study without options."""


@pytest.mark.parametrize(
    ("outcome", "status", "said"),
    [
        (xr.Dataset(attrs={"failed": []}), None, ""),
        (xr.Dataset(attrs={"failed": ["a.mp4: NotAVideoError: it is text"]}), 3, ""),
        (NothingMeasuredError("no video could be measured"), 3, "no video could be measured\n"),
        (ValueError("frames must be at least 1"), 2, "ValueError: frames must be at least 1\n"),
        (RemoteVideoError("https://a/b.mp4"), 2, "RemoteVideoError: "),
        (KeyboardInterrupt(), 130, "\nStopped."),
    ],
)
def test_exit_status(
    outcome: xr.Dataset | BaseException,
    status: int | None,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def main(options: NoOptions) -> xr.Dataset:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr("sys.argv", ["study"])
    if status is None:
        command_line(NoOptions, main)
    else:
        with pytest.raises(SystemExit) as left:
            command_line(NoOptions, main)
        assert left.value.code == status
    assert capsys.readouterr().err.startswith(said)
