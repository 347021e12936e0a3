"""The profile of redundancy: rows as `measure` gives them, means and scores by hand, figures from stored results."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from studies.redundancy_profile_summary import (
    by_video,
    is_shown,
    rank_separation,
    separation,
    statistics_of,
    summary_of,
    unit_of,
)

import redundancy as rd
from redundancy.metrics.table import METRICS
from redundancy.paths import data_folder
from redundancy.recording import open_dataset
from redundancy.sources import list_videos
from studies import redundancy_profile
from studies.redundancy_profile import PROFILED, Options, draw, main, seed_of, told_apart

SMALL = Options(limit=5, draws=3, frames=16)  # the first five clips: 2, 3 and 4 scenes


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "redundancy_profile"
    main(replace(SMALL, out=out))
    return out


@pytest.fixture
def rows(stored: Path) -> pd.DataFrame:
    return pd.read_parquet(stored / "rows.parquet")


@pytest.fixture
def summary(stored: Path) -> xr.Dataset:
    return open_dataset(stored / "summary.zarr").load()


def test_all_default_metrics_have_rows(rows: pd.DataFrame):
    defaults = {n for n, m in METRICS.items() if m.default and m.group in ("temporal", "visual", "trajectory")}
    assert set(PROFILED) == defaults == set(rows["setting"])
    assert not rows.duplicated(["video", "output", "parameter"]).any()
    assert len(set(rows.groupby("video").size())) == 1
    assert {o for n in defaults for o in METRICS[n].dims} == set(rows["output"])


def test_rows_are_what_measure_says(rows: pd.DataFrame):
    source = list_videos(limit=1)[0]
    model = rd.load_model("tiny-llava-onevision")
    tokens = rd.video_tokens(model, source.load(model, frames=16))
    measured = rd.measure(tokens, metrics=["static_fraction"], null="all", draws=3, seed=seed_of(source, 0))
    at = rows[(rows["video"] == source.name) & (rows["output"] == "static_fraction")].set_index("parameter")
    assert len(at) == 6
    for tau in measured["tau"].values:
        row = at.loc[f"tau={tau:g}"]
        assert row["value"] == float(measured["static_fraction"].sel(tau=tau))
        for null in ("shuffle_frames", "shuffle_tokens", "gaussian"):
            here = {"tau": tau, "null": null}
            np.testing.assert_equal(row[f"z_{null}"], float(measured["static_fraction_z"].sel(here)))
            np.testing.assert_equal(row[f"p_{null}"], float(measured["static_fraction_p"].sel(here)))
            np.testing.assert_equal(row[f"null_mean_{null}"], float(measured["static_fraction_null_mean"].sel(here)))


def test_scores_are_there_for_the_nulls_that_suit(rows: pd.DataFrame):
    for name, metric in METRICS.items():
        main_rows = rows[(rows["output"] == name) & (rows["setting"] == name)]
        if name not in PROFILED or main_rows["value"].isna().all():
            continue
        for null in ("shuffle_frames", "shuffle_tokens", "gaussian"):
            assert main_rows[f"p_{null}"].notna().any() == (null in metric.nulls), (name, null)
    assert rows.loc[rows["output"] != rows["setting"], "p_gaussian"].isna().all()


def test_known_scenes_stand_out_from_shuffled_frames(summary: xr.Dataset):
    at = summary.sel(statistic="segment_contrast", kind="all", null="shuffle_frames")
    assert float(at["difference"].sel(bound="low")) > 0
    assert float(at["value_videos"]) == 5


def test_means_by_hand(rows: pd.DataFrame, summary: xr.Dataset):
    at = rows[(rows["output"] == "curvature") & (rows["parameter"] == "scaling=unit")]
    here = summary.sel(statistic="curvature(scaling=unit)")
    for kind, part in [("all", at), *at.groupby("kind")]:
        mean = here.sel(kind=kind, bound="mean")
        assert float(mean["value"]) == pytest.approx(part["value"].mean(), rel=1e-12)
        of_null = mean.sel(null="gaussian")
        assert float(of_null["z"]) == pytest.approx(part["z_gaussian"].mean(), rel=1e-12)
        shift = (part["value"] - part["null_mean_gaussian"]).mean()
        assert float(of_null["difference"]) == pytest.approx(shift, rel=1e-9)  # sums of the same float64
        assert int(here.sel(kind=kind)["value_videos"]) == len(part)
    assert {str(k) for k in summary["kind"].values} == {*at["kind"], "all"}


def test_labels_units_and_provenance(summary: xr.Dataset):
    assert {"weights_sha256", "commit", "libraries", "draws", "seed", "nulls", "videos", "salience"} <= set(
        summary.attrs
    )
    units = dict(zip(summary["statistic"].values, summary["units"].values, strict=True))
    assert units["correlation_length"] == units["run_length_seconds"] == "s"
    assert units["run_length"] == "frames"
    assert units["turning_angle(scaling=raw)"] == "degrees"
    assert units["speed(scaling=raw)"] == "feature units per frame"
    assert units["speed_per_second(scaling=raw)"] == "feature units per second"
    assert units["motion_compensated_similarity"] == units["censored"] == "1"
    shown = summary["statistic"].values[summary["shown"].values.astype(bool)]
    assert [s.partition("(")[0] for s in shown] == list(PROFILED)  # each metric once, in the order of the table


def test_units_of_every_output_are_words_of_the_facts():
    for name in PROFILED:
        assert unit_of(METRICS[name], name) in METRICS[name].unit
        assert ";" not in unit_of(METRICS[name], name)


def test_what_is_shown():
    assert is_shown(METRICS["static_fraction"], "static_fraction", "tau=0.9")
    assert not is_shown(METRICS["static_fraction"], "static_fraction", "tau=0.8")
    assert not is_shown(METRICS["speed"], "speed_per_second", "scaling=unit")


def made_rows(values: dict[str, list[float]]) -> pd.DataFrame:
    """Rows of one metric for kinds of videos; the null's mean is 1, z the value and p 1/20."""
    rows = [
        {"video": f"{kind}{i}", "kind": kind, "setting": "effective_frames", "output": "effective_frames"}
        | {"parameter": "", "value": value, "null_mean_gaussian": 1.0, "z_gaussian": value, "p_gaussian": p}
        for kind, of_kind in values.items()
        for i, (value, p) in enumerate(zip(of_kind, [float(np.float32(0.05)), 0.1, 0.2, 0.3], strict=False))
    ]
    return pd.DataFrame(rows)


def test_summary_of_made_rows():
    summary = summary_of(made_rows({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]}), ["gaussian"])
    at = summary.sel(statistic="effective_frames").squeeze("null")
    mean = at.sel(bound="mean")
    assert mean["value"].sel(kind=["a", "b", "all"]).values.tolist() == [2, 5, 3.5]
    assert mean["difference"].sel(kind=["a", "b", "all"]).values.tolist() == [1, 4, 2.5]
    assert mean["extreme"].sel(kind="a") == pytest.approx(1 / 3)  # 1 / 20 counts as 0.05 in float32 too
    assert at["value"].sel(kind="a", bound="low") >= 1
    assert float(mean["separation"]) == pytest.approx(27 / 35)  # ranks 1..6: between 2 * 3 * 1.5^2, total 17.5
    assert float(at["separation_chance"]) == pytest.approx(3.841 / 5, abs=1e-3)


def test_videos_that_could_not_be_read_enter_nothing():
    rows = made_rows({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    with_error = pd.concat([rows, pd.DataFrame({"video": ["c"], "kind": ["user"], "error": ["broken"]})])
    assert summary_of(with_error, ["gaussian"]).equals(summary_of(rows, ["gaussian"]))


def test_rank_separation_is_that_of_kruskal_and_wallis():
    rng = np.random.default_rng(0)
    for ties in (False, True):
        groups = [rng.normal(i, size=n) for i, n in enumerate((5, 7, 4))]
        groups = [np.round(group) for group in groups] if ties else groups
        expected = stats.kruskal(*groups).statistic / (16 - 1)
        assert float(rank_separation(*groups)) == pytest.approx(expected, rel=1e-12)
    many = [rng.normal(size=(3, n)) for n in (4, 5)]
    alone = [float(rank_separation(many[0][i], many[1][i])) for i in range(3)]
    assert rank_separation(*many).tolist() == pytest.approx(alone, rel=1e-12)
    apart = [np.arange(4.0) + 10 * k for k in range(3)]
    assert float(rank_separation(*apart)) == pytest.approx((1 - 1 / 9) / (1 - 1 / 144), rel=1e-12)
    assert float(rank_separation(np.array([1.0, 4.0]), np.array([2.0, 3.0]))) == 0
    assert np.isnan(rank_separation(np.ones(2), np.ones(3)))


def test_separation_finds_what_differs_and_nothing_else():
    rng = np.random.default_rng(1)
    kinds = np.repeat(["a", "b"], 20)
    values = np.stack([rng.normal(size=40), rng.normal(size=40) + 1.5 * (kinds == "b"), np.ones(40)], axis=1)
    dataset = xr.Dataset({"value": (("video", "statistic"), values)}, coords={"kind": ("video", kinds)})
    found = separation(dataset)
    assert found["separation_q"].values[1] < 1e-4
    assert found["separation_q"].values[0] > 0.05
    assert float(found["separation"][1, 0]) > float(found["separation_chance"][1]) > float(found["separation"][0, 0])
    assert np.isnan(found["separation"].values[2]).all()
    low, high = found["separation"].values[1, 1:]
    assert 0.2 < low < float(found["separation"][1, 0]) < high <= 0.76


def test_one_kind_is_not_told_apart():
    summary = summary_of(made_rows({"user": [1.0, 2.0, 3.0]}), ["gaussian"])
    assert np.isnan(summary["separation"]).all()
    assert told_apart(summary) == []
    assert summary["value"].sel(kind="all").equals(summary["value"].sel(kind="user").assign_coords(kind="all"))


def test_by_video_keeps_missing_statistics_apart():
    rows = made_rows({"a": [1.0, 2.0]}).iloc[:1]
    other = rows.assign(video="z", parameter="lag=1", value=7.0)
    table = statistics_of(pd.concat([rows, other]))
    made = by_video(pd.concat([rows, other]), table["statistic"].tolist(), ["gaussian"])
    assert np.array_equal(made["value"].values, [[1, np.nan], [np.nan, 7]], equal_nan=True)


def test_draws_differ_between_videos_and_not_between_runs():
    first, second = list_videos(limit=2)
    assert seed_of(first, 0) == seed_of(first, 0)
    assert len({seed_of(first, 0), seed_of(second, 0), seed_of(first, 1)}) == 3


def test_only_what_is_missing_is_computed(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "out"
    options = replace(SMALL, limit=1, out=out, metrics=("token_persistence",))
    main(options)
    asked: list[str] = []
    measure = rd.measure

    def noted(*arguments: object, metrics: list[str], **keywords: object) -> xr.Dataset:
        asked.extend(metrics)
        return measure(*arguments, metrics=metrics, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(rd, "measure", noted)
    main(replace(options, metrics=("token_persistence", "speed")))
    main(replace(options, metrics=("token_persistence", "speed")))
    assert asked == ["speed"]
    ours = pd.read_parquet(out / "rows.parquet").set_index(["output", "parameter"]).sort_index()
    whole = pd.read_parquet(stored / "rows.parquet")
    whole = whole[(whole["video"] == "clip_000.mp4")].set_index(["output", "parameter"]).sort_index()
    pd.testing.assert_frame_equal(ours, whole.loc[ours.index], check_exact=True)


def test_figures_need_stored_results_alone(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("drawing computes nothing")

    for owner, name in ((rd, "load_model"), (rd, "measure"), (redundancy_profile, "summary_of")):
        monkeypatch.setattr(owner, name, refuse)
    shutil.copytree(stored / "summary.zarr", tmp_path / "summary.zarr")
    written = draw(tmp_path)
    assert len(written) == 4
    for path in written:
        assert path.stat().st_size > 10_000
        if path.suffix == ".svg":
            assert path.read_bytes() == (stored / path.name).read_bytes()


def test_the_users_own_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "mine"
    folder.mkdir()
    for i in range(2):
        shutil.copy(data_folder() / "clips" / f"clip_00{i}.mp4", folder)
    (folder / "broken.mp4").write_bytes(b"nothing")
    metrics = ("segment_contrast", "token_persistence", "effective_rank")
    options = Options(videos=(str(folder),), metrics=metrics, nulls=("gaussian",), draws=2, out=tmp_path / "out")
    summary = main(options)
    assert summary["kind"].values.tolist() == ["user", "all"]
    assert summary["null"].values.tolist() == ["gaussian"]
    assert np.isnan(summary["value"].sel(statistic="segment_contrast")).all()  # no scenes are known
    assert np.isfinite(summary["value"].sel(statistic="effective_rank")).all()
    printed = capsys.readouterr().out
    assert "1 failed" in printed
    assert "told apart (q < 0.05) by: no measure" in printed
    assert (tmp_path / "out" / "redundancy_profile_scores.png").stat().st_size > 10_000


def test_no_readable_video_is_an_error(tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    with pytest.raises(ValueError, match=r"no video could be measured: .*broken\.mp4"):
        main(replace(SMALL, videos=(str(broken),), out=tmp_path / "out"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"metrics": ("speeds",)}, r"metrics=\['speeds'\] given, expected each once"),
        ({"metrics": ()}, r"metrics=\[\] given"),
        ({"nulls": ("gaussian", "gaussian")}, "expected each once"),
        ({"draws": 1}, "draws must be at least 2, given 1"),
        ({"frames": 0}, "frames must be at least 1, given 0"),
    ],
)
def test_wrong_options_are_refused(option: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        Options(**option)  # type: ignore[arg-type]


def test_every_family(family_name: str, tiny_folder: Callable[[str], Path], tmp_path: Path):
    metrics = (
        "segment_contrast",
        "token_persistence",
        "salience_concentration",
        "effective_rank",
        "spatial_smoothness",
    )
    options = Options(model=str(tiny_folder(family_name)), frames=8, limit=2, draws=2, metrics=metrics, out=tmp_path)
    summary = main(options)
    assert np.isfinite(summary["value"].sel(kind="all", bound="mean", statistic=list(metrics))).all()
    assert summary.attrs["architecture"] in family_name
    assert (tmp_path / "redundancy_profile.png").stat().st_size > 10_000
