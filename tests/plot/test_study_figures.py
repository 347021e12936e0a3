"""The figures of the studies, drawn of made-up summaries, and looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy import plot
from redundancy.plot.methods import names_of
from studies import efficiency
from studies.registry import STUDIES, study

# made-up summaries -------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
STATISTICS = ["estimate", "low", "high", "n"]
METHODS = {"fastvid": "method", "vcast": "method", "prunevid": "baseline", "random_tokens": "control"}
FIXED = {"prunevid"}
RETENTIONS = (0.5, 0.25, 0.1)
ATTRS = {"videos": 9, "model": "tiny", "interval": "95% intervals: Student's t over videos"}


def numbers(*shape: int) -> Any:
    """Estimates with intervals of 9 videos: `[..., statistic]`."""
    estimate = RNG.uniform(0.2, 0.8, shape)
    return np.stack([estimate, estimate - 0.1, estimate + 0.1, np.full(shape, 9.0)], -1)


def conditions(methods: Mapping[str, str] = METHODS, *, full: bool = True) -> dict[str, Any]:
    """Coordinates of the dim condition: every method at every retention, those of a fixed rate once."""
    rows = [("full model", "full", 1.0)] if full else []
    rows += [(m, k, r) for m, k in methods.items() for r in ((np.nan,) if m in FIXED else RETENTIONS)]
    method, kind, requested = zip(*rows, strict=True)
    achieved = [0.3 if np.isnan(r) else r for r in requested]
    named = {"method": method, "method_kind": kind, "requested": requested, "achieved": achieved}
    labels = [f"{m}({r:g})" for m, _, r in rows]
    return {"condition": labels} | {name: ("condition", list(column)) for name, column in named.items()}


def summary_of(measures: Sequence[str], variables: Sequence[str] = ("value",), **options: Any) -> xr.Dataset:
    """A summary of some measures over methods and retentions."""
    coords = conditions(**options) | {"measure": list(measures), "statistic": STATISTICS}
    shape = (len(coords["condition"]), len(measures))
    dims = ("condition", "measure", "statistic")
    return xr.Dataset({name: (dims, numbers(*shape)) for name in variables}, coords, ATTRS)


def of_curve() -> xr.Dataset:
    measures = ("correct", "agreement", "kl", "reconstruction_error", "attention_lost", "alignment_all")
    made = summary_of([*measures, "chance"])
    return made.assign(chance=(("skill", "measure", "statistic"), numbers(2, len(measures) + 1)))


def of_drift(*, merges: bool = True, behind: bool = True) -> xr.Dataset:
    measures = ["moved_cells", "moved_seconds", "coherence", "alignment", "distance_ratio", "frames_covered"]
    measures += ["cells_covered", "reconstruction_gap", "reconstruction_error", "turn_coverage"]
    made = summary_of(measures, ("renumbering", "merging", "against_random"), full=False)
    variants = ["own", "anchors_alone", "at_anchors", "renumbered", "random"]
    value = numbers(len(variants), *made["merging"].shape[:2])
    made["value"] = (("variant", *made["merging"].dims), value)
    if not merges:
        made["merging"] = made["merging"] * np.nan
    if not behind:
        made["value"] = made["value"].where(made["measure"] != "distance_ratio")
    merging = [merges and m in ("fastvid", "prunevid") for m in names_of(made["method"])]
    return made.assign_coords(variant=variants, merges=("condition", merging))


def of_lost() -> xr.Dataset:
    told = ["salience_attention_agreement", "salience_auc", "held"]
    measures = ["attention_lost", "expected", "least", "excess", "reached", "video_share", *told]
    layers, sources = ["0", "1", "2", "all"], ["received", "norm", "order"]
    made = summary_of(measures, ())
    dims = ("layer", "measure", "statistic")
    made["value"] = (("condition", *dims), numbers(made.sizes["condition"], 4, len(measures)))
    made["prediction"] = (("source", *dims), numbers(3, 4, len(measures)))
    made["video_share"] = (dims, numbers(4, len(measures)))
    kinds = ("source", ["salience", "salience", "reference"])
    return made.assign_coords(layer=layers, source=sources, source_kind=kinds)


def of_agreement() -> xr.Dataset:
    named = list(METHODS)
    rows = [(a, b, r) for r, (i, a), (j, b) in product(RETENTIONS, enumerate(named), enumerate(named)) if i <= j]
    first, second, requested = zip(*rows, strict=True)
    measures = ["anchor_jaccard", "anchor_excess", "source_jaccard", "budget_spearman", "anchor_excess_in_frames"]
    values = numbers(len(rows), len(measures))
    values[[a == b != "random_tokens" for a, b, _ in rows]] = np.nan
    of_condition = {
        "first": first,
        "second": second,
        "first_kind": [METHODS[m] for m in first],
        "second_kind": [METHODS[m] for m in second],
        "requested": requested,
    }
    coords = {name: ("condition", list(column)) for name, column in of_condition.items()}
    data = {"value": (("condition", "measure", "statistic"), values)}
    return xr.Dataset(data, coords | {"measure": measures, "statistic": STATISTICS}, ATTRS)


def of_prediction() -> xr.Dataset:
    coords = {
        "level": ["all settings", "equal retention"],
        "measure": ["achieved", "attention_lost"],
        "long_name": ("measure", ["share of tokens kept", "attention lost"]),
        "skill": ["all", "count", "where"],
        "statistic": STATISTICS,
    }
    dims = ("level", "measure", "skill", "statistic")
    return xr.Dataset({"correlation": (dims, numbers(2, 2, 3))}, coords, ATTRS)


def of_profile() -> xr.Dataset:
    measures = ["run_length", "static_fraction(tau=0.9)", "speed(scaling=unit)", "curvature(scaling=raw)"]
    kinds, nulls = ["1 scene", "2 scenes", "all"], ["shuffle_frames", "gaussian"]
    dims = ("kind", "measure", "null", "statistic")
    data = {
        "value": (("kind", "measure", "statistic"), numbers(3, 4)),
        "null_mean": (dims, numbers(3, 4, 2)),
        "z": (dims, numbers(3, 4, 2) * np.array([-90, 1, 900, 4000])[:, None, None]),
        "separation": (("measure", "statistic"), numbers(4)),
        "separation_chance": ("measure", np.full(4, 0.3)),
    }
    coords = {
        "measure": measures,
        "kind": kinds,
        "null": nulls,
        "statistic": STATISTICS,
        "group": ("measure", ["temporal", "temporal", "trajectory", "trajectory"]),
        "units": ("measure", ["frames", "1", "feature units", "1"]),
        "shown": ("measure", [True, True, True, False]),
    }
    return xr.Dataset(data, coords, ATTRS)


def of_segments(*, cuts: bool = True) -> xr.Dataset:
    named = [("fixed_interval", n) for n in (1, 2, 4)] + [("dyseg", n) for n in (2, 4)]
    labels = [f"{name}(segments={n})" for name, n in named]
    measures = ["segments", "f1", "across_cut", "contrast", "error_0.25", "error_0.1"]
    dims = ("condition", "measure", "statistic")
    data = {name: (dims, numbers(len(named), len(measures))) for name in ("value", "random_cuts", "difference")}
    data["value"][1][:, 0, 0] = [n for _, n in named]
    if not cuts:
        data["value"][1][:, 1, :3] = np.nan
    lengths = {labels[1]: [4, 4], labels[4]: [2, 2, 2, 2]}
    example = {"video": "clip.mp4", "frame_time": list(range(8)), "transition_similarity": [0.5] * 7}
    example |= {"known_cuts": [3] if cuts else None, "lengths": lengths}
    coords = {"condition": labels, "series": ("condition", [name for name, _ in named])}
    attrs = ATTRS | {"cut_tolerance": 1, "example": json.dumps(example)}
    return xr.Dataset(data, coords | {"measure": measures, "statistic": STATISTICS}, attrs)


def of_efficiency() -> xr.Dataset:
    return summary_of(
        [*efficiency.STAGES, "prefill", "first_token", "peak_language", "flops_fastvid"], ("value", "ratio")
    )


def of_study(name: str, *more: str, **attrs: Any) -> xr.Dataset:
    """A summary with the conditions and measures of a study under its own options."""
    chosen = study(name)
    options = chosen.options()
    told = chosen.conditions(options)
    measures = list(chosen.measures_of(options))
    factors = dict.fromkeys(key for c in told for key in c.factors)
    coords: dict[str, Any] = {"condition": [c.label for c in told], "measure": measures, "statistic": STATISTICS}
    coords |= {key: ("condition", [c.factors.get(key, np.nan) for c in told]) for key in factors}
    coords["achieved"] = ("condition", [0.3] * len(told))
    dims = ("condition", "measure", "statistic")
    variables = (*chosen.values, *chosen.contrasts, *more)
    return xr.Dataset({v: (dims, numbers(len(told), len(measures))) for v in variables}, coords, ATTRS | attrs)


def of_budget() -> xr.Dataset:
    time = np.arange(8.0)
    budgets = {name: [int(n) for n in RNG.integers(1, 49, 8)] for name in ("curvature", "uniform", "windows")}
    shown = {"video": "a.mp4", "budgets": budgets, "curvature": [1.0] * 8, "frame_time": time.tolist()}
    return of_study("ablate_budget", example=json.dumps({**shown, "known_cuts": [3], "retention": 0.25}))


def of_order() -> xr.Dataset:
    made, skills = of_study("temporal_order", "difference"), ["digit", "when", "first"]
    change = numbers(*made["value"].shape[:2], len(skills))
    dims = ("condition", "measure", "skill", "statistic")
    return made.assign(skill_difference=(dims, change)).assign_coords(skill=skills)


MADE: dict[str, dict[str, Callable[[], xr.Dataset]]] = {  # by study: summaries that its figures are drawn of
    "retention_curve": {"": of_curve},
    "position_drift": {"": of_drift, "nothing to show": partial(of_drift, merges=False, behind=False)},
    "attention_lost": {"": of_lost},
    "method_agreement": {"": of_agreement},
    "metric_prediction": {"": of_prediction},
    "redundancy_profile": {"": of_profile},
    "ablate_segments": {"": of_segments, "no cuts": partial(of_segments, cuts=False)},
    "efficiency": {"": of_efficiency},
    "ablate_budget": {"": of_budget},
    "temporal_order": {"": of_order},
    **{
        name: {"": partial(of_study, name)}
        for name in ("ablate_merging", "ablate_salience", "ablate_selection", "parity_gap", "placement")
    },
    **{name: {"": partial(of_study, name, "difference")} for name in ("ablate_inner", "frame_scaling")},
}
FIGURES: dict[str, tuple[Callable[[xr.Dataset], Figure], Callable[[], xr.Dataset]]] = {
    ", ".join(filter(None, (f"{name}_{ending}".rstrip("_"), case))): (draw, made)
    for name, summaries in MADE.items()
    for ending, draw in study(name).figures.items()
    for case, made in summaries.items()
}


def test_every_figure_of_every_study_is_drawn():
    assert set(MADE) == set(STUDIES)


def visible(ax: Axes, axis: str) -> list[Any]:
    return [t.get_window_extent() for t in getattr(ax, f"get_{axis}ticklabels")() if t.get_visible() and t.get_text()]


@pytest.mark.parametrize("name", FIGURES)
def test_labels_fit(name: str) -> None:
    draw, summary = FIGURES[name]
    figure = draw(summary())
    with plot.style():
        figure.canvas.draw()
    for ax in figure.axes:
        box, title = ax.get_window_extent(), ax.get_title(loc="left")
        across = [b for b in visible(ax, "x") if box.x0 - 1 <= (b.x0 + b.x1) / 2 <= box.x1 + 1]
        assert all(a.x1 <= b.x0 for a, b in pairwise(sorted(across, key=lambda b: b.x0))), f"x ticks of {title}"
        down = sorted(visible(ax, "y"), key=lambda b: b.y0)
        assert all(a.y1 <= b.y0 + 1 for a, b in pairwise(down)), f"y ticks of {title}"
        assert ax.yaxis.label.get_window_extent().height <= 1.2 * box.height, f"y label of {title}"
    foot = figure._supxlabel.get_text()  # type: ignore[attr-defined]
    assert foot in ("tiny, 9 videos; bars: 95% intervals: Student's t over videos.", "tiny, 1 video.")


def test_the_same_summary_is_the_same_file(tmp_path: Path) -> None:
    summary = of_lost()
    for name in ("a", "b"):
        plot.save(FIGURES["attention_lost"][0](summary), tmp_path / name)
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def texts(ax: Axes) -> str:
    return " ".join(" ".join(t.get_text().split()) for t in ax.texts)


def test_an_empty_panel_says_why_and_costs_no_legend() -> None:
    draw = FIGURES["position_drift"][0]
    figure = draw(of_drift(merges=False, behind=False))
    assert [texts(ax) != "" for ax in figure.axes] == [True, True, True, True, False, True]
    assert texts(figure.axes[0]).startswith("no method here merges")
    assert texts(figure.axes[5]).startswith("undefined on this family")
    assert [t.get_text() for t in figure.legends[0].texts] == list(METHODS)
    whole = draw(of_drift())
    assert [texts(ax) for ax in whole.axes] == [""] * 6
    assert [t.get_text() for t in whole.legends[0].texts] == list(METHODS)
