"""The figures of the studies, as compositions of panels: drawn of made-up summaries, and looked at."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy import plot
from redundancy.plot import compose, readable
from redundancy.plot.methods import names_of
from studies.core.panels import (
    by_layer,
    forest,
    matrix,
    over_kinds,
    over_retention,
    panel,
    retention_near,
    segments,
    similarity,
    stacked_bars,
    sweep,
)

# retention_curve ---------------------------------------------------------------------------------------------------


def retention_curve(summary: xr.Dataset) -> Figure:
    """Accuracy, fidelity, drift and attention lost of every method and control over the achieved share of tokens."""
    over, chance = partial(panel, over_retention), {"chance": float(summary["chance"].mean())}
    panels = {
        "accuracy": over("correct", label="share of questions", levels=chance),
        "agreement with full model": over("agreement", label="share of questions"),
        "KL from the full model": over("kl", label="nat"),
        "reconstruction error": over("reconstruction_error", label="relative error"),
        "attention lost": over("attention_lost", label="share of attention"),
        "rotary alignment": over("alignment_all", label="rotary alignment"),
    }
    return compose(summary, panels, height=5.6, columns=3)


# position_drift ----------------------------------------------------------------------------------------------------


def position_drift(summary: xr.Dataset) -> Figure:
    """Distance of content and place, coherence and rotary alignment, and what renumbering changes in both."""
    nobody = "no method here merges: content and place are one"
    merged = partial(panel, over_retention, at={"variant": "at_anchors", "merges": True}, empty=nobody)
    panels = {
        "from content to anchor, in the picture": merged("moved_cells", label="cells"),
        "from content to anchor, in time": merged("moved_seconds", label="seconds"),
        "sources of an output agree on its rotation": merged("coherence", label="coherence"),
        "the anchor's rotation fits the content": merged("alignment", label="rotary alignment"),
        "what renumbering changes": panel(
            over_retention, "alignment", variable="renumbering", label="change of rotary alignment", zero=True
        ),
        "distance to the question, renumbered": panel(
            over_retention,
            "distance_ratio",
            at={"variant": "renumbered"},
            label="new / old",
            empty="undefined on this family: text has ids from before the end of the video",
        ),
    }
    return compose(summary, panels, height=7.6)


def position_drift_coverage(summary: xr.Dataset) -> Figure:
    """Frames and cells covered, error against k-means centres and random tokens, and what merging adds."""
    own, random = partial(panel, over_retention, at={"variant": "own"}), {"as many at random": {"variant": "random"}}
    error = partial(panel, over_retention, "reconstruction_error", label="difference", zero=True)
    panels = {
        "frames with an output": own("frames_covered", label="share of frames"),
        "cells next to an output of their frame": own("cells_covered", label="share of cells"),
        "reconstruction error over that of k-means": own("reconstruction_gap", label="ratio", curves=random),
        "reconstruction error, method - random": error(variable="against_random"),
        "reconstruction error, merging - anchors": error(variable="merging", empty="no method here merges"),
        "turns of the trajectory with their share": own("turn_coverage", label="share of turns"),
    }
    return compose(summary, panels, height=7.6)


# attention_lost ----------------------------------------------------------------------------------------------------


def attention_lost(summary: xr.Dataset) -> Figure:
    """What methods throw away of the attention, by retention and layer, and what salience tells of it."""
    asked, share = retention_near(summary), summary["video_share"].sel(statistic="estimate")
    over, layers = partial(panel, over_retention, at={"layer": "all"}), partial(panel, by_layer, share=share)
    told = partial(layers, lines="source", variable="prediction")
    best = {"random choice": {"measure": "expected"}, "most attended kept": {"measure": "least"}}
    excess = layers(
        "excess", at={"requested": asked}, zero=True, label="lost - expected by chance", empty="fixed rates"
    )
    correlation, held = "salience_attention_agreement", "attention on each frame's top quarter"
    panels = {
        "attention lost, all layers together": over("attention_lost", curves=best, label="share of attention"),
        "lost beyond chance" + f", {asked:g} requested" * (asked > 0): excess,
        "from a random choice (0) to the best (1)": over("reached", label="part of the way", zero=True),
        held: told("held", label="share of attention", levels={"by chance": 0.25}),
        "does salience rank as attention does?": told(correlation, label="rank correlation", levels={"by chance": 0}),
        "does it find the most attended tenth?": told("salience_auc", label="ROC area", levels={"by chance": 0.5}),
    }
    return compose(summary, panels, height=7.8)


# method_agreement --------------------------------------------------------------------------------------------------


def method_agreement(summary: xr.Dataset) -> Figure:
    """Who keeps the same tokens: matrices of all pairs at one retention, published pairs over the retention."""
    asked = retention_near(summary)
    published = list(dict.fromkeys(names_of(summary["first"])[names_of(summary["first_kind"]) == "method"]))
    pairs = [" & ".join(pair) for pair in combinations(published, 2)] + ["random_tokens & random_tokens"]
    among = partial(panel, matrix, at={"requested": asked})
    over = partial(panel, sweep, x="requested", series=("first", "second"), only=pairs, zero=True)
    over = partial(over, label="Jaccard - expected", empty="needs two published methods")
    even = "all keep equally many tokens of every frame"
    panels = {
        f"places kept, Jaccard, {asked:g} requested": among("anchor_jaccard"),
        "the same, beyond chance": among("anchor_excess", span=(-0.5, 0.5), cmap="RdBu_r"),
        "content kept, Jaccard": among("source_jaccard"),
        "tokens per frame, Spearman (blank: even)": among(
            "budget_spearman", span=(-1.0, 1.0), cmap="RdBu_r", empty=even
        ),
        "places, beyond chance": over("anchor_excess"),
        "places, beyond chance and budgets": over("anchor_excess_in_frames"),
    }
    return compose(summary, panels, height=8.8, height_ratios=(3, 3, 1.7))


# metric_prediction -------------------------------------------------------------------------------------------------


def metric_prediction(summary: xr.Dataset) -> Figure:
    """How well each measurement ranks conditions by the accuracy that they keep, for all skills and each of them."""
    row = partial(panel, forest, "correlation", series="skill", limits=(-1.05, 1.05))
    told = "rank correlation with accuracy"
    panels = {
        "over methods and retentions": row(at={"level": "all settings"}, label=told),
        "over methods at equal retention": row(at={"level": "equal retention"}, label=told),
    }
    return compose(summary, panels, height=3.8, sharey=True)


# redundancy_profile ------------------------------------------------------------------------------------------------

NULLS = {"frames shuffled": "shuffle_frames", "tokens shuffled": "shuffle_tokens", "normal tokens": "gaussian"}


def profile_values(summary: xr.Dataset) -> Figure:
    """Each shown measure that has a null model, by kind of video, beside the same of its null models."""
    has_null = summary["null_mean"].sel(statistic="estimate").notnull().any(("kind", "null"))
    part = summary.isel(measure=(summary["shown"].astype(bool) & has_null).values)
    of_null = {name: {"variable": "null_mean", "null": null} for name, null in NULLS.items()}
    series = {"videos as they are": {"variable": "value"}, **of_null}
    groups: dict[str, dict[str, plot.Panel]] = {}
    for name, group in zip(names_of(part["measure"]), names_of(part["group"]), strict=True):
        heading = f"{group}, frame features at unit length" if group == "trajectory" else group
        groups.setdefault(heading, {})[readable(name)] = panel(over_kinds, name, series=series)
    rows = sum(-(-len(panels) // 4) for panels in groups.values())
    return compose(part, groups, columns=4, height=0.9 + 1.1 * rows + 0.2 * len(groups))


def profile_scores(summary: xr.Dataset) -> Figure:
    """Every shown measure in a row: mean z against each null over all videos, and how far it tells kinds apart."""
    told = summary[["z", "separation"]].sel(statistic="estimate").notnull()
    known = told["z"].any(("kind", "null")) | told["separation"]
    part = summary.isel(measure=(summary["shown"].astype(bool) & known).values)
    part = part.assign_coords(long_name=("measure", [readable(name) for name in names_of(part["measure"])]))
    z = part["z"].sel(kind="all", statistic=["low", "high"])
    limits = (min(1.5 * float(z.min()), -3.0), max(1.5 * float(z.max()), 3.0))
    row = partial(panel, forest, "z", grey=(-1.96, 1.96), symlog=True, limits=limits)
    row = partial(row, label="mean z of videos\n(grey: |z| < 1.96)")
    panels = {
        name: row(at={"kind": "all", "null": null}, style={"color": colour, "marker": marker})
        for (name, null), colour, marker in zip(NULLS.items(), plot.colours(list(NULLS)).values(), "^sD", strict=True)
        if null in names_of(part["null"])
    }
    apart = partial(panel, forest, "separation", grey="separation_chance", limits=(0, 1.02), groups=True)
    grey, empty = "share of rank variance\n(grey: 95% of chance)", "needs two kinds of two videos"
    panels["kinds told apart"] = apart(label=grey, empty=empty)
    return compose(part, panels, columns=len(panels), height=1.3 + 0.17 * part.sizes["measure"], sharey=True)


# ablate_segments ---------------------------------------------------------------------------------------------------


def ablate_segments(summary: xr.Dataset) -> Figure:
    """Segmenters against random cuts: agreement with scene cuts, contrast, and one clip in detail."""
    example = json.loads(summary.attrs["example"])
    retentions = [m.removeprefix("error_") for m in names_of(summary["measure"]) if m.startswith("error_")][:2]
    known = bool(summary["value"].sel(measure="f1", statistic="estimate").notnull().any())
    over = partial(panel, sweep, x="segments", series="series", xlabel="segments per clip")
    over = partial(over, palette=plot.segmenter_colours)
    gained = partial(over, variable="difference", zero=True, label="difference from random cuts")
    first = ("agreement with scene cuts", "f1", f"F1 within {summary.attrs['cut_tolerance']} frame")
    title, measure, label = first if known else ("similarity across cuts", "across_cut", "cosine")
    series = dict(zip(names_of(summary["condition"]), names_of(summary["series"]), strict=True))
    colour = plot.segmenter_colours(dict.fromkeys(series.values()))
    panels = {
        title: over(measure, control="random_cuts", label=label),
        "contrast, within - across segments": gained("contrast"),
        **{f"reconstruction error, FastVID at {r}": gained(f"error_{r}") for r in retentions},
        example["video"]: panel(similarity, example, label="cosine of neighbours"),
        "its segments": panel(segments, example, palette={c: colour[series[c]] for c in example["lengths"]}),
    }
    return compose(summary, panels, height=5.2 + 2.2 * bool(retentions))


# efficiency --------------------------------------------------------------------------------------------------------

STAGES = {  # greys for what every answer has, colours for what the method adds; none is a method's colour
    "tower": ("vision tower", "0.72"),
    "decision": ("decision", "crimson"),
    "shorten": ("shortening", "lightcoral"),
    "language": ("language model", "0.35"),
    "other": ("other", "0.9"),
}


def efficiency(summary: xr.Dataset) -> Figure:
    """Stages until the first token, and what each method saves against the share of tokens that it keeps."""
    over = partial(panel, over_retention, variable="ratio", label="ratio to full model", limits=(0, None))
    flops = {"FLOPs (FastVID's formula)": {"measure": "flops_fastvid"}}
    asked, bars = retention_near(summary), panel(stacked_bars, STAGES, label="ms, median")
    panels = {
        "until the first token" + f", {asked:g} requested" * (asked > 0): bars,
        "decision, shortening, language model": over("prefill", curves=flops),
        "time to the first token": over("first_token", curves=flops),
        "peak memory, language model": over("peak_language"),
    }
    return compose(summary, panels, height=6.2, layout=("ab", "ac", "ad"), width_ratios=(1.12, 1))


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
    return summary_of(measures).assign_coords(chance=("skill", [0.2, 0.4]))


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
    measures = ["attention_lost", "expected", "least", "excess", "reached", *told]
    layers, sources = ["0", "1", "2", "all"], ["received", "norm", "order"]
    made = summary_of(measures, ())
    dims = ("layer", "measure", "statistic")
    made["value"] = (("condition", *dims), numbers(made.sizes["condition"], 4, len(measures)))
    made["prediction"] = (("source", *dims), numbers(3, 4, len(measures)))
    made["video_share"] = (("layer", "statistic"), numbers(4))
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
    return summary_of([*STAGES, "prefill", "first_token", "peak_language", "flops_fastvid"], ("value", "ratio"))


FIGURES: dict[str, tuple[Callable[[xr.Dataset], Figure], Callable[[], xr.Dataset]]] = {
    "retention_curve": (retention_curve, of_curve),
    "position_drift": (position_drift, of_drift),
    "position_drift, nothing to show": (position_drift, partial(of_drift, merges=False, behind=False)),
    "position_drift_coverage": (position_drift_coverage, of_drift),
    "attention_lost": (attention_lost, of_lost),
    "method_agreement": (method_agreement, of_agreement),
    "metric_prediction": (metric_prediction, of_prediction),
    "profile_values": (profile_values, of_profile),
    "profile_scores": (profile_scores, of_profile),
    "ablate_segments": (ablate_segments, of_segments),
    "ablate_segments, no cuts": (ablate_segments, partial(of_segments, cuts=False)),
    "efficiency": (efficiency, of_efficiency),
}


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
    assert foot == "tiny, 9 videos; bars: 95% intervals: Student's t over videos."


def test_the_same_summary_is_the_same_file(tmp_path: Path) -> None:
    summary = of_lost()
    for name in ("a", "b"):
        plot.save(attention_lost(summary), tmp_path / name)
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def texts(ax: Axes) -> str:
    return " ".join(" ".join(t.get_text().split()) for t in ax.texts)


def test_an_empty_panel_says_why_and_costs_no_legend() -> None:
    figure = position_drift(of_drift(merges=False, behind=False))
    assert [texts(ax) != "" for ax in figure.axes] == [True, True, True, True, False, True]
    assert texts(figure.axes[0]).startswith("no method here merges")
    assert texts(figure.axes[5]).startswith("undefined on this family")
    assert [t.get_text() for t in figure.legends[0].texts] == list(METHODS)
    whole = position_drift(of_drift())
    assert [texts(ax) for ax in whole.axes] == [""] * 6
    assert [t.get_text() for t in whole.legends[0].texts] == list(METHODS)
