"""What studies are made of: conditions, options, rows to summary, tables."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from redundancy.evaluation.cells import NothingMeasuredError
from redundancy.evaluation.conditions import FULL, Condition, grid
from redundancy.evaluation.statistics.intervals import UNBOUNDED, is_marked
from redundancy.evaluation.statistics.measures import measures_of
from redundancy.evaluation.tables import Column, Table, cell_text
from redundancy.models import VideoLLM, load_model
from redundancy.pruning import FastVID, HoliTomInner
from studies.core.report import below_tables, replaced_sources
from studies.core.study import MethodOptions, Study, StudyOptions
from studies.core.summary import Contrast, Values, summarise_rows
from studies.registry import study
from tests.studies.conftest import SMALL

# conditions -----------------------------------------------------------------------------------------------------------


def test_methods_are_named_with_settings():
    made = grid(["fastvid", "FastVID(c=4)", "fastvid(0.2)", "average_pool", "fastvid:d=0.3;merger=drop"], (0.5, 0.1))
    assert [c.label for c in made] == [
        *("fastvid(0.5)", "fastvid(0.1)", "fastvid(0.5, c=4)", "fastvid(0.1, c=4)", "fastvid(0.2)", "average_pool"),
        *("fastvid(0.5, d=0.3, merger=drop)", "fastvid(0.1, d=0.3, merger=drop)"),
    ]
    assert [c.factors["method"] for c in made] == [
        *("fastvid", "fastvid", "fastvid(c=4)", "fastvid(c=4)", "fastvid", "average_pool"),
        *["fastvid(d=0.3, merger=drop)"] * 2,
    ]
    assert [c.factors["requested"] for c in made[:5]] == [0.5, 0.1, 0.5, 0.1, 0.2]
    assert np.isnan(made[5].factors["requested"])  # a fixed rate
    assert [c.kind for c in made[4:7]] == ["method", "control", "method"]
    assert made[3].method == FastVID(retention=0.1, c=4)
    with pytest.raises(ValueError, match="given more than once"):
        grid(["fastvid", "FastVID"], (0.5,))
    with pytest.raises(ValueError, match="no method given"):
        grid([], (0.5,))


def test_inner_methods_and_settings_make_a_product():
    made = grid(["fastvid", "random_tokens"], [0.5], inner=["holitom_inner:layer=2;merge_rate=0.5"], c=(4, 8))
    assert [c.label for c in made] == [
        *(f"fastvid({r}) + holitom_inner(layer=2)" for r in ("0.5, c=4", "0.5")),
        "random_tokens(0.5) + holitom_inner(layer=2)",  # which has no c
    ]
    assert all(c.inner == (HoliTomInner(layer=2, merge_rate=0.5),) for c in made)
    assert [c.factors.get("c") for c in made] == [4, 8, None]
    assert made[0].factors["inner"] == "holitom_inner(layer=2)"


def test_a_digest_is_of_every_setting_and_of_nothing_else():
    condition = grid(["fastvid"], [0.5])[0]
    assert condition.digest == replace(condition, label="x", kind="control", factors={"y": 1}).digest
    others = [
        FULL,
        *grid(["fastvid"], [0.25]),
        *grid(["fastvid:c=4"], [0.5]),
        *grid(["fastvid"], [0.5], inner=["holitom_inner"]),
        replace(condition, frames=8),
        replace(condition, parts={"a": 1}),
        replace(condition, clip=str),
    ]
    assert len({c.digest for c in (condition, *others)}) == 1 + len(others)
    with pytest.raises(ValueError, match="the condition 'full' has no method"):
        _ = FULL.outer


def test_a_method_keeps_what_it_says_itself():
    assert grid("fastvid", 0.5) == grid(["fastvid"], [0.5])
    own: list[Any] = [FastVID(retention=0.3), "fastvid(0.2)", FastVID()]
    assert [c.label for c in grid(own, [0.5])] == ["fastvid(0.3)", "fastvid(0.2)", "fastvid(0.5)"]
    merged = grid(["fastvid:merger=drop;c=4", "fastvid", "random_tokens"], [0.5], merger=["cluster_mean", "drop"])
    assert [(c.label, c.factors.get("merger")) for c in merged] == [
        ("fastvid(0.5, c=4, merger=drop)", "drop"),
        ("fastvid(0.5, merger=cluster_mean)", "cluster_mean"),
        ("fastvid(0.5, merger=drop)", "drop"),
        ("random_tokens(0.5)", None),
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: grid("fastvid", mergr=["drop"]),
            r"mergr=\['drop'\] given, which no method has .*did you mean 'merger'",
        ),
        (lambda: grid("fastvid", merger="drop"), r"merger='drop' given, expected values in a list: merger=\[...\]"),
        (lambda: grid("fastvid", merger=[]), r"merger=\[\] given, expected values in a list"),
        (lambda: grid([]), "no method given"),
        (lambda: Condition(label="x", factors={"video": 1, "a": 2}), r"'x' has factors named \['video'\]"),
        (lambda: grid("random_tokens:seed=-1"), "seed=-1 given, expected 0 or more"),
    ],
)
def test_conditions_that_mean_something_else_are_refused(make: Any, message: str):
    with pytest.raises(ValueError, match=message):
        make()


def test_options_are_checked():
    with pytest.raises(ValueError, match="frames must be at least 1, given 0"):
        StudyOptions(frames=0)
    with pytest.raises(ValueError, match="no retention given"):
        MethodOptions(retentions=())
    with pytest.raises(ValueError, match="there is no method 'fastvids'"):
        MethodOptions(methods=("fastvids",))
    assert StudyOptions(out="~/x").out == Path.home() / "x"  # type: ignore[arg-type]


def test_a_study_has_one_way_to_measure():
    given: dict[str, Any] = {"name": "mine", "options": StudyOptions, "conditions": lambda options: [FULL]}
    with pytest.raises(ValueError, match="mine: expected one of measure and measure_all"):
        Study(**given)
    with pytest.raises(ValueError, match="mine: expected one of measure and measure_all"):
        Study(**given, measure=lambda *_: [], measure_all=lambda *_: [])


@pytest.mark.parametrize("name", ["attention_lost", "method_agreement", "position_drift", "retention_curve"])
def test_what_a_study_measures_has_words_and_bounds(name: str):
    chosen = study(name)
    for about in measures_of(chosen.measures_of(chosen.options(**SMALL[name]))):
        assert about.long_name.strip(), about.name
        assert about.bounds != UNBOUNDED, about.name


# a study that needs no model ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """A study of the frames alone.

    Parameters
    ----------
    column
        Name of what is measured.
    """

    column: str = "brightness"


def measure(video: Any, condition: Condition, options: Options) -> Iterator[dict[str, Any]]:
    yield {options.column: float(video.clip.frames.mean()) / 255, "frames_read": len(video.clip.frames)}


FRAMES = Study(
    name="frames",
    options=Options,
    conditions=lambda options: [
        Condition(label="all", kind="clip"),
        Condition(label="four", kind="clip", frames=4),
        Condition(label="reversed", kind="clip", clip=lambda clip: replace(clip, frames=clip.frames[::-1].copy())),
    ],
    measure=measure,
    depends=("column",),
    measures={"brightness": "mean of the pixels", "frames_read": "frames"},
    tables=(Table({"brightness": Column("brightness", ".2f")}), lambda summary: "and a line"),
)


def test_conditions_may_change_the_clip_and_the_frames(
    tiny: VideoLLM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    summary = FRAMES.run(Options(frames=8, limit=2, out=tmp_path), model=tiny)
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert rows.groupby("condition")["frames_read"].unique().map(list).to_dict() == {
        "all": [8],
        "four": [4],
        "reversed": [8],
    }
    assert summary["condition"].values.tolist() == ["all", "four", "reversed"]
    assert rows.groupby("condition")["grid"].unique().map(list).to_dict() == {
        "all": ["8x7x7"],
        "four": ["4x7x7"],
        "reversed": ["8x7x7"],
    }
    of = summary["value"].sel(measure="brightness", statistic="estimate")
    assert of.sel(condition="all") == pytest.approx(of.sel(condition="reversed").item(), abs=1e-9)  # in another order
    assert of.sel(condition="all") == pytest.approx(rows[rows["condition"] == "all"]["brightness"].mean(), abs=1e-12)
    assert "\n\nand a line\n\n" in capsys.readouterr().out


@pytest.mark.parametrize("column", ["error", "kind", "commit"])
def test_columns_of_the_runner_are_refused(column: str, tiny: VideoLLM, tmp_path: Path):
    options = Options(frames=4, limit=1, out=tmp_path, column=column)
    with pytest.raises(NothingMeasuredError, match=rf"rows with the columns \['{column}'\] made, expected other names"):
        FRAMES.run(options, model=tiny)


def changed(**changes: Any) -> Study:
    return replace(FRAMES, conditions=lambda options: [Condition(label="all", kind="clip", **changes)])


def test_a_factor_is_no_measure(tiny: VideoLLM, tmp_path: Path):
    options = Options(frames=4, limit=1, out=tmp_path)
    with pytest.raises(ValueError, match=r"columns \['brightness'\] with other values than the factors of these names"):
        changed(factors={"brightness": 3.0}).run(options, model=tiny)


def test_a_change_of_the_clip_gives_a_clip(tiny: VideoLLM, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    options, lock = Options(frames=4, limit=1, out=tmp_path), threading.Lock()
    with pytest.raises(NothingMeasuredError, match="clip of the condition 'all' returned None, expected a VideoClip"):
        changed(clip=lambda clip: None).run(options, model=tiny)
    summary = changed(clip=lambda clip: clip if lock else None).run(options, model=tiny)  # a lock has no digest
    assert summary["value"].sel(measure="frames_read", statistic="estimate").item() == 4
    assert "not stored, as it has no digest: all" in capsys.readouterr().out


@dataclass(frozen=True, kw_only=True)
class Asking(Options):
    """A study that asks something.

    Parameters
    ----------
    prompt
        What is asked beside the video.
    """

    prompt: str = "how many scenes ?"


def another_model(model: VideoLLM) -> Study:
    next(model.model.parameters()).data.mul_(1.5)
    return FRAMES


def another_rounding(model: VideoLLM) -> Study:
    torch.set_float32_matmul_precision("medium")
    return FRAMES


CHANGES: dict[str, Callable[[VideoLLM], Study]] = {
    "nothing": lambda model: FRAMES,
    "weights": another_model,
    "rounding": another_rounding,
    "prompt": lambda model: replace(FRAMES, options=Asking),
    "facts": lambda model: replace(FRAMES, facts=lambda video, options: {"more": 1}),
    "measure": lambda model: replace(FRAMES, measure=lambda *given: list(measure(*given))),
    "figures": lambda model: replace(FRAMES, figures={}, values={"value": Values(), "again": Values()}),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_rows_are_of_all_that_they_depend_on(change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    model, given = load_model("tiny-llava-onevision", device="cpu"), {"frames": 4, "limit": 1, "out": tmp_path}
    FRAMES.run(Asking(**given) if change == "prompt" else Options(**given), model=model)
    precision = torch.get_float32_matmul_precision()
    try:
        study_then = CHANGES[change](model)
        options = Asking(**given, prompt="which digit flash ?") if change == "prompt" else Options(**given)
        study_then.run(options, model=model)
    finally:
        torch.set_float32_matmul_precision(precision)
    stored = "Nothing to compute: the results of the video are stored." in capsys.readouterr().out
    assert stored == (change in ("nothing", "figures"))


def test_a_contrast_without_its_rows_is_absent_and_says_so():
    found = Contrast(plus="own", minus="anchors_alone").of(ROWS, {"kl": "KL"}, {"condition": ["a", "b"]})
    assert found.sizes == {"condition": 2, "measure": 1, "statistic": 4}
    assert (found.sel(statistic="n") == 0).all()
    assert found.sel(statistic="estimate").to_series().isna().all()
    assert found.attrs["absent"] == "no row has variant anchors_alone"


# rows to summary ------------------------------------------------------------------------------------------------------

ROWS = pd.DataFrame(
    {
        "condition": [*"aabb"] * 2,
        "video": ["v"] * 4 + ["w"] * 4,
        "method": [*"aabb"] * 2,
        "variant": ["own", "control"] * 4,
        "layer": ["10", "2"] * 4,
        "kl": [3.0, 1.0, 5.0, 2.0, 4.0, 1.0, 6.0, 3.0],
        "kept": [4, 4, 4, 4, 4, 4, 4, 8],
        "method_kind": "full",
        "requested": 1.0,
        "flag": [False, False, True, False] * 2,
    }
)
CONDITIONS = [Condition(label="b"), Condition(label="a")]


def test_variables_and_contrasts_of_a_summary():
    summary = summarise_rows(
        ROWS,
        {
            "value": Values(over=("condition", "layer"), where={"variant": "own"}),
            "difference": Contrast(plus="own", minus="control"),
            "at_equal": Contrast(plus="own", minus="control", equal=lambda name: "kept"),
        },
        measures={"kl": "KL divergence, nat", "absent": "what no row has"},
        conditions=CONDITIONS,
        flags=("flag",),
    )
    assert summary["condition"].values.tolist() == ["b", "a"]  # the order of the conditions
    assert summary["flag"].values.tolist() == [True, False]
    of = {name: v.sel(measure="kl", statistic="estimate").squeeze() for name, v in summary.data_vars.items()}
    assert of["value"].values.tolist() == [5.5, 3.5]
    assert of["difference"].values.tolist() == [3.0, 2.5]
    assert of["at_equal"].values.tolist() == [3.0, 2.5]  # of b the video v alone
    n = summary["at_equal"].sel(measure="kl", statistic="n")
    assert n.values.tolist() == [1, 2]
    assert (summary["value"].sel(measure="absent", statistic="n") == 0).all()
    layers = summarise_rows(ROWS, {"value": Values(over=("layer",))}, measures={"kl": "KL"}, conditions=CONDITIONS)
    assert layers["layer"].values.tolist() == ["2", "10"]


# tables ---------------------------------------------------------------------------------------------------------------


def counted(*videos: int) -> xr.Dataset:
    cells = np.array([[0.5, 0.4, 0.6, n] for n in videos])
    return xr.Dataset(
        {"value": (("condition", "statistic"), cells)}, coords={"statistic": ["estimate", "low", "high", "n"]}
    )


@pytest.mark.parametrize(
    ("videos", "expected"),
    [
        ((12, 12), "Means over 12 videos; 95% intervals: Student's t over videos"),
        ((25, 25), "Means over 25 videos; 95% intervals: percentile bootstrap over videos"),
        (
            (25, 6, 0),
            "Means over 25 videos (6 to 25 where a measure is not defined for all); 95% intervals: percentile "
            "bootstrap over videos, Student's t over videos where fewer than 20 enter",
        ),
    ],
)
def test_the_line_under_a_table(videos: tuple[int, ...], expected: str):
    assert below_tables(counted(*videos), max(videos)) == expected


@pytest.mark.parametrize(("videos", "marked"), [(7, False), (8, True), (40, True)])
def test_few_videos_mark_nothing(videos: int, marked: bool):
    assert is_marked(0.1, 0.9, videos) == marked
    assert not is_marked(-0.1, 0.9, videos)


def table_of(**more: Any) -> xr.Dataset:
    cells = np.array([[0.5, 0.4, 0.6, 9], [0.25, -0.5, 1.0, 9], [np.nan, np.nan, np.nan, 0]])
    return xr.Dataset(
        {"value": (("condition", "measure", "statistic"), cells[:, None])},
        coords={
            "condition": ["a(0.5)", "b", "c"],
            "measure": ["kl"],
            "statistic": ["estimate", "low", "high", "n"],
            "requested": ("condition", [0.5, np.nan, 1.0]),
            "achieved": ("condition", [0.49, 0.3, 1.0]),
        }
        | more,
    )


def test_a_table_shows_estimates_with_intervals():
    columns = {"KL": Column("kl", ".2f"), "of it": Column("kl", "+.0f", alone=True, scale=100)}
    frame = Table(columns).frame(table_of())
    assert frame.to_dict("list") == {
        "condition": ["a(0.5)", "b"],  # nothing is defined of c
        "requested": ["0.5", "fixed"],
        "achieved": ["0.490", "0.300"],
        "KL": ["0.50 [0.40, 0.60]", "0.25 [-0.50, 1.00]"],
        "of it": ["+50", "+25"],
    }
    assert Table(columns, nearest={"requested": 0.4}).frame(table_of())["condition"].tolist() == ["a(0.5)"]
    assert Table(columns, where={"achieved": 0.3}).frame(table_of())["condition"].tolist() == ["b"]
    assert Table(columns, by=Column("kl")).frame(table_of())["condition"].tolist() == ["a(0.5)", "b"]
    assert Table(columns, "Title:", where={"achieved": 1.0}).text(table_of()) == ""
    assert Table(columns, "Title:").text(table_of()).startswith("Title:\ncondition requested")


def test_the_text_of_a_cell():
    cell = xr.DataArray([0.5, 0.25, 0.75, 3], dims="statistic")
    assert cell_text(cell, "+.2f") == "+0.50 [+0.25, +0.75]"
    assert cell_text(cell, ".1f", alone=True) == "0.5"
    assert cell_text(xr.DataArray(0.5), ".1f") == "0.5"
    assert cell_text(cell * np.nan, ".1f") == "-"


def test_sources_that_were_replaced_are_said_once():
    rows = pd.DataFrame(
        {
            "method": ["a", "a", "b & a", "c"],
            "replaced": ["x for y", "x for y", "b: z for y; a: x for y", ""],
        }
    )
    assert replaced_sources(rows) == ["a: x for y", "b: z for y"]
    assert replaced_sources(rows.drop(columns="replaced")) == []
