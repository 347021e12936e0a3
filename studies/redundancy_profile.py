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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Int64

import redundancy as rd
from redundancy import plot
from redundancy.evaluation.rows import grid_text
from redundancy.evaluation.statistics.intervals import MARKED, interval_name
from redundancy.metrics.registry import NULLS, Metric
from redundancy.metrics.table import METRICS
from redundancy.models import VideoLLM
from redundancy.pruning.parts.segment import cuts_to_lengths
from redundancy.recording import open_dataset
from redundancy.sources import VideoSource, cuts_on_steps
from redundancy.tokens import VideoTokens
from redundancy.video import VideoClip
from studies.redundancy_profile_summary import LEVEL, summary_of
from studies.runner import (
    StudyOptions,
    VideoResult,
    command_line,
    run_study,
    save_summary,
    say_what_ran,
    study_main,
)

NAME = "redundancy_profile"
VERSION = 2
DRAWS = 39
GROUPS = ("temporal", "visual", "trajectory")
PROFILED = tuple(n for n, m in METRICS.items() if m.group in GROUPS and m.default)
SCORES = ("null_mean", "null_sd", "z", "p")


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Profile the redundancy of videos against null models.

    Parameters
    ----------
    metrics
        Names of the metrics; by default all default metrics of temporal, visual and trajectory.
    nulls
        Names of the null models; each metric takes those that suit it.
    draws
        Draws of each null model per video. The least p is 1 / (draws + 1): of 19 draws p <= .05 asks for the most
        extreme value there is, 39 leave room for one draw beyond it.
    seed
        Of the draws, which are others for every video.
    """

    metrics: tuple[str, ...] = PROFILED
    nulls: tuple[str, ...] = NULLS
    draws: int = DRAWS
    seed: int = 0
    out: Path = Path("results") / NAME

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, choices in (("metrics", PROFILED), ("nulls", NULLS)):
            given = getattr(self, name)
            unknown = sorted(set(given) - set(choices))
            if unknown or not given or len(set(given)) < len(given):
                raise ValueError(f"{name}={list(given)} given, expected each once, of {list(choices)}")
        self.at_least(2, "draws")


def measure_video(source: VideoSource, missing: Sequence[str], *, model: VideoLLM, options: Options) -> VideoResult:
    """Rows of one video for the metrics that are missing: one per metric, output and value of a parameter.

    Raises
    ------
    VideoError
        If the video cannot be read.
    """
    clip = source.load(model, frames=options.frames)
    tokens = rd.video_tokens(model, clip)
    segments = known_segments(source, clip, tokens)
    measurable = [name for name in missing if segments is not None or "segments" not in METRICS[name].inputs]
    measured = xr.Dataset()
    if measurable:
        seed = seed_of(source, options.seed)
        measured = rd.measure(
            tokens, metrics=measurable, null=list(options.nulls), draws=options.draws, seed=seed, segments=segments
        )
    rows = [row for name in missing for row in metric_rows(METRICS[name], measured)]
    facts = {
        "frames": tokens.grid.frames,
        "tokens_per_frame": tokens.grid.tokens_per_frame,
        "salience": measured.attrs.get("salience", ""),
        "scenes": None if segments is None else segments.tolist(),
        "decoder": clip.decoder,
        "grid": grid_text(tokens.grid),
    }
    return VideoResult(rows, facts)


def seed_of(source: VideoSource, seed: int) -> int:
    """Seed of the first draw: of the video's content, so that videos do not share their permutations."""
    return int.from_bytes(hashlib.sha256(f"{source.digest} {seed}".encode()).digest()[:6])


def known_segments(source: VideoSource, clip: VideoClip, tokens: VideoTokens) -> Int64[torch.Tensor, "segments"] | None:
    """Lengths of the known scenes in steps of the model; None where nothing is known."""
    if source.record is None:
        return None
    cuts = cuts_on_steps(source.record.scene_cuts, clip, tokens.frame_members.numpy())
    return cuts_to_lengths(torch.from_numpy(cuts), tokens.grid.frames)


def metric_rows(metric: Metric, measured: xr.Dataset) -> list[dict[str, Any]]:
    """Rows of one metric: the video's summary of each output at each value of a parameter, with scores per null.

    A metric that could not be measured has one row, undefined.
    """
    nothing = float("nan")
    blank = {f"{score}_{null}": nothing for null in NULLS for score in SCORES}  # every row has the same columns
    rows = []
    for output in metric.dims:
        if output not in measured:
            rows.append({"setting": metric.name, "output": output, "parameter": "", "value": nothing} | blank)
            continue
        values = measured[f"{output}_mean"] if f"{output}_mean" in measured else measured[output]
        for index in product(*(range(size) for size in values.shape)):
            at = dict(zip(values.dims, index, strict=True))
            labels = {d: values[d].values[i] if d in values.coords else i for d, i in at.items()}
            row = {
                "setting": metric.name,
                "output": output,
                "parameter": ", ".join(f"{d}={_text(v)}" for d, v in labels.items()),
                "value": float(values.isel(at)),
            }
            rows.append(row | blank | (_scores(metric, measured, at) if output == metric.name else {}))
    return rows


def _text(label: Any) -> str:
    return str(label) if isinstance(label, str) else f"{label:g}"


def _scores(metric: Metric, measured: xr.Dataset, at: dict[Any, int]) -> dict[str, float]:
    """Scores of the metric's main output against the nulls that suit it."""
    if f"{metric.name}_z" not in measured:
        return {}
    return {
        f"{score}_{null}": float(measured[f"{metric.name}_{score}"].sel(null=null).isel(at))
        for null in measured["null"].values
        if null in metric.nulls
        for score in SCORES
    }


def show(values: xr.DataArray, *, sign: str = "") -> list[str]:
    """Means with their intervals in brackets, a dash where there is none."""
    return [
        "-" if np.isnan(mean) else f"{mean:{sign}.3g} [{low:{sign}.3g}, {high:{sign}.3g}]"
        for mean, low, high in values.transpose(..., "bound").values
    ]


def value_table(summary: xr.Dataset, group: str) -> pd.DataFrame:
    """Means of one group of metrics by kind, at the values of parameters that are shown."""
    part = shown_part(summary, group)
    kinds = part["kind"].values
    entered = {kind: int(part["value_videos"].sel(kind=kind).max()) for kind in kinds}
    columns = {f"{kind} (n = {entered[kind]})": show(part["value"].sel(kind=kind)) for kind in kinds}
    return pd.DataFrame({"measure": part["statistic"].values, "unit": part["units"].values} | columns)


def score_table(summary: xr.Dataset, group: str) -> pd.DataFrame:
    """Mean z against each null over all videos, and how far kinds are told apart."""
    part = shown_part(summary, group)
    scores = part["z"].sel(kind="all")
    columns = {f"z, {null}": show(scores.sel(null=null), sign="+") for null in part["null"].values}
    told = {
        "separation": show(part["separation"]),
        "q": ["-" if np.isnan(q) else f"{q:.2g}" for q in part["separation_q"].values],
    }
    return pd.DataFrame({"measure": part["statistic"].values} | columns | told)


def shown_part(summary: xr.Dataset, group: str) -> xr.Dataset:
    """The statistics of one group that are shown."""
    chosen = summary["shown"].values.astype(bool) & (summary["group"].values == group)
    return summary.isel(statistic=np.flatnonzero(chosen))


@study_main(NAME)
def main(options: Options) -> xr.Dataset:
    """Run what is missing, write rows, summary and figures, and print the tables.

    Raises
    ------
    NothingMeasuredError
        If every video failed.
    """
    settings = {"frames": options.frames, "draws": options.draws, "seed": options.seed, "nulls": list(options.nulls)}
    run = run_study(
        options,
        {name: METRICS[name] for name in options.metrics},
        partial(measure_video, options=options),
        name=NAME,
        version=VERSION,
        depends=settings,
        sort_by=("video", "setting"),
    )
    salience = sorted({facts["salience"] for facts in run.facts.values()} - {""})
    summary = save_summary(
        summary_of(run.rows, options.nulls),
        run,
        options.out,
        **settings,
        salience=salience,
        least_p=1 / (options.draws + 1),
    )
    draw(options.out)
    report(summary)
    print(say_what_ran(run))
    print(f"Rows, summary and figures: {options.out}")
    return summary


def report(summary: xr.Dataset) -> None:
    """Print the tables, by group of metrics."""
    for group in [g for g in GROUPS if (summary["group"] == g).any()]:
        for table in (value_table(summary, group), score_table(summary, group)):
            print(f"\n{group}\n{table.to_string(index=False)}")
    entered = summary["value_videos"].values
    entered = entered[entered > 0]
    told = ", ".join(told_apart(summary)) or "no measure"
    print(
        f"\nMeans over {summary.attrs['videos']} videos; {interval_name(int(entered.min()), int(entered.max()))}; "
        f"z against {summary.attrs['draws']} draws of each null model: p is {summary.attrs['least_p']:.3g} or more.\n"
        "separation: share of the variance of ranks between kinds of videos; q: adjusted for all statistics.\n"
        f"Kinds are told apart (q < {LEVEL}) by: {told}; that takes {MARKED} videos or more.\n"
        "Further outputs and values of parameters are in the rows and the summary."
    )


def told_apart(summary: xr.Dataset) -> list[str]:
    """Shown statistics of at least 8 videos whose values differ between kinds, the clearest first."""
    part = summary.isel(statistic=np.flatnonzero(summary["shown"].values.astype(bool)))
    enough = part["value_videos"].sel(kind="all").values >= MARKED
    part = part.isel(statistic=np.flatnonzero((part["separation_q"].values < LEVEL) & enough))
    order = np.argsort(-part["separation"].sel(bound="mean").values, kind="stable")
    return [str(name) for name in part["statistic"].values[order]]


def draw(out: Path) -> list[Path]:
    """Draw the study's figures from what is stored in `out`."""
    summary = open_dataset(out / "summary.zarr").load()
    values = plot.save(plot.profile_values(summary), out / NAME)
    return values + plot.save(plot.profile_scores(summary), out / f"{NAME}_scores")


if __name__ == "__main__":
    command_line(Options, main)
