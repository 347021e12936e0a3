"""The profile of redundancy: rows of all metrics, means and scores by hand, kinds of videos."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from redundancy.evaluation.statistics.profile import OUTPUT_UNITS
from redundancy.metrics.table import METRICS
from redundancy.paths import data_folder
from redundancy.recording import open_dataset
from studies.redundancy_profile import PROFILED, STUDY, Options

SMALL = Options(limit=5, null_draws=3, frames=16)  # the first five clips: 2, 3 and 4 scenes


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "redundancy_profile"
    STUDY.run(replace(SMALL, out=out))
    return out


@pytest.fixture
def rows(stored: Path) -> pd.DataFrame:
    return pd.read_parquet(stored / "rows.parquet")


@pytest.fixture
def summary(stored: Path) -> xr.Dataset:
    return open_dataset(stored / "summary.zarr").load()


def test_all_default_metrics_have_rows(rows: pd.DataFrame) -> None:
    defaults = {n for n, m in METRICS.items() if m.default and m.group in ("temporal", "visual", "trajectory")}
    assert set(PROFILED) == defaults == set(rows["condition"])
    assert not rows.duplicated(["video", "statistic"]).any()
    assert len(set(rows.groupby("video").size())) == 1
    assert {o for n in defaults for o in METRICS[n].dims} == set(rows["output"])


def test_scores_are_there_for_the_nulls_that_suit(rows: pd.DataFrame) -> None:
    for name in PROFILED:
        of = rows[(rows["output"] == name) & (rows["condition"] == name)]
        if not of["value"].isna().all():
            for null in ("shuffle_frames", "shuffle_tokens", "gaussian"):
                assert of[f"p_{null}"].notna().any() == (null in METRICS[name].nulls), (name, null)
    assert rows.loc[rows["output"] != rows["condition"], "p_gaussian"].isna().all()


def test_known_scenes_stand_out_from_shuffled_frames(summary: xr.Dataset) -> None:
    at = summary.sel(measure="segment_contrast", kind="all", null="shuffle_frames")
    assert float(at["difference"].sel(statistic="low")) > 0
    assert float(at["value"].sel(statistic="n")) == 5


def test_means_by_hand(rows: pd.DataFrame, summary: xr.Dataset) -> None:
    at = rows[rows["statistic"] == "curvature(scaling=unit)"]
    here = summary.sel(measure="curvature(scaling=unit)")
    for kind, part in [("all", at), *at.groupby("kind")]:
        mean = here.sel(kind=kind, statistic="estimate")
        assert float(mean["value"]) == pytest.approx(part["value"].mean(), rel=1e-12)
        of_null = mean.sel(null="gaussian")
        assert float(of_null["z"]) == pytest.approx(part["z_gaussian"].mean(), rel=1e-12)
        shift = (part["value"] - part["null_mean_gaussian"]).mean()
        assert float(of_null["difference"]) == pytest.approx(shift, rel=1e-9)  # sums of the same float64
        assert int(here["value"].sel(kind=kind, statistic="n")) == len(part)
    assert {str(k) for k in summary["kind"].values} == {*at["kind"], "all"}


def test_labels_and_units(summary: xr.Dataset) -> None:
    units = dict(zip(map(str, summary["measure"].values), map(str, summary["units"].values), strict=True))
    assert units["correlation_length"] == units["run_length_seconds"] == "s"
    assert units["run_length"] == "frames"
    assert units["turning_angle(scaling=raw)"] == "degrees"
    assert units["speed(scaling=raw)"] == "feature units per frame"
    assert units["speed_per_second(scaling=raw)"] == OUTPUT_UNITS["speed_per_second"] == "feature units per second"
    assert units["motion_compensated_similarity"] == units["censored"] == "1"
    assert not any(";" in unit for unit in units.values())
    shown = summary["measure"].values[summary["shown"].values.astype(bool)]
    assert [str(s).partition("(")[0] for s in shown] == list(PROFILED)  # each once, in the order of the table
    assert {"static_fraction(tau=0.9)", "speed(scaling=unit)"} <= set(map(str, shown))
    assert not {"static_fraction(tau=0.8)", "speed_per_second(scaling=unit)"} & set(map(str, shown))
    assert summary.attrs["least_p"] == 1 / 4


def test_draws_differ_between_videos_and_not_between_runs(tmp_path: Path) -> None:
    metrics = ("token_persistence",)
    one, again, other = (
        STUDY.run(replace(SMALL, limit=1, metrics=metrics, seed=seed, out=tmp_path / name))
        for name, seed in (("one", 0), ("again", 0), ("other", 1))
    )
    assert one["null_mean"].equals(again["null_mean"])
    assert not one["null_mean"].equals(other["null_mean"])
    rows = pd.read_parquet(tmp_path / "one" / "rows.parquet")
    same = shutil.copy(data_folder() / "clips" / "clip_001.mp4", tmp_path / "renamed.mp4")
    second = STUDY.run(replace(SMALL, videos=(same,), metrics=metrics, out=tmp_path / "second"))
    assert float(second["null_mean"][0, 0, 0, 0]) != rows["null_mean_shuffle_frames"].iloc[0]


def test_the_users_own_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for i in range(2):
        shutil.copy(data_folder() / "clips" / f"clip_00{i}.mp4", folder)
    metrics = ("segment_contrast", "token_persistence", "effective_rank")
    options = Options(videos=(str(folder),), metrics=metrics, nulls=("gaussian",), null_draws=2, out=tmp_path / "out")
    summary = STUDY.run(options)
    assert summary["kind"].values.tolist() == ["user", "all"]
    assert summary["null"].values.tolist() == ["gaussian"]
    assert np.isnan(summary["value"].sel(measure="segment_contrast", statistic="estimate")).all()  # no scenes known
    assert np.isfinite(summary["value"].sel(measure="effective_rank", statistic="estimate")).all()
    assert "told apart (q < 0.05) by: no measure" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"metrics": ("speeds",)}, r"metrics=\['speeds'\] given, expected each once"),
        ({"metrics": ()}, r"metrics=\[\] given"),
        ({"nulls": ("gaussian", "gaussian")}, "expected each once"),
        ({"null_draws": 1}, "null_draws must be at least 2, given 1"),
    ],
)
def test_wrong_options_are_refused(option: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Options(**option)  # type: ignore[arg-type]
