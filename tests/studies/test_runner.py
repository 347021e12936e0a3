"""The runner: what is stored is not computed again, a kill loses nothing, an unreadable video is a row."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from redundancy.paths import data_folder
from redundancy.sources import VideoSource, list_videos
from redundancy.video import load_video
from studies.runner import StudyRun, VideoResult, run_videos, say_what_ran, write_rows


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
