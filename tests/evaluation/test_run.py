"""The runner: what is stored is not computed again, a kill loses nothing, an unreadable video is a row."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from redundancy.digest import digest_of
from redundancy.evaluation.cells import CannotStoreError
from redundancy.evaluation.run import Run, VideoResult, open_store, run_videos, say_what_ran, write_rows
from redundancy.paths import data_folder
from redundancy.pruning import FastVID
from redundancy.pruning.parts.segment import DySeg
from redundancy.sources import VideoSource, list_videos
from redundancy.video import VideoReader, load_video


@dataclass(frozen=True)
class Named:
    """A condition: what it stands for decides its digest."""

    label: str
    method: object = None
    factors: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest_of([self.label, self.method])


def named(*labels: str) -> list[Named]:
    return [Named(label) for label in labels]


class Study:
    """Counts what it computes; each row holds a number that only the video and the condition determine."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.computed: list[tuple[str, str]] = []
        self.stop_after = stop_after

    def compute(self, source: VideoSource, conditions: Sequence[Named]) -> VideoResult:
        if self.stop_after is not None and len(self.computed) >= self.stop_after:
            raise KeyboardInterrupt
        clip = load_video(source.path, frames=2)
        self.computed += [(source.name, c.label) for c in conditions]
        rows: list[dict[str, Any]] = [
            {
                "condition": c.label,
                "seed": seed,
                "value": float(clip.frames.mean()) + len(c.label) + seed,
                "lengths": [1, seed],
            }
            for c in conditions
            for seed in range(2)
        ]
        return VideoResult(rows, {"duration": clip.duration})


@pytest.fixture
def sources() -> list[VideoSource]:
    return list_videos(limit=4)


def run(
    study: Study, sources: Sequence[VideoSource], out: Path, labels: Sequence[str] = ("a", "bb"), **context: Any
) -> Run:
    return run_videos(sources, named(*labels), study.compute, out=out, context={"version": 1, **context})


def table(result: Run, path: Path) -> bytes:
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


def test_only_missing_conditions_are_computed(sources: list[VideoSource], tmp_path: Path):
    run(Study(), sources, tmp_path, labels=("a",))
    more = Study()
    result = run(more, sources, tmp_path, labels=("a", "bb"))
    assert {s for _, s in more.computed} == {"bb"}
    assert set(result.rows["condition"]) == {"a", "bb"}
    assert set(run(Study(), sources, tmp_path, labels=("bb",)).rows["condition"]) == {"bb"}


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

    def compute(source: VideoSource, conditions: Sequence[Named]) -> VideoResult:
        calls.append(source.name)
        if source.name in raised:
            raise raised[source.name]
        return VideoResult([{"condition": c.label, "seed": 0, "value": 1.0} for c in conditions], {"grid": "2x7x7"})

    for again in (False, True):
        result = run_videos(sources, named("a"), compute, out=tmp_path, context={}, columns={"model": "m"})
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


def test_a_condition_that_stands_for_something_else_is_computed_again(sources: list[VideoSource], tmp_path: Path):
    """A method whose default was changed keeps its name: its rows must not be served as those of the new one."""

    def computed(**methods: object) -> set[tuple[str, str]]:
        study = Study()
        wanted = [Named(label, method) for label, method in methods.items()]
        result = run_videos(sources[:1], wanted, study.compute, out=tmp_path, context={})
        assert len(result.rows) == 2 * len(methods)
        return set(study.computed)

    name = sources[0].name
    assert computed(a=FastVID(), b=None) == {(name, "a"), (name, "b")}
    assert computed(a=FastVID(), b=None) == set()
    assert computed(a=FastVID(segmenter=replace(DySeg(), tau=0.5)), b=None) == {(name, "a")}


def test_fresh_computes_everything_and_keeps_what_was_not_asked(sources: list[VideoSource], tmp_path: Path):
    run(Study(), sources, tmp_path)
    again, after = Study(), Study()
    result = run_videos(sources, named("a"), again.compute, out=tmp_path, context={"version": 1}, fresh=True)
    assert set(again.computed) == {(s.name, "a") for s in sources}
    assert (result.computed, result.stored) == (len(sources), 0)
    run(after, sources, tmp_path)
    assert after.computed == []


def test_videos_are_tried_again_by_name(sources: list[VideoSource], tmp_path: Path):
    run(Study(), sources, tmp_path)
    again = Study()
    name = sources[1].name
    run_videos(sources, named("a", "bb"), again.compute, out=tmp_path, context={"version": 1}, retry={name})
    assert set(again.computed) == {(name, "a"), (name, "bb")}
    with pytest.raises(ValueError, match=r"retry=\['absent'\] given, expected names of the videos"):
        run_videos(sources, named("a"), again.compute, out=tmp_path, context={}, retry={"absent"})


@dataclass(frozen=True)
class Unreadable(Named):
    """A condition of a class whose source cannot be read."""

    @property
    def digest(self) -> str:
        raise TypeError("Mine has no source")


def test_a_condition_without_digest_is_computed_and_not_stored(sources: list[VideoSource], tmp_path: Path):
    wanted = [Named("a"), Unreadable("mine"), Unreadable("other")]
    tables = []
    for first in (True, False):
        study = Study()
        result = run_videos(sources, wanted, study.compute, out=tmp_path, context={"version": 1})
        assert {label for _, label in study.computed} == ({"a", "mine", "other"} if first else {"mine", "other"})
        assert set(result.rows["condition"]) == {"a", "mine", "other"}
        tables.append(table(result, tmp_path / "rows.parquet"))
        assert say_what_ran(result).endswith("not stored, as it has no digest: mine, other (Mine has no source)")
    assert tables[0] == tables[1]
    stored = pd.concat(pd.read_parquet(file) for file in (tmp_path / "cells").glob("*.parquet"))
    assert set(stored["condition"]) == {"a"}


def test_rows_carry_the_factors_of_their_condition(sources: list[VideoSource], tmp_path: Path):
    wanted = [
        Named("fastvid(0.5)", factors={"method": "fastvid", "requested": 0.5, "layer": 2}),
        Named("dycoke", factors={"method": "dycoke", "requested": float("nan"), "layer": "all"}),
        Named("bb"),
    ]
    rows = run_videos(sources[:1], wanted, Study().compute, out=tmp_path, context={}).rows
    assert rows.columns[:7].tolist() == ["video", "kind", "grid", "condition", "method", "requested", "layer"]
    one = rows.drop_duplicates("condition").set_index("condition")
    assert one["method"].to_dict() == {"fastvid(0.5)": "fastvid", "dycoke": "dycoke", "bb": "bb"}
    assert one.loc["fastvid(0.5)", "requested"] == 0.5
    assert one["requested"].isna().sum() == 2
    assert one["layer"].dropna().to_dict() == {"fastvid(0.5)": "2", "dycoke": "all"}
    write_rows(rows, tmp_path / "rows.parquet")


def test_rows_of_several_commits_are_said(sources: list[VideoSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("redundancy.evaluation.run.commit", lambda: "aaa")
    assert "commit" not in say_what_ran(run(Study(), sources, tmp_path, labels=("a",)))
    monkeypatch.setattr("redundancy.evaluation.run.commit", lambda: "bbb")
    said = say_what_ran(run(Study(), sources, tmp_path))
    assert said.splitlines()[-1] == "  rows were computed at several commits: aaa, bbb; `fresh` computes all again"


def test_conditions_and_rows_that_do_not_fit_are_refused(sources: list[VideoSource], tmp_path: Path):
    with pytest.raises(ValueError, match="'a' given more than once"):
        run(Study(), sources, tmp_path, labels=("a", "a"))

    def other(source: VideoSource, conditions: Sequence[Named]) -> VideoResult:
        return VideoResult([{"condition": "b"}], {})

    result = run_videos(sources[:1], named("a"), other, out=tmp_path, context={})
    assert "rows of the conditions ['b'] made, expected those of ['a']" in result.rows["error"][0]


def test_a_video_without_rows_is_measured(sources: list[VideoSource], tmp_path: Path):
    for stored in (0, 1):
        result = run_videos(sources[:1], named("a"), lambda s, c: VideoResult([], {}), out=tmp_path, context={})
        assert (len(result.rows), len(result.facts), result.stored) == (0, 1, stored)


def test_rows_of_another_folder_are_taken_and_nothing_is_written_there(sources: list[VideoSource], tmp_path: Path):
    run(Study(), sources[:2], tmp_path / "other", labels=("a",))
    before = {p: p.read_bytes() for p in (tmp_path / "other").rglob("*") if p.is_file()}
    study = Study()
    result = run_videos(
        sources,
        named("a", "bb"),
        study.compute,
        out=tmp_path / "out",
        context={"version": 1},
        also=[tmp_path / "other"],
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

    def compute(source: VideoSource, conditions: Sequence[Named]) -> VideoResult:
        return VideoResult(
            [{"condition": c.label, "value": float(source.load(frames=2).frames.mean())} for c in conditions], {}
        )

    with VideoReader(timeout=30) as reader:
        sources = list_videos([folder], reader=reader)
        result = run_videos(sources, named("a"), compute, out=tmp_path / "out", context={})
    hostile = {f"{name}.mp4" for name in ("fifo", "loop", "zero", "folder", "empty", "text", "cut")}
    assert set(result.errors) == hostile
    write_rows(result.rows, tmp_path / "rows.parquet")
    assert "5 measured, 7 failed" in say_what_ran(result)


def test_rows_of_a_key_are_computed_once(tmp_path: Path):
    calls = []

    def compute() -> pd.DataFrame:
        calls.append(1)
        return pd.DataFrame({"value": [1.0]})

    for _ in range(2):
        with open_store(tmp_path) as store:
            assert store.rows_of("k", compute)["value"].tolist() == [1.0]
    assert len(calls) == 1
