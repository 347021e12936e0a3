"""How redundant are videos? Every measure beside what the same tokens give without their order or structure.

For each video: the default metrics of temporal context, visual context and trajectory, and where they stand among
draws of the null models that suit them: frames shuffled, tokens shuffled within their frames, normal tokens of the same
mean and covariance. Means over the videos of a kind and over all come with intervals, as do scores z, and
differences from the null paired by video; `separation` says how far a measure tells the kinds of videos apart.
Contrast and silhouette of segments are those of the known scenes, and undefined where none are known.

    python -m studies.redundancy_profile
    python -m studies.redundancy_profile --videos my_videos/ --model llava-hf/llava-onevision-qwen2-7b-ov-hf --frames 32
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd
import torch
import xarray as xr
from matplotlib.figure import Figure

from redundancy import plot
from redundancy.evaluation.conditions import Condition
from redundancy.evaluation.session import VideoSession
from redundancy.evaluation.statistics.aggregate import aggregate, widened, with_all
from redundancy.evaluation.statistics.intervals import MARKED, UNBOUNDED
from redundancy.evaluation.statistics.measures import Measure
from redundancy.evaluation.statistics.separation import separation
from redundancy.metrics.registry import NULLS, Metric
from redundancy.metrics.table import METRICS
from redundancy.plot import compose, readable
from redundancy.plot.methods import names_of
from redundancy.pruning.parts.segment import cuts_to_lengths
from redundancy.sources import cuts_on_steps
from studies.core.panels import forest, over_kinds, panel
from studies.core.report import Column, Table
from studies.core.study import Facts, Row, Study, StudyOptions

GROUPS = ("temporal", "visual", "trajectory")
PROFILED = tuple(n for n, m in METRICS.items() if m.group in GROUPS and m.default)
LEVEL = 0.05
SCORES = ("null_mean", "null_sd", "z", "p")
OUTPUT_UNITS = {  # of further outputs of a metric, whose facts give the unit of the main one
    "displacement": "cells",
    "run_length_seconds": "s",
    "speed_per_second": "feature units per second",
}
# of a metric with values of a parameter: the one that figures and the printed tables show
SHOWN_AT = {"lag": "1", "tau": "0.9", "top": "0.1", "quantile": "0.95", "scaling": "unit"}


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Profile the redundancy of videos against null models.

    Parameters
    ----------
    metrics
        Names of the metrics; by default all default metrics of temporal, visual and trajectory.
    nulls
        Names of the null models; each metric takes those that suit it.
    null_draws
        Draws of each null model per video. The least p is 1 / (draws + 1): of 19 draws p <= .05 asks for the most
        extreme value there is, 39 leave room for one draw beyond it.
    seed
        Of the draws, which are others for every video.
    """

    metrics: tuple[str, ...] = PROFILED
    nulls: tuple[str, ...] = NULLS
    null_draws: int = 39
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of(PROFILED, "metrics")
        self.one_of(NULLS, "nulls")
        self.at_least(2, "null_draws")

    def conditions(self) -> list[Condition]:
        """One for each metric, so that a changed one alone is computed again."""
        return [Condition(label=name, parts={"metric": METRICS[name]}) for name in self.metrics]


def measure(video: VideoSession, conditions: Sequence[Condition], options: Options) -> Iterator[Row]:
    """Rows of the metrics: one per metric, output and value of a parameter, with scores against each null."""
    segments = known_segments(video)
    names = [c.label for c in conditions if segments is not None or "segments" not in METRICS[c.label].inputs]
    measured = xr.Dataset()
    if names:
        assert video.source is not None
        told = f"{video.source.digest} {options.seed}".encode()  # videos do not share their permutations
        seed = int.from_bytes(hashlib.sha256(told).digest()[:6])
        drawn = {"null": list(options.nulls), "draws": options.null_draws, "seed": seed}
        measured = video.measure(None, names, segments=segments, **drawn)
    for condition in conditions:
        for row in metric_rows(METRICS[condition.label], measured):
            yield {"condition": condition.label} | row


def known_segments(video: VideoSession) -> torch.Tensor | None:
    """Lengths of the known scenes in steps of the model; None where nothing is known."""
    record = None if video.source is None else video.source.record
    if record is None:
        return None
    cuts = cuts_on_steps(record.scene_cuts, video.clip, video.tokens.frame_members.numpy())
    return cuts_to_lengths(torch.from_numpy(cuts), video.tokens.grid.frames)


def metric_rows(metric: Metric, measured: xr.Dataset) -> Iterator[Row]:
    """The video's summary of each output at each value of a parameter; a metric that has none gives NaN."""
    nothing = float("nan")
    blank = {f"{score}_{null}": nothing for null in NULLS for score in SCORES}  # every row has the same columns
    for output in metric.dims:
        if output not in measured:
            yield {"statistic": output, "output": output, "parameter": "", "value": nothing} | blank
            continue
        values = measured[f"{output}_mean"] if f"{output}_mean" in measured else measured[output]
        for index in product(*(range(size) for size in values.shape)):
            at = dict(zip(values.dims, index, strict=True))
            labels = {d: values[d].values[i] if d in values.coords else i for d, i in at.items()}
            told = ", ".join(f"{d}={v}" if isinstance(v, str) else f"{d}={v:g}" for d, v in labels.items())
            scores = {
                f"{score}_{null}": float(measured[f"{metric.name}_{score}"].sel(null=null).isel(at))
                for null in (measured["null"].values if output == metric.name and f"{output}_z" in measured else ())
                if null in metric.nulls
                for score in SCORES
            }
            row = {"statistic": f"{output}({told})" if told else output, "output": output, "parameter": told}
            yield row | {"value": float(values.isel(at))} | blank | scores


def measures_of(rows: pd.DataFrame) -> dict[str, Measure]:
    """Every statistic in the order of the table of metrics, with its unit and bounds."""
    told = rows[["statistic", "condition", "output"]].drop_duplicates("statistic")
    told = told.sort_values("condition", key=lambda names: names.map(list(METRICS).index), kind="stable")
    found = {}
    for name, metric, output in told.itertuples(index=False):
        facts = METRICS[metric]
        main = facts.unit.partition(";")[0].partition(", or")[0]
        unit, own = OUTPUT_UNITS.get(output, "1") if output != metric else main, output == metric
        bounds = facts.bounds if own else UNBOUNDED
        found[name] = Measure(name, name, unit, facts.higher if own else "", bounds)
    return found


def profile(summary: xr.Dataset, rows: pd.DataFrame, facts: Facts, options: Options) -> xr.Dataset:
    """Means with intervals by kind of video and over all, beside those of the nulls, and what tells kinds apart."""
    rows = rows[rows["condition"].notna()]
    about = measures_of(rows)
    loose = {name: replace(measure, bounds=UNBOUNDED) for name, measure in about.items()}
    by = {"names": "statistic", "by": ("video", "kind")}
    own = widened(rows, **by)
    kinds = [*sorted(set(own["kind"])), "all"]
    made = {"value": aggregate(with_all(own, "kind"), over={"kind": kinds}, measures=about)}
    scores = {
        "null_mean": (lambda null: rows[f"null_mean_{null}"], about),
        "z": (lambda null: rows[f"z_{null}"], loose),
        "difference": (lambda null: rows["value"] - rows[f"null_mean_{null}"], loose),
        # p is float32: 1 / 20 is not below 0.05 in float64
        "extreme": (lambda null: (rows[f"p_{null}"] < LEVEL + 1e-6).where(rows[f"p_{null}"].notna()), loose),
    }
    for name, (column, measures) in scores.items():
        each = {null: rows.assign(value=column(null).astype(float)) for null in options.nulls}
        wide = pd.concat([widened(part, **by).assign(null=null) for null, part in each.items()])
        over = {"kind": kinds, "null": options.nulls}
        made[name] = aggregate(with_all(wide, "kind"), over=over, measures=measures)
    of = rows.drop_duplicates("statistic").set_index("statistic").loc[list(about)]
    shown = [
        output == metric and all(v == SHOWN_AT.get(n) for n, v in (p.split("=") for p in told.split(", ") if p))
        for metric, output, told in zip(of["condition"], of["output"], of["parameter"], strict=True)
    ]
    coords = {"shown": shown, "group": [METRICS[m].group for m in of["condition"]], "metric": of["condition"].tolist()}
    coords["source"] = [METRICS[m].source for m in of["condition"]]
    return (
        xr.Dataset(made)
        .merge(separation(own, measures=about), compat="no_conflicts")
        .assign_coords({name: ("measure", list(values)) for name, values in coords.items()})
        .assign_attrs(
            summary.attrs,
            value="the metric's summary of a video: its mean over frames, transitions and tokens",
            z="(value - mean of the draws) / their standard deviation, per video; undefined where draws are all equal",
            null_mean="mean of the draws of the null model, per video",
            difference="value - null_mean, paired by video",
            extreme=f"share of videos with p <= {LEVEL} (two-sided, uncorrected)",
            least_p=1 / (options.null_draws + 1),
        )
    )


def group_tables(summary: xr.Dataset) -> str:
    """By group of metrics: means by kind; mean z against each null, and how far kinds are told apart."""
    texts = []
    for group in [g for g in GROUPS if (summary["group"] == g).any()]:
        part = summary.isel(measure=(summary["shown"].astype(bool) & (summary["group"] == group)).values)
        n = {str(kind): int(part["value"].sel(kind=kind, statistic="n").max()) for kind in part["kind"].values}
        of = {f"{kind} (n = {count})": Column("", ".3g", at={"kind": kind}) for kind, count in n.items()}
        scores = {
            f"z, {null}": Column("", "+.3g", of="z", at={"kind": "all", "null": null}) for null in part["null"].values
        }
        told = scores | {"separation": Column("", ".3g", of="separation"), "q": Column("", ".2g", of="separation_q")}
        texts += [Table(columns, group, rows=("measure",)).text(part) for columns in (of, told)]
    part = summary.isel(measure=summary["shown"].astype(bool).values)
    clear = part.isel(
        measure=((part["separation_q"] < LEVEL) & (part["value"].sel(kind="all", statistic="n") >= MARKED)).values
    )
    order = np.argsort(-clear["separation"].sel(statistic="estimate").values, kind="stable")
    texts.append(
        f"z against draws of each null model: p is {summary.attrs['least_p']:.3g} or more.\n"
        "separation: share of the variance of ranks between kinds of videos; q: adjusted for all statistics.\n"
        f"Kinds are told apart (q < {LEVEL}) by: {', '.join(clear['measure'].values[order]) or 'no measure'}; "
        f"that takes {MARKED} videos or more.\n"
        "Further outputs and values of parameters are in the rows and the summary."
    )
    return "\n\n".join(texts)


NULL_CURVES = {
    "frames shuffled": {"variable": "null_mean", "null": "shuffle_frames"},
    "tokens shuffled": {"variable": "null_mean", "null": "shuffle_tokens"},
    "normal tokens": {"variable": "null_mean", "null": "gaussian"},
}


def profile_values(summary: xr.Dataset) -> Figure:
    """Each shown measure that has a null model, by kind of video, beside the same of its null models."""
    has_null = (summary["null_mean"].sel(statistic="n") > 0).any(("kind", "null"))
    part = summary.isel(measure=(summary["shown"].astype(bool) & has_null).values)
    series = {"videos as they are": {"variable": "value"}, **NULL_CURVES}
    groups: dict[str, dict[str, plot.Panel]] = {}
    for name, group in zip(names_of(part["measure"]), names_of(part["group"]), strict=True):
        heading = f"{group}, frame features at unit length" if group == "trajectory" else group
        groups.setdefault(heading, {})[readable(name)] = panel(over_kinds, name, series=series)
    rows = sum(-(-len(panels) // 4) for panels in groups.values())
    return compose(part, groups, columns=4, height=0.9 + 1.1 * rows + 0.2 * len(groups))


def profile_scores(summary: xr.Dataset) -> Figure:
    """Every shown measure in a row: mean z against each null over all videos, and how far it tells kinds apart."""
    told = ~np.isnan(summary[["z", "separation"]].sel(statistic="estimate"))
    known = told["z"].any(("kind", "null")) | told["separation"]
    part = summary.isel(measure=(summary["shown"].astype(bool) & known).values)
    part = part.assign_coords(long_name=("measure", [readable(name) for name in names_of(part["measure"])]))
    z = part["z"].sel(kind="all", statistic=["low", "high"])
    limits = (min(1.5 * float(z.min()), -3.0), max(1.5 * float(z.max()), 3.0))
    looks = zip(plot.colours(list(NULL_CURVES)).values(), "^sD", strict=True)
    panels = {
        name: panel(
            forest,
            "z",
            at={"kind": "all", "null": where["null"]},
            style={"color": colour, "marker": marker},
            grey=(-1.96, 1.96),
            symlog=True,
            limits=limits,
            label="mean z of videos\n(grey: |z| < 1.96)",
        )
        for (name, where), (colour, marker) in zip(NULL_CURVES.items(), looks, strict=True)
        if where["null"] in names_of(part["null"])
    }
    panels["kinds told apart"] = panel(
        forest,
        "separation",
        grey="separation_chance",
        limits=(0, 1.02),
        groups=True,
        label="share of rank variance\n(grey: 95% of chance)",
        empty="needs two kinds of two videos",
    )
    return compose(part, panels, columns=len(panels), height=1.3 + 0.17 * part.sizes["measure"], sharey=True)


STUDY = Study(
    name="redundancy_profile",
    version=3,
    options=Options,
    conditions=Options.conditions,
    measure_all=measure,
    depends=("nulls", "null_draws", "seed"),
    questions=lambda source, options: (),
    values={},
    derive=profile,
    tables=(group_tables,),
    figures={"": profile_values, "scores": profile_scores},
)

if __name__ == "__main__":
    STUDY.command_line()
