"""The first study, from the command line to the redrawn figure."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from redundancy.paths import data_folder
from redundancy.recording import open_dataset
from studies import ablate_segments, figures
from studies.ablate_segments import Options, measures_of


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "ablate_segments"
    ablate_segments.main(Options(limit=8, seeds=5, frames=16, out=out))
    return out


def test_everything_is_written(finished: Path):
    names = {p.name for p in finished.iterdir()}
    assert {"rows.parquet", "summary.zarr", "example.json", "ablate_segments.png", "ablate_segments.svg"} <= names
    rows = pd.read_parquet(finished / "rows.parquet")
    assert set(measures_of(Options())) <= set(rows.columns)
    assert rows.groupby(["video", "setting"]).size().eq(6).all()  # one row, and five draws of random cuts


def test_random_cuts_have_as_many_segments(finished: Path):
    rows = pd.read_parquet(finished / "rows.parquet")
    counts = rows.groupby(["video", "setting"])["segments"].nunique()
    assert (counts == 1).all()


def test_summary_is_the_mean_over_clips_with_provenance(finished: Path):
    summary = open_dataset(finished / "summary.zarr").load()
    rows = pd.read_parquet(finished / "rows.parquet")
    setting = "agglomerative(segments=4)"
    own = rows[(rows["setting"] == setting) & ~rows["control"].astype(bool)].set_index("video").sort_index()
    random = (
        rows[(rows["setting"] == setting) & rows["control"].astype(bool)].groupby("video")["f1"].mean().sort_index()
    )
    at = summary.sel(setting=setting, measure="f1")
    assert float(at["value"].sel(statistic="mean")) == pytest.approx(own["f1"].mean())
    assert float(at["difference"].sel(statistic="mean")) == pytest.approx((own["f1"] - random).mean())
    assert float(at["value"].sel(statistic="videos")) == 8
    assert {"weights_sha256", "libraries", "commit", "model", "device", "interval", "cut_tolerance"} <= set(
        summary.attrs
    )
    assert len(summary.attrs["weights_sha256"]) == 64


def test_scene_cuts_are_found_better_than_by_chance(finished: Path):
    at = open_dataset(finished / "summary.zarr").sel(setting="static_windows(tau=0.8)", measure="f1")
    assert float(at["difference"].sel(statistic="low")) > 0


def test_figures_are_redrawn_without_a_model(finished: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("redundancy.models.load.load_model", None)
    drawn = finished / "ablate_segments.svg"
    before = drawn.read_bytes()
    drawn.unlink()
    written = figures.main(figures.Options(results=finished.parent))
    assert drawn in written
    assert drawn.read_bytes() == before


def test_the_users_own_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "mine"
    folder.mkdir()
    for i in range(2):
        shutil.copy(data_folder() / "clips" / f"clip_00{i}.mp4", folder)
    (folder / "broken.mp4").write_bytes(b"nothing")
    out = tmp_path / "out"
    summary = ablate_segments.main(Options(videos=(folder,), seeds=2, segments=(2,), thresholds=(0.9,), out=out))
    assert np.isnan(summary["value"].sel(measure="f1", statistic="mean")).all()
    assert np.isfinite(summary["value"].sel(measure="within", statistic="mean")).all()
    assert "1 failed" in capsys.readouterr().out
    assert json.loads((out / "example.json").read_text())["known_cuts"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--segmenters", "dyseq"], "unknown segmenters ['dyseq']"),
        (["--model", "no/such-model"], "neither a folder, nor bundled"),
        (["--limit", "0"], "limit must be at least 1"),
    ],
)
def test_command_line_errors_are_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    assert run_module("studies.ablate_segments", monkeypatch, "--out", str(tmp_path), *arguments) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert "Traceback" not in printed.err


def run_module(name: str, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    """The exit status of `python -m`, in this process: a new one takes seconds to import what is here already."""
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    monkeypatch.delitem(sys.modules, name, raising=False)  # runpy warns of one that is imported already
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        return stop.code
    return None


def test_help_says_what_every_option_means(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run_module("studies.ablate_segments", monkeypatch, "--help") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: python -m studies.ablate_segments")
    assert "Parameters" not in printed
    for option in ("--model", "--videos", "--frames", "--segmenters", "--seeds", "--out", "--limit"):
        assert option in printed


def test_studies_are_listed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    assert run_module("studies.__main__", monkeypatch) is None
    assert "python -m studies.ablate_segments" in capsys.readouterr().out


def test_fastvid_is_compared_at_equal_numbers_of_tokens(finished: Path):
    summary = open_dataset(finished / "summary.zarr").load()
    rows = pd.read_parquet(finished / "rows.parquet")
    setting = "static_windows(tau=0.8)"
    own = rows[(rows["setting"] == setting) & (rows["seed"] == -1)].set_index("video").sort_index()
    drawn = rows[(rows["setting"] == setting) & (rows["seed"] >= 0)]
    differences = []
    for video, row in own.iterrows():
        of_video = drawn[drawn["video"] == video]
        equal = of_video[of_video["kept_0.25"] == row["kept_0.25"]]["error_0.25"]
        if len(equal):
            differences.append(row["error_0.25"] - equal.mean())
    at = summary["difference"].sel(setting=setting, measure="error_0.25")
    assert differences
    assert float(at.sel(statistic="mean")) == pytest.approx(np.mean(differences))
    assert float(at.sel(statistic="videos")) == len(differences)
    assert (rows["kept_0.25"] <= 0.25).all()
    assert (rows["error_0.1"] >= rows["error_0.25"]).mean() > 0.95


def test_the_model_answers_at_the_least_retention(finished: Path):
    assert "accuracy_0.25" not in measures_of(Options())
    setting, rows = "dyseg(c=4, tau=0.9)", pd.read_parquet(finished / "rows.parquet")
    own = rows[(rows["setting"] == setting) & ~rows["control"].astype(bool)]["accuracy_0.1"]
    summary = open_dataset(finished / "summary.zarr").load()
    at = summary["value"].sel(measure="accuracy_0.1", setting=setting, statistic="mean")
    assert 0 < float(at) == pytest.approx(own.mean())
    with pytest.raises(ValueError, match="retentions is empty"):
        Options(retentions=())
