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
from dataclasses import dataclass
from functools import partial

import pandas as pd
import torch
import xarray as xr
from matplotlib.figure import Figure

from redundancy import plot
from redundancy.evaluation.segmentation import known_cuts
from redundancy.evaluation.statistics.intervals import MARKED
from redundancy.evaluation.statistics.profile import LEVEL, metric_rows, profile, told_apart
from redundancy.evaluation.statistics.told import extremes
from redundancy.metrics.registry import NULLS
from redundancy.metrics.table import METRICS
from redundancy.plot import compose, readable
from redundancy.plot.methods import names_of
from redundancy.pruning.parts.segment import cuts_to_lengths

from . import Column, Condition, Facts, Row, Study, StudyOptions, Table, VideoSession
from .core.panels import forest, over_kinds, panel

GROUPS = ("temporal", "visual", "trajectory")
NULL_NAMES = {"frames shuffled": "shuffle_frames", "tokens shuffled": "shuffle_tokens", "normal tokens": "gaussian"}
PROFILED = tuple(n for n, m in METRICS.items() if m.group in GROUPS and m.default)


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
    cuts = known_cuts(video)
    known = None if cuts is None else cuts_to_lengths(torch.from_numpy(cuts), video.tokens.grid.frames)
    names = [c.label for c in conditions if known is not None or "segments" not in METRICS[c.label].inputs]
    measured = xr.Dataset()
    if names:
        assert video.source is not None
        told = f"{video.source.digest} {options.seed}".encode()  # videos do not share their permutations
        seed, draws = int.from_bytes(hashlib.sha256(told).digest()[:6]), options.null_draws
        measured = video.measure(None, names, segments=known, null=options.nulls, draws=draws, seed=seed)
    for condition in conditions:
        yield from ({"condition": condition.label, **row} for row in metric_rows(METRICS[condition.label], measured))


def derive(summary: xr.Dataset, rows: pd.DataFrame, *, facts: Facts, options: Options) -> xr.Dataset:
    """The whole summary is that of `profile`."""
    made = profile(rows[rows["condition"].notna()], nulls=options.nulls)
    return made.assign_attrs(**summary.attrs, least_p=1 / (options.null_draws + 1))


def group_tables(summary: xr.Dataset) -> Iterator[Table | str]:
    """By group of metrics: means by kind; mean z against each null, and how far kinds are told apart."""
    for group in [g for g in GROUPS if (summary["group"] == g).any()]:
        part = summary.isel(measure=(summary["shown"].astype(bool) & (summary["group"] == group)).values)
        n = {str(kind): int(part["value"].sel(kind=kind, statistic="n").max()) for kind in part["kind"].values}
        of = {f"{kind} (n = {count})": Column("", ".3g", at={"kind": kind}) for kind, count in n.items()}
        against = partial(Column, "", "+.3g", of="z")
        told = {f"z, {null}": against(at={"kind": "all", "null": null}) for null in part["null"].values}
        told |= {"separation": Column("", ".3g", of="separation"), "q": Column("", ".2g", of="separation_q")}
        only = {"measure": list(names_of(part["measure"]))}
        for name, columns in ((group, of), (f"{group}_null_models", told)):
            yield Table(columns, group, rows=("measure",), only=only, name=name)
    yield (
        f"z against draws of each null model: p is {summary.attrs['least_p']:.3g} or more.\n"
        "separation: share of the variance of ranks between kinds of videos; q: adjusted for all statistics.\n"
        f"Kinds are told apart (q < {LEVEL}) by: {', '.join(told_apart(summary)) or 'no measure'}; "
        f"that takes {MARKED} videos or more.\n"
        "Further outputs and values of parameters are in the rows and the summary."
    )


def profile_values(summary: xr.Dataset) -> Figure:
    """Each shown measure that has a null model, by kind of video, beside the same of its null models."""
    has_null = summary["null_mean"].sel(statistic="n").max(["kind", "null"]) > 0
    part = summary.isel(measure=(summary["shown"].astype(bool) & has_null).values)
    series = {"videos as they are": {"variable": "value"}}
    series |= {name: {"variable": "null_mean", "null": null} for name, null in NULL_NAMES.items()}
    groups: dict[str, dict[str, plot.Panel]] = {}
    for name, group in zip(names_of(part["measure"]), names_of(part["group"]), strict=True):
        heading = f"{group}, frame features at unit length" if group == "trajectory" else group
        groups.setdefault(heading, {})[readable(name)] = panel(over_kinds, name, series=series)
    rows = sum(-(-len(panels) // 4) for panels in groups.values())
    return compose(part, groups, columns=4, height=0.9 + 1.1 * rows + 0.2 * len(groups))


def profile_scores(summary: xr.Dataset) -> Figure:
    """Every shown measure in a row: mean z against each null over all videos, and how far it tells kinds apart."""
    known = summary["z"].sel(statistic="estimate").count(["kind", "null"]) > 0
    known = known | (summary["separation"].sel(statistic="estimate") >= 0)
    part = summary.isel(measure=(summary["shown"].astype(bool) & known).values)
    part = part.assign_coords(long_name=("measure", [readable(name) for name in names_of(part["measure"])]))
    z = part["z"].sel(kind="all", statistic=["low", "high"])
    limits = (min(1.5 * float(z.min()), -3.0), max(1.5 * float(z.max()), 3.0))
    label = "mean z of videos\n(grey: |z| < 1.96)"
    over = partial(panel, forest, "z", grey=(-1.96, 1.96), symlog=True, limits=limits, label=label)
    panels, colours = {}, plot.colours(list(NULL_NAMES))
    for (name, null), marker in zip(NULL_NAMES.items(), "^sD", strict=True):
        if null in names_of(part["null"]):
            panels[name] = over(at={"kind": "all", "null": null}, style={"color": colours[name], "marker": marker})
    label, empty = "share of rank variance\n(grey: 95% of chance)", "needs two kinds of two videos"
    apart = partial(panel, forest, "separation", grey="separation_chance", groups=True)
    panels["kinds told apart"] = apart(limits=(0, 1.02), label=label, empty=empty)
    return compose(part, panels, columns=len(panels), height=1.3 + 0.17 * part.sizes["measure"], sharey=True)


def found(summary: xr.Dataset) -> list[str]:
    """What is furthest from the same tokens without their order, and which metrics tell kinds of videos apart."""
    null, names = names_of(summary["null"])[0], told_apart(summary)
    furthest = partial(extremes, summary, "", of="z", dim="measure", form="+.1f")
    kinds = f"kinds of videos are told apart by {len(names)} of {summary.sizes['measure']} measures"
    return [
        furthest(at={"kind": "all", "null": null}, says=f"z against the null model {null.replace('_', ' ')!r}"),
        f"{kinds[:1].upper()}{kinds[1:]}{': ' * bool(names)}{', '.join(names[:8])}.",
    ]


STUDY = Study(
    name="redundancy_profile",
    version=3,
    options=Options,
    conditions=Options.conditions,
    measure_all=measure,
    depends=("nulls", "null_draws", "seed"),
    questions=lambda source, options: (),
    values={},
    derive=derive,
    tables=(group_tables,),
    figures={"": profile_values, "scores": profile_scores},
    finding=found,
)

if __name__ == "__main__":
    STUDY.command_line()
