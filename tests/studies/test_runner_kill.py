"""The runner under SIGKILL: whatever the moment, the same command goes on and ends in the same bytes."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from studies.runner import StudyRun, VideoResult, run_videos, write_rows

from redundancy.sources import VideoSource, list_videos

VIDEOS = 12
MOMENTS = 20
SETTINGS = ("a", "bb", "ccc")
PATIENCE = 60.0  # seconds until a process that does nothing is a failure


def compute(source: VideoSource, settings: Sequence[str]) -> VideoResult:
    """Rows that only the bytes of the file and the setting determine: numbers, lists, text that some videos lack."""
    content = source.path.read_bytes()
    rows: list[dict[str, Any]] = [
        {
            "setting": setting,
            "seed": seed,
            "value": sum(content) / (len(setting) + seed + 1),
            "undefined": float("nan") if seed else 1.0,
            "note": None if content[0] % 2 else f"{source.name} {setting}",
            "list": [len(setting), seed],
        }
        for setting in settings
        for seed in range(20)
    ]
    return VideoResult(rows, {"bytes": len(content)})


def study(folder: Path, out: Path) -> StudyRun:
    sources = list_videos([folder])
    result = run_videos(sources, SETTINGS, compute, out=out, context={"version": 1})
    write_rows(result.rows, out / "rows.parquet")
    return result


def study_on_a_slow_disk(folder: Path, out: Path) -> None:
    """The study where putting a file or a rename onto the disk takes a few ms, so that kills fall between the steps."""
    os.fsync = lambda opened: time.sleep(0.004)  # of a process that is killed anyway
    study(folder, out)


def cells(out: Path) -> list[Path]:
    return sorted((out / "cells").glob("*.parquet"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    draw = np.random.default_rng(0)
    for i in range(VIDEOS):
        (folder / f"{i:02d}.mp4").write_bytes(bytes([i]) + draw.bytes(1000))
    return folder


@pytest.fixture(scope="module")
def uninterrupted(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    study(videos, out)
    return out


def killed(videos: Path, out: Path, *, after: int, delay: float) -> BaseProcess:
    """Run the study in a process of its own and SIGKILL it `delay` seconds after so many cells are there."""
    context = multiprocessing.get_context("forkserver")  # imports once, not at every start
    context.set_forkserver_preload([__name__])
    process = context.Process(target=study_on_a_slow_disk, args=(videos, out))
    process.start()
    end = time.monotonic() + PATIENCE
    while len(cells(out)) < after:
        assert time.monotonic() < end
        assert process.is_alive() or len(cells(out)) >= after
        time.sleep(0.0005)
    time.sleep(delay)
    process.kill()
    process.join(PATIENCE)
    return process


def test_killed_at_random_moments_and_resumed_the_bytes_are_the_same(videos: Path, uninterrupted: Path, tmp_path: Path):
    draw = np.random.default_rng(20)
    expected = (uninterrupted / "rows.parquet").read_bytes()
    in_the_middle = 0
    for moment in range(MOMENTS):
        out = tmp_path / str(moment)
        after, delay = int(draw.integers(0, VIDEOS)), float(draw.uniform(0, 0.02))
        process = killed(videos, out, after=after, delay=delay)
        done = cells(out)
        before = {file: file.read_bytes() for file in done}
        in_the_middle += process.exitcode == -9 and 0 < len(done) < VIDEOS
        resumed = study(videos, out)
        assert (resumed.stored, resumed.computed) == (len(done), VIDEOS - len(done)), f"moment {moment}"
        assert all(file.read_bytes() == content for file, content in before.items()), "a stored cell was written again"
        assert not list(out.rglob("*.writing")), f"moment {moment}: half a file is left"
        assert (out / "rows.parquet").read_bytes() == expected, f"moment {moment}: after {after} cells, {delay} s"
        assert [f.read_bytes() for f in cells(out)] == [f.read_bytes() for f in cells(uninterrupted)]
    assert in_the_middle >= MOMENTS / 2  # or the test kills nothing that matters


def test_killed_again_and_again_every_life_goes_on_from_the_last(videos: Path, uninterrupted: Path, tmp_path: Path):
    stored = []
    for after in (2, 5, 9):
        killed(videos, tmp_path, after=after, delay=0.0)
        stored.append(len(cells(tmp_path)))
    assert stored == sorted(stored)
    assert study(videos, tmp_path).stored == stored[-1]
    assert (tmp_path / "rows.parquet").read_bytes() == (uninterrupted / "rows.parquet").read_bytes()
