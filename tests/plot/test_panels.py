"""A panel draws what the summary holds: values in lines, bars, cells and rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes

from redundancy import plot
from redundancy.plot.compose import foot
from redundancy.plot.looks import looks
from studies import efficiency
from studies.core import panels
from studies.core.panels import panel, values
from tests.plot.test_study_figures import (
    METHODS,
    RETENTIONS,
    of_agreement,
    of_curve,
    of_drift,
    of_efficiency,
    of_lost,
    of_prediction,
    of_profile,
    of_segments,
)


def axes_of(draw: plot.Panel, summary: xr.Dataset) -> Axes:
    """The axes on which a panel was drawn."""
    axes = plot.new_figure(1, 1, height=2.0)[1][0, 0]
    draw(axes, summary)
    return axes  # type: ignore[no-any-return]


def lines(axes: Axes) -> dict[str, Any]:
    """Points `[n, 2]` of every labelled line, those with intervals too."""
    with_bars = {c.get_label(): c.lines[0] for c in axes.containers if hasattr(c, "has_yerr")}
    plain = {line.get_label(): line for line in axes.get_lines() if not str(line.get_label()).startswith("_")}
    return {str(name): line.get_xydata() for name, line in (plain | with_bars).items()}


def of(summary: xr.Dataset, measure: str, method: str, **at: Any) -> Any:
    """Achieved share and estimate of a method, the smallest share first."""
    here = summary["value"].sel(measure=measure, statistic="estimate", **at)
    here = here.isel(condition=here["method"].values == method).sortby("achieved")
    return np.stack([here["achieved"].values, here.values], 1)


def test_over_retention() -> None:
    summary = of_curve()
    curves = {"random choice": {"measure": "kl"}}
    draw = panel(panels.over_retention, "correct", label="accuracy", levels={"chance": 0.25}, curves=curves)
    axes = axes_of(draw, summary)
    drawn = lines(axes)
    assert list(drawn) == ["random choice", "full model", "chance", *METHODS]
    for method in METHODS:
        np.testing.assert_array_equal(drawn[method], of(summary, "correct", method))
    full = summary["value"].sel(condition="full model(1)", measure="correct")
    assert (drawn["full model"][:, 1] == float(full[0])).all()
    assert (drawn["chance"][:, 1] == 0.25).all()
    kl = summary["value"].sel(measure="kl", statistic="estimate").sortby("achieved")
    np.testing.assert_array_equal(drawn["random choice"][:, 1], kl.values)
    segments = next(c for c in axes.containers if c.get_label() == "fastvid").lines[2][0].get_segments()
    here = summary["value"].sel(measure="correct", condition="fastvid(0.1)")
    np.testing.assert_allclose(segments[0][:, 1], here.values[1:3])
    assert axes.get_ylabel() == "accuracy"


def test_a_factor_and_a_dim_are_chosen_alike() -> None:
    summary = of_drift()
    axes = axes_of(panel(panels.over_retention, "coherence", at={"variant": "own", "merges": True}), summary)
    drawn = lines(axes)
    assert list(drawn) == ["fastvid", "prunevid"]
    np.testing.assert_array_equal(drawn["fastvid"], of(summary, "coherence", "fastvid", variant="own"))
    stacked = summary[["value"]].isel(condition=slice(3)).stack(row=("variant", "condition"))
    plain = stacked.reset_index("row").drop_vars("condition").rename(row="condition")
    again = values(plain, "coherence", at={"variant": "own"})
    np.testing.assert_array_equal(again, values(summary, "coherence", at={"variant": "own"})[:3])


@pytest.mark.parametrize(
    ("measure", "at", "message"),
    [
        ("corect", {}, r"value at measure='corect' given, expected one of \['correct'"),
        ("correct", {"variant": "own"}, r"value at variant='own' given, expected one of \[.*'method'"),
    ],
)
def test_unknown_names_are_told(measure: str, at: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        values(of_curve(), measure, at=at)


def test_sweep_over_a_measure() -> None:
    summary = of_segments()
    draw = panel(
        panels.sweep, "f1", x="segments", series="series", control="random_cuts", palette=plot.segmenter_colours
    )
    drawn = lines(axes_of(draw, summary))
    assert list(drawn) == ["random cuts", "fixed_interval", "dyseg"]
    np.testing.assert_array_equal(drawn["dyseg"][:, 0], [2, 4])
    f1 = summary["value"].sel(measure="f1", statistic="estimate").values
    np.testing.assert_array_equal(drawn["dyseg"][:, 1], f1[3:])
    np.testing.assert_array_equal(
        drawn["random cuts"][:, 1], summary["random_cuts"].sel(measure="f1", statistic="estimate")
    )


def test_sweep_of_pairs() -> None:
    summary = of_agreement()
    pair = "fastvid & vcast"
    draw = panel(panels.sweep, "anchor_excess", x="requested", series=("first", "second"), only=[pair])
    axes = axes_of(draw, summary)
    drawn = lines(axes)
    assert list(drawn) == [pair]
    here = summary["value"].isel(
        condition=(summary["first"] == "fastvid").values & (summary["second"] == "vcast").values
    )
    here = here.sel(measure="anchor_excess", statistic="estimate").sortby("requested")
    np.testing.assert_array_equal(drawn[pair], np.stack([sorted(RETENTIONS), here.values], 1))
    line, known = axes.containers[0].lines[0], looks(METHODS)
    assert (line.get_color(), line.get_marker()) == (known["fastvid"]["color"], known["vcast"]["marker"])
    assert line.get_markerfacecolor() == known["vcast"]["color"]


def test_by_layer() -> None:
    summary = of_lost()
    share = summary["video_share"].sel(measure="video_share", statistic="estimate")
    draw = panel(panels.by_layer, "held", variable="prediction", lines="source", share=share)
    axes = axes_of(draw, summary)
    drawn = lines(axes)
    assert list(drawn) == ["received", "norm", "order"]
    held = summary["prediction"].sel(measure="held", statistic="estimate", source="norm", layer=["0", "1", "2"])
    np.testing.assert_allclose(drawn["norm"], np.stack([[0, 1, 2], held.values], 1))
    assert axes.get_xticklabels()[1].get_text() == f"1\n{float(share[1]):.0%}"
    colours = {line.get_color() for line in (c.lines[0] for c in axes.containers)}
    assert not colours & {look["color"] for look in looks(METHODS).values()}
    methods = lines(axes_of(panel(panels.by_layer, "excess", at={"requested": 0.25}), summary))
    assert list(methods) == ["fastvid", "vcast", "random_tokens"]


def test_matrix() -> None:
    summary = of_agreement()
    axes = axes_of(panel(panels.matrix, "anchor_jaccard", at={"requested": 0.25}), summary)
    table = axes.get_images()[0].get_array()
    assert table is not None
    found = np.ma.filled(table, np.nan)
    here = summary["value"].sel(measure="anchor_jaccard", statistic="estimate")
    for row, a in enumerate(METHODS):
        for column, b in enumerate(METHODS):
            chosen = (here["first"] == b) & (here["second"] == a) & (here["requested"] == 0.25)
            expected = here.values[chosen.values] if column <= row else [np.nan]
            np.testing.assert_array_equal(found[row, column], expected[0])
    turned = summary.assign_coords(first=summary["second"], second=summary["first"])
    names = list(METHODS)
    axes = axes_of(panel(panels.matrix, "anchor_jaccard", at={"requested": 0.25}), turned)
    again = np.ma.filled(axes.get_images()[0].get_array(), np.nan)  # type: ignore[arg-type]
    order = [names.index(t.get_text()) for t in axes.get_yticklabels()]
    full = np.where(np.isnan(found), found.T, found)[np.ix_(order, order)]
    np.testing.assert_array_equal(np.where(np.isnan(again), again.T, again), full)


def test_stacked_bars() -> None:
    summary = of_efficiency()
    axes = axes_of(panel(panels.stacked_bars, efficiency.STAGES, label="ms"), summary)
    rows = [t.get_text() for t in axes.get_yticklabels()]
    assert rows[:3] == ["full model\nkeeps 100%", "fastvid\nkeeps 25%", "vcast\nkeeps 25%"]
    tower, decision = (c for c in axes.containers[:2])
    shown = summary["value"].sel(condition="fastvid(0.25)", statistic="estimate")
    assert decision[1].get_x() == tower[1].get_width() == float(shown.sel(measure="tower"))
    assert decision[1].get_width() == float(shown.sel(measure="decision"))
    assert axes.get_xlabel() == "ms"


def test_forest() -> None:
    summary = of_prediction()
    draw = panel(panels.forest, "correlation", at={"level": "equal retention"}, series="skill", limits=(-1, 1))
    axes = axes_of(draw, summary)
    assert [t.get_text() for t in axes.get_yticklabels()] == ["share of tokens kept", "attention lost"]
    here = summary["correlation"].sel(level="equal retention", skill="where")
    np.testing.assert_array_equal(lines(axes)["where"][:, 0], here.sel(statistic="estimate"))
    first = axes.collections[0].get_segments()[1]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(first[:, 0], summary["correlation"][1, 1, 0, 1:3])
    assert axes.get_xlim() == (-1, 1)


def test_an_empty_forest_keeps_its_rows() -> None:
    summary = of_prediction() * np.nan
    axes = axes_of(panel(panels.forest, "correlation", at={"level": "equal retention"}, series="skill"), summary)
    assert len(axes.get_yticklabels()) == 2
    assert axes.texts[0].get_text() == "correlation: undefined here"


def test_over_kinds() -> None:
    summary = of_profile()
    series = {
        "as they are": {"variable": "value"},
        "shuffled": {"variable": "null_mean", "null": "shuffle_frames"},
        "not run": {"variable": "null_mean", "null": "shuffle_tokens"},
    }
    axes = axes_of(panel(panels.over_kinds, "run_length", series=series), summary)
    drawn = lines(axes)
    assert list(drawn) == ["as they are", "shuffled"]
    expected = summary["null_mean"].sel(measure="run_length", null="shuffle_frames", statistic="estimate")
    np.testing.assert_array_equal(drawn["shuffled"][:, 1], expected[:2])
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2"]
    assert axes.get_ylabel() == "frames"


def test_one_clip_over_time() -> None:
    summary = of_segments()
    example = json.loads(summary.attrs["example"])
    axes = axes_of(panel(panels.similarity, example, label="cosine"), summary)
    np.testing.assert_array_equal(axes.get_lines()[0].get_xdata(), np.arange(7) + 0.5)
    palette = dict.fromkeys(example["lengths"], "k")
    axes = axes_of(panel(panels.segments, example, palette=palette), summary)
    assert [bar.get_width() for bar in axes.patches] == [4, 4, 2, 2, 2, 2]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["fixed_interval\n(2)", "dyseg\n(4)"]


def test_letters_legend_and_layout() -> None:
    summary = of_curve()

    def own(axes: Axes, given: xr.Dataset) -> None:
        assert given is summary
        axes.plot([0, 1], [0, 1], label="mine")

    figure = plot.compose(
        summary,
        {"one": own, "two": panel(panels.over_retention, "correct"), "three": own},
        height=4,
        layout=("ab", "ac"),
    )
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["(a) one", "(b) two", "(c) three"]
    assert [t.get_text() for t in figure.legends[0].texts] == [*METHODS, "mine", "full model"]
    spans = [ax.get_subplotspec().rowspan for ax in figure.axes]  # type: ignore[union-attr]
    assert [len(rows) for rows in spans] == [2, 1, 1]


def test_groups_of_small_panels() -> None:
    def own(axes: Axes, summary: xr.Dataset) -> None:
        axes.plot([0, 1], [0, 1])

    grouped = {"first": {"a": own, "b": own, "c": own}, "second": {"d": own}}
    figure = plot.compose(of_curve(), grouped, height=4, columns=2)
    assert [ax.get_title(loc="left").strip() for ax in figure.axes] == ["a", "b", "c", "d"]
    assert [t.get_text() for ax in figure.axes for t in ax.texts] == ["(a) first", "(b) second"]
    rows = [ax.get_subplotspec().rowspan.start for ax in figure.axes]  # type: ignore[union-attr]
    assert rows == [0, 0, 1, 2]
    assert not figure.legends


def test_the_foot_tells_of_how_many_videos() -> None:
    summary = of_curve()
    summary["value"][0, 0, 3], summary["value"][0, 1, 3] = 5, 0
    assert foot(summary) == (
        "tiny, 9 videos (5 to 9 where a measure is not defined for all); bars: 95% intervals: Student's t over videos."
    )
    alone = summary[["value"]].isel(measure=[2]).drop_attrs()
    alone["value"][..., 3] = 1
    assert foot(alone) == "1 video; bars: 95% intervals."
