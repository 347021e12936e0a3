"""The life of a study, of every study: what is computed, what is taken from store, what is refused, what is drawn."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import redundancy as rd
from redundancy.command_line import parsed
from redundancy.evaluation.cells import NothingMeasuredError
from redundancy.evaluation.statistics.aggregate import STATISTIC
from redundancy.evaluation.statistics.join import join_summaries
from redundancy.evaluation.tables import Table
from redundancy.metrics.registry import FACTS
from redundancy.models import VideoLLM
from redundancy.paths import data_folder
from redundancy.pruning import METHODS, FastVID
from redundancy.pruning.table import MethodEntry
from redundancy.recording import open_dataset, save_dataset
from redundancy.records import RECORDS
from studies import figures
from studies.core.run import draw
from studies.core.study import Study
from studies.registry import STUDIES
from tests.studies.conftest import ALIKE, SMALL, Ran

Opened = list[tuple[str, list[str]]]

MORE: dict[str, dict[str, Any]] = {  # options that add conditions to those of SMALL
    "ablate_segments": {"segments": (2, 4, 1)},
    "redundancy_profile": {"metrics": ("transition_similarity", "speed", "effective_rank")},
    "efficiency": {"retentions": (0.5, 0.25)},
} | {
    name: {"methods": ("fastvid", "random_tokens", "uniform_tokens")}
    for name in ("position_drift", "attention_lost", "method_agreement", "retention_curve", "metric_prediction")
}
MORE |= {
    "ablate_budget": {"only": ("ends", "left over")},
    "ablate_inner": {"only": ("attention of", "HoliTom", "merger, half goes")},
    "frame_scaling": {"methods": ("vcast", "uniform_tokens")},
    "temporal_order": {"methods": ("vcast", "uniform_tokens")},
}
APART: dict[str, tuple[str, ...]] = {  # columns that tell rows apart, beside video and condition
    "ablate_segments": ("variant", "seed"),
    "redundancy_profile": ("statistic",),
    "position_drift": ("seed", "variant", "variant_seed"),
    "attention_lost": ("seed", "skill", "layer", "source"),
    "method_agreement": ("seed",),
    "retention_curve": ("seed", "question"),
    "metric_prediction": ("seed", "question"),
    "efficiency": ("repeat",),
    "ablate_inner": ("variant", "seed"),
    "frame_scaling": ("seed",),
    "temporal_order": ("seed", "question"),
    **dict.fromkeys(("ablate_budget", *ALIKE), ("variant", "seed")),
}
TOWER_RUNS = {
    "frame_scaling": 4,
    "temporal_order": 10,
    "retention_curve": 4,
}  # of two clips, which others show once each
STORED = [name for name in STUDIES if name != "efficiency"]  # whose times are never taken from store
OUTER = ("condition", "measure", "statistic")  # dims of every summary
MAIN = {"metric_prediction": "correlation"}  # the variable of the summary that is not `value`


def labels(ran: Ran, options: Any = None) -> list[str]:
    return [c.label for c in ran.study.conditions(ran.options if options is None else options)]


def computed(opened: Opened) -> set[str]:
    return {label for _, asked in opened for label in asked}


def same_rows(one: pd.DataFrame, other: pd.DataFrame, conditions: list[str] | set[str]) -> None:
    """The rows of some conditions, whatever order other conditions gave them and their columns."""
    parts = [rows[rows["condition"].isin(list(conditions))] for rows in (one, other)]
    parts = [part[sorted(parts[0].columns)].reset_index(drop=True) for part in parts]
    pd.testing.assert_frame_equal(*parts, check_exact=True)


def test_the_table_of_these_tests_is_that_of_the_studies():
    assert set(SMALL) == set(MORE) | set(ALIKE) == set(APART) == set(STUDIES)


# rows -----------------------------------------------------------------------------------------------------------------


def test_rows_are_unique_and_complete(every: Ran):
    each = every
    rows, apart = each.rows, list(APART[each.study.name])
    assert rows["error"].isna().all()
    assert not rows.duplicated(["video", "condition", *apart]).any()
    videos = sorted(rows["video"].unique())
    assert videos == ["clip_000.mp4", "clip_001.mp4"]
    # questions are about what is in a video: of other dims both videos have the same
    dims = ["condition", *(name for name in apart if name != "question")]
    of = {video: set(map(tuple, part[dims].fillna("-").to_numpy())) for video, part in rows.groupby("video")}
    assert of[videos[0]] == of[videos[1]]
    assert {row[0] for row in of[videos[0]]} == set(labels(each))
    about = rows.drop_duplicates("condition").set_index("condition")
    for condition in each.study.conditions(each.options):
        for name, value in condition.factors.items():
            found = about.loc[condition.label, name]
            assert found == value or (pd.isna(found) and pd.isna(value)), name
    assert rows["commit"].notna().all()
    assert set(rows["model"]) == {"tiny-llava-onevision"}
    assert {grid.partition("x")[2] for grid in rows["grid"]} == {"7x7"}
    assert "8x7x7" in set(rows["grid"])


@pytest.mark.parametrize("name", [name for name in STUDIES if name not in ("efficiency", "metric_prediction")])
def test_the_tower_runs_once_per_video(name: str, ran: Callable[[str], Ran]):
    assert ran(name).tower_runs == TOWER_RUNS.get(name, 2)


def test_rows_of_another_study_need_no_tower(ran: Callable[[str], Ran]):
    assert ran("metric_prediction").tower_runs == 0
    assert "Nothing to compute" in ran("metric_prediction").printed


def test_no_study_looks_inside_a_model():
    """A study asks sessions: it registers no hook, runs no processor, and knows no family and no other study's file."""
    files = {name: Path(str(figures.__file__)).with_name(f"{name}.py").read_text() for name in STUDIES}
    for name, text in files.items():
        text = re.sub(r'"(?:fastvid|holitom|vcast)/[\w-]+"', "", text)  # published tables
        found = re.findall(r"register_\w*hook|\.prepare\(|processor|\.family|llava|qwen", without_docstring(text))
        allowed = ["llava"] * text.count('"llava_video"') + ["llava"] * text.count('"llava-onevision-0.5b')
        assert sorted(found) == allowed, name


def without_docstring(text: str) -> str:
    return text.split('"""', 2)[2]


# what is written ------------------------------------------------------------------------------------------------------


def test_tables_and_figures_are_written_again_without_a_model(each: Ran, tmp_path: Path, monkeypatch: Any):
    """Figures byte for byte, and the formats of papers beside them."""

    def no_model(*_: Any, **__: Any) -> Any:
        raise AssertionError("a figure needs no model")

    monkeypatch.setattr("redundancy.models.load_model", no_model)
    out = tmp_path / each.study.name
    shutil.copytree(each.out / "summary.zarr", out / "summary.zarr")
    written = {path.name for path in draw(each.study, out, ("csv", "latex", "pdf"))}
    assert written == {p.name for p in out.iterdir() if p.suffix in (".png", ".svg", ".pdf", ".csv", ".tex")}
    figures = {f"{each.study.name}_{ending}".rstrip("_") for ending in each.study.figures}
    assert {name for name in written if name.endswith(".pdf")} == {f"{name}.pdf" for name in figures}
    for name in (f"{name}.{suffix}" for name in figures for suffix in ("png", "svg")):
        assert (out / name).read_bytes() == (each.out / name).read_bytes(), name
    tables = [part for part in each.study.tables_of(each.summary) if isinstance(part, Table)]
    files = sorted(name.removesuffix(".csv") for name in written if name.endswith(".csv"))
    assert files == sorted(f"{each.study.name}{f'_{t.name}' if len(tables) > 1 else ''}" for t in tables)
    assert any(len(table.frame(each.summary)) for table in tables)
    for table in tables:
        stem = out / (f"{each.study.name}_{table.name}" if len(tables) > 1 else each.study.name)
        text, numbers = table.frame(each.summary), pd.read_csv(f"{stem}.csv")
        assert len(text) == len(numbers)
        pd.testing.assert_frame_equal(
            numbers, table.frame(each.summary, numbers=True).reset_index(drop=True), check_dtype=False
        )
        if text.empty:  # nothing is defined of two clips
            continue
        latex = Path(f"{stem}.tex").read_text()
        assert latex.count(r" \\") == len(text) + 1
        assert all(rule in latex for rule in (r"\toprule", r"\bottomrule"))


def test_one_command_repeats_it(each: Ran):
    """The command that is printed and stored gives the options again."""
    said = str(each.summary.attrs["command"])
    assert f"Again: {said} (with the model that was given in Python" in each.printed
    program, module, name, *arguments = shlex.split(said)
    assert [program, module, name] == ["python", "-m", f"studies.{each.study.name}"]
    assert replace(parsed(each.study.options, arguments), out=each.options.out) == each.options
    stored = json.loads(each.summary.attrs["options"])
    assert stored["frames"] == 8
    assert "out" not in stored


# store ----------------------------------------------------------------------------------------------------------------


def test_a_second_run_computes_nothing_and_says_so(
    each: Ran, tiny: VideoLLM, opened: Opened, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = each.copied(tmp_path / "copy")
    again = each.study.run(replace(each.options, out=out), model=tiny)
    printed = capsys.readouterr().out
    if not each.study.stored:
        assert computed(opened) == set(labels(each))
        assert "0 taken from stored results" in printed
        return
    assert opened == []
    assert "Nothing to compute: the results of all 2 videos are stored." in printed
    assert (out / "rows.parquet").read_bytes() == (each.out / "rows.parquet").read_bytes()
    xr.testing.assert_identical(again, each.summary)


@pytest.mark.parametrize("name", [n for n in STORED if n in MORE and n != "metric_prediction"])  # has rows of another
def test_a_new_condition_computes_only_itself(
    name: str, ran: Callable[[str], Ran], tiny: VideoLLM, opened: Opened, tmp_path: Path
):
    before = ran(name)
    options = replace(before.options, out=before.copied(tmp_path / "copy"), **MORE[name])
    before.study.run(options, model=tiny)
    new = set(labels(before, options)) - set(labels(before))
    assert new
    of = {video: sorted(x for name, asked in opened if name == video for x in asked) for video, _ in opened}
    assert list(of.values()) == [sorted(new)] * 2
    rows = pd.read_parquet(options.out / "rows.parquet")
    same_rows(before.rows, rows, labels(before))
    assert set(rows["condition"]) == set(labels(before, options))


@pytest.mark.parametrize("name", ["attention_lost", "method_agreement"])
def test_a_changed_default_of_a_method_is_computed_again(
    name: str, ran: Callable[[str], Ran], tiny: VideoLLM, opened: Opened, tmp_path: Path, monkeypatch: Any
):
    before = ran(name)
    out = before.copied(tmp_path / "copy")
    monkeypatch.setitem(METHODS, "fastvid", MethodEntry(FastVID(d=0.9)))
    before.study.run(replace(before.options, out=out), model=tiny)
    changed = {label for label in labels(before) if "fastvid" in label}
    assert computed(opened) == changed
    rows = pd.read_parquet(out / "rows.parquet")
    assert list(rows["condition"]) == list(before.rows["condition"])
    same_rows(before.rows, rows, set(labels(before)) - changed)
    with pytest.raises(AssertionError):
        same_rows(before.rows, rows, changed)


def test_changed_facts_of_a_metric_are_computed_again(
    ran: Callable[[str], Ran], tiny: VideoLLM, opened: Opened, tmp_path: Path, monkeypatch: Any
):
    before = ran("redundancy_profile")
    monkeypatch.setitem(FACTS, "speed", replace(FACTS["speed"], bounds=(0, 1e9)))
    before.study.run(replace(before.options, out=before.copied(tmp_path / "copy")), model=tiny)
    assert computed(opened) == {"speed"}


@pytest.mark.parametrize(
    ("options", "videos"),
    [
        ({"fresh": True}, ["clip_000.mp4", "clip_001.mp4"]),
        ({"retry": ("clip_001.mp4",)}, ["clip_001.mp4"]),
        ({"frames": 4}, ["clip_000.mp4", "clip_001.mp4"]),
        ({"seeds": 2}, ["clip_000.mp4", "clip_001.mp4"]),
        ({"decode_timeout": 30.0}, []),
    ],
)
def test_what_is_asked_for_is_computed_again(
    options: dict[str, Any],
    videos: list[str],
    ran: Callable[[str], Ran],
    tiny: VideoLLM,
    opened: Opened,
    tmp_path: Path,
):
    before = ran("method_agreement")
    before.study.run(replace(before.options, out=before.copied(tmp_path / "copy"), **options), model=tiny)
    assert opened == [(video, labels(before)) for video in videos]


def test_a_video_to_retry_is_one_of_the_videos(ran: Callable[[str], Ran], tiny: VideoLLM, tmp_path: Path):
    before = ran("method_agreement")
    with pytest.raises(ValueError, match=r"retry=\['clip_9.mp4'\] given, expected names of the videos"):
        before.study.run(replace(before.options, out=tmp_path, retry=("clip_9.mp4",)), model=tiny)


@pytest.mark.parametrize("name", ["redundancy_profile", "attention_lost", "method_agreement"])
def test_an_interrupted_run_goes_on_and_ends_in_the_same_bytes(
    name: str, ran: Callable[[str], Ran], tiny: VideoLLM, opened: Opened, tmp_path: Path, monkeypatch: Any
):
    whole = ran(name)
    options = replace(whole.options, out=tmp_path / "out")
    with monkeypatch.context() as patch:
        rows_on = Study.rows_on

        def stopped(self: Study, video: Any, conditions: Any, options: Any) -> Any:
            rows = rows_on(self, video, conditions, options)
            if video.source.name == "clip_001.mp4":
                raise KeyboardInterrupt
            return rows

        patch.setattr(Study, "rows_on", stopped)
        with pytest.raises(KeyboardInterrupt):
            whole.study.run(options, model=tiny)
    assert not (options.out / "rows.parquet").exists()
    opened.clear()
    whole.study.run(options, model=tiny)
    assert [video for video, _ in opened] == ["clip_001.mp4"]
    assert (options.out / "rows.parquet").read_bytes() == (whole.out / "rows.parquet").read_bytes()
    assert cells(options.out) == cells(whole.out)


def cells(out: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in (out / "cells").iterdir() if not file.name.startswith(".")}


# what fails -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def one_is_bad(tmp_path: Path) -> Path:
    """A folder with the first bundled clip, and the second as a file that is no video."""
    bundled, folder = data_folder() / "clips", tmp_path / "clips"
    folder.mkdir()
    records = json.loads((bundled / RECORDS).read_text())
    records["clips"] = records["clips"][:2]
    (folder / RECORDS).write_text(json.dumps(records))
    shutil.copy(bundled / "clip_000.mp4", folder)
    (folder / "clip_001.mp4").write_text("no video")
    return folder


@pytest.mark.usefixtures("opened")
def test_an_unreadable_video_is_a_row(
    each: Ran, tiny: VideoLLM, tmp_path: Path, one_is_bad: Path, capsys: pytest.CaptureFixture[str]
):
    options = replace(each.options, out=each.copied(tmp_path / "copy"), videos=(one_is_bad,))
    summary = each.study.run(options, model=tiny)
    rows = pd.read_parquet(options.out / "rows.parquet")
    failed = rows[rows["error"].notna()]
    told = ["clip_001.mp4", "NotAVideoError", "tiny-llava-onevision"]
    assert failed[["video", "error_type", "model"]].values.tolist() == [told]
    assert set(rows["video"]) == {"clip_000.mp4", "clip_001.mp4"}
    assert summary.attrs["videos"] == 1
    assert [text.partition(": ")[0] for text in summary.attrs["failed"]] == ["clip_001.mp4"]
    printed = capsys.readouterr().out
    assert f"1 measured, 1 failed; {int(each.study.stored)} taken from stored results" in printed
    assert "  clip_001.mp4: NotAVideoError: " in printed


def test_when_all_fail_nothing_is_summed_up(each: Ran, tiny: VideoLLM, tmp_path: Path, one_is_bad: Path):
    (one_is_bad / "clip_000.mp4").write_text("no video")
    options = replace(each.options, out=tmp_path / "out", videos=(one_is_bad,))
    with pytest.raises(NothingMeasuredError, match=r"no video could be measured: clip_000\.mp4: NotAVideoError: "):
        each.study.run(options, model=tiny)
    assert pd.read_parquet(options.out / "rows.parquet")["error_type"].tolist() == ["NotAVideoError"] * 2
    assert not (options.out / "summary.zarr").exists()


def test_two_studies_refuse_one_folder(ran: Callable[[str], Ran], tiny: VideoLLM, opened: Opened):
    one, other = ran("method_agreement"), ran("position_drift")
    with pytest.raises(FileExistsError, match=r"holds results of position_drift; give another folder"):
        one.study.run(replace(one.options, out=other.out), model=tiny)
    assert opened == []


def test_results_of_the_version_before_are_refused(
    ran: Callable[[str], Ran], tiny: VideoLLM, opened: Opened, tmp_path: Path
):
    before = ran("method_agreement")
    out = before.copied(tmp_path / "method_agreement")
    old = before.summary.assign_coords(statistic=["mean", "low", "high", "videos"])
    shutil.rmtree(out / "summary.zarr")
    save_dataset(old, out / "summary.zarr")
    told = r"method_agreement holds results of an earlier version.*; give another folder, or remove this one"
    with pytest.raises(FileExistsError, match=told):
        before.study.run(replace(before.options, out=out), model=tiny)
    with pytest.raises(FileExistsError, match=told):
        figures.main(figures.Options(studies=("method_agreement",), results=tmp_path))
    assert opened == []


# summary and figures --------------------------------------------------------------------------------------------------


def test_the_summary_has_the_one_labelled_shape(every: Ran):
    each = every
    summary = each.summary
    assert tuple(summary["statistic"].values) == STATISTIC
    assert summary["long_name"].dims == summary["units"].dims == ("measure",)
    assert (summary["long_name"] != "").all()
    main = summary[MAIN.get(each.study.name, "value")]
    assert {"measure", "statistic"} <= set(main.dims)
    if "condition" in summary.dims:
        assert {"method", "method_kind", "requested"} <= {str(n) for n, c in summary.coords.items()}
        told = [c for c in each.study.conditions(each.options) if c.kind != "reference"]  # not a way to treat a video
        assert summary["condition"].values.tolist() == [c.label for c in told]
        for condition in told:
            for name, value in condition.factors.items():
                found = summary[name].sel(condition=condition.label).item()
                assert found == value or (np.isnan(found) and np.isnan(value)), name
    for variable in summary.data_vars.values():
        if "statistic" not in variable.dims:
            continue
        assert variable.dims[-1] == "statistic"
        n = variable.sel(statistic="n")
        known = variable.sel(statistic="estimate").notnull()  # noqa: PD004 (of xarray)
        assert (n.where(known, 1) >= 1).all(), variable.name
        low, estimate, high = (variable.sel(statistic=s).values for s in ("low", "estimate", "high"))
        assert not (low > estimate + 1e-12).any(), variable.name  # NaN where there is none
        assert not (estimate > high + 1e-12).any(), variable.name
    assert summary.attrs["study"] == each.study.name
    assert summary.attrs["videos"] == 2
    assert {"model", "weights_sha256", "frames", "commit", "interval"} <= set(summary.attrs)
    xr.testing.assert_identical(open_dataset(each.out / "summary.zarr").load(), summary)


def test_summaries_are_tables_and_join(each: Ran, ran: Callable[[str], Ran]):
    summary, other = each.summary, ran("method_agreement").summary
    for name, variable in summary.data_vars.items():
        if "statistic" in variable.dims:
            table = rd.table(summary, str(name))
            assert len(table) == variable.sel(statistic="n").size
            assert {"measure", *STATISTIC, "text"} <= set(table.columns)
    # a study's own dims are chosen from before
    own = {str(d): summary[d].values[0] for d in summary["value"].dims if d not in OUTER} if "value" in summary else {}
    summary = summary.sel(own)
    if "condition" not in summary.dims:
        summary = summary.expand_dims(condition=["videos as they are"])
    joined = join_summaries([summary] if each.study.name == "method_agreement" else [summary, other])
    for one in (summary, other):
        for name, variable in one.data_vars.items():
            found = joined[name].sel({dim: one[dim].values for dim in variable.dims}).transpose(*variable.dims)
            np.testing.assert_array_equal(found.values, variable.values)


def test_figures_say_of_how_many_videos_they_are(every: Ran):
    assert len(every.figures) == len(every.study.figures)
    for figure in every.figures:
        foot = str(figure.get_supxlabel()).replace("\n", " ")
        assert re.match(r"tiny-llava-onevision, (2 videos( \(|; bars: )|1 video\.)", foot)


def test_what_is_printed(each: Ran):
    said = each.printed
    assert said.rstrip().endswith(f"Rows, summary and figures: {each.out}")
    assert "2 videos" in said or "2 pairs" in said
    assert "nan" not in said.lower().split()
