"""What is left of accuracy when a method keeps fewer tokens? Every method and control, from all tokens to a twentieth.

For each clip, method and retention: which of the clip's questions the reduced model answers rightly (likelihood of the
options), how far it is from the whole model, what the reduction does to positions, coverage and attention, and what the
language model then costs. Methods that keep equally many tokens of a clip are compared question by question.

    python -m studies.retention_curve
    python -m studies.retention_curve --videos world:64?seed=7 --retentions 0.5 0.25
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

import redundancy as rd
from redundancy import plot
from redundancy.evaluation.answers import evaluate
from redundancy.evaluation.cost.flops import DecoderShape, fastvid_flops, holitom_flops
from redundancy.evaluation.rows import grid_text
from redundancy.evaluation.statistics.intervals import FEW, MARKED, interval_name
from redundancy.evaluation.statistics.scores import paired_accuracy
from redundancy.models import VideoLLM
from redundancy.pruning.table import METHODS
from redundancy.questions import Question
from redundancy.recording import open_dataset
from redundancy.sources import VideoSource
from redundancy.tokens import VideoTokens
from redundancy.video import VideoClip
from studies.conditions import (
    INTERVAL,
    STATISTICS,
    Condition,
    below_table,
    conditions_of,
    decisions,
    interval_text,
    intervals,
    is_marked,
    labels_of,
    replaced_sources,
    retention_columns,
)
from studies.runner import (
    StudyOptions,
    StudyRun,
    VideoResult,
    command_line,
    run_study,
    save_summary,
    say_what_ran,
    study_main,
    write_rows,
)

NAME = "retention_curve"
VERSION = 2
FEWEST = MARKED  # clips behind a difference that is listed
WHOLE = "all tokens"
ANSWERS = {
    "correct": "questions answered rightly",
    "probability": "probability of the right option",
    "agreement": "questions answered as by the whole model",
    "kl": "KL divergence of the next token from the whole model's, nat",
}
MEASURED = {
    "alignment_all": "rotary alignment of outputs with their sources",
    "reconstruction_error": "error of rebuilding all tokens from the outputs",
    "nearest_distance": "cosine distance of tokens to the nearest output",
    "frames_covered": "share of frames that keep a token",
    "cells_covered": "share of grid cells near a kept token",
    "largest_gap": "longest run of frames without a token, frames",
    "turn_coverage": "turns of the trajectory that keep their share of tokens",
    "attention_lost": "LLM attention on tokens that are no anchors",
    "attention_lost_sources": "LLM attention on tokens of which nothing is kept",
}
OUTPUT_OF = {"alignment_all": "alignment", "attention_lost_sources": "attention_lost"}
METRICS = tuple(dict.fromkeys(OUTPUT_OF.get(m, m) for m in MEASURED))
COST = {"flops_fastvid": "prefill FLOPs, FastVID's formula", "flops_holitom": "prefill FLOPs, HoliTom's formula"}
MEASURES = ANSWERS | MEASURED | COST


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Measure what methods keep of the answers.

    Parameters
    ----------
    methods
        Names of the methods and controls.
    retentions
        Shares of the tokens that methods are asked to keep.
    seeds
        Draws of the random controls per clip.
    """

    methods: tuple[str, ...] = tuple(METHODS)
    retentions: tuple[float, ...] = (1.0, 0.5, 0.25, 0.1, 0.05)
    seeds: int = 3
    out: Path = Path("results") / NAME

    def __post_init__(self) -> None:
        super().__post_init__()
        conditions_of(self.methods, self.retentions)
        self.at_least(1, "seeds")


def measure_video(
    source: VideoSource,
    missing: Sequence[str],
    *,
    model: VideoLLM,
    conditions: dict[str, Condition],
    options: Options,
) -> VideoResult:
    """Rows of one video for the settings that are missing: one per question, and draw where a method draws.

    Raises
    ------
    VideoError
        If the video cannot be read.
    ValueError
        If the video comes without questions.
    """
    clip = source.load(model, frames=options.frames)
    questions = () if source.record is None else source.record.questions
    if not questions:
        raise ValueError(f"{source.name} comes without questions; give the bundled clips, world:N, or clips with them")
    whole = evaluate(model, clip, questions=questions, keep_logits=True)
    capture = attention_of_questions(model, clip, questions)
    tokens = VideoTokens.from_capture(capture)
    shape = DecoderShape.from_config(model.family.text_model.config)
    every = tokens.grid.frames * tokens.grid.tokens_per_frame
    rows: list[dict[str, Any]] = []
    if WHOLE in missing:
        answered = whole.assign(agreement=1.0, kl=0.0)
        rows += _rows(answered, {"setting": WHOLE, "seed": -1, "replaced": ""} | _cost(every, shape))
    for label in (m for m in missing if m != WHOLE):
        for seed, reduction, note in decisions(conditions[label], tokens, seeds=options.seeds):
            answered = evaluate(model, clip, reduction, questions=questions, reference=whole)
            measured = rd.measure(capture, reduction, METRICS)
            values = {m: _mean(measured[m]) for m in MEASURED}
            about = {"setting": label, "seed": seed, "replaced": note} | values | _cost(reduction.kept, shape)
            rows += _rows(answered, about)
    facts = {"questions": len(questions), "decoder": clip.decoder, "tokens": every}
    return VideoResult(rows, {**facts, "grid": grid_text(tokens.grid)})


def attention_of_questions(model: VideoLLM, clip: VideoClip, questions: Sequence[Question]) -> xr.Dataset:
    """The capture of a clip with the attention of the last prompt token, mean over the questions about it."""
    captures = [rd.capture(model, clip, q.text, attention_rows="last") for q in questions]
    names = ["attention", "attention_mass"]
    rows = [c[names].isel(query=0, drop=True) for c in captures]
    mean = xr.concat(rows, "question").mean("question")
    return captures[0].drop_vars([*names, "query"]).merge(mean)


def _mean(x: xr.DataArray) -> float:
    """Mean over layers and outputs, NaN left out."""
    known = x.values[~np.isnan(x.values)]
    return float(known.mean()) if len(known) else float("nan")


def _cost(tokens: int, shape: DecoderShape) -> dict[str, float]:
    """FLOPs of the language model for the video tokens."""
    return {"flops_fastvid": fastvid_flops(tokens, shape), "flops_holitom": holitom_flops(tokens, shape)}


def _rows(answered: pd.DataFrame, about: dict[str, Any]) -> list[dict[str, Any]]:
    kept = ["question", "skill", "text", "answer", "predicted", "correct", "probability", "chance", "agreement", "kl"]
    table = answered[[*kept, "requested", "achieved", "achieved_with_newlines", "kept"]].assign(**about)
    rows: list[dict[str, Any]] = table.astype({"correct": float, "agreement": float, "kept": float}).to_dict("records")
    return rows


# what is reported -------------------------------------------------------------------------------------------------


def summarise(run: StudyRun, conditions: Sequence[Condition]) -> xr.Dataset:
    """Means over clips with intervals: of every measure, and of accuracy by skill.

    Dims: setting, measure or skill, statistic. Questions and draws of a clip are averaged first.
    """
    labels = [c.label for c in conditions]
    rows = run.rows[run.rows["setting"].isin(labels)]
    by_video = rows.groupby(["setting", "video"])[list(MEASURES)].mean()
    by_skill = rows.pivot_table(index=["setting", "video"], columns="skill", values="correct", sort=True)
    by_clip = rows.groupby(["setting", "video"])[["achieved"]].mean().reset_index()  # clips differ in questions
    chance = rows.groupby("skill")["chance"].mean()
    dims = ("setting", "measure", "statistic")
    return xr.Dataset(
        {
            "value": (dims, np.stack([intervals(by_video.loc[label]) for label in labels])),
            "accuracy": (
                ("setting", "skill", "statistic"),
                np.stack([intervals(by_skill.loc[label], of="accuracy") for label in labels]),
            ),
        },
        coords=labels_of(conditions, by_clip)
        | {
            "measure": list(MEASURES),
            "long_name": ("measure", list(MEASURES.values())),
            "skill": list(by_skill.columns),
            "chance": ("skill", [float(chance[s]) for s in by_skill.columns]),
            "statistic": list(STATISTICS),
        },
        attrs={"interval": INTERVAL, "attention": "last prompt token, mean over the clip's questions and all layers"},
    )


def separations(rows: pd.DataFrame, conditions: Sequence[Condition], requested: float) -> pd.DataFrame:
    """Which methods answer which skill differently although they keep equally many tokens of every clip compared.

    Of each pair of methods asked for `requested`, the clips on which both keep as many tokens are compared by
    `paired_accuracy`. One row per pair and skill.
    """
    chosen = {c.name: c.label for c in conditions if c.requested == requested}
    tables = {name: _with_key(rows[rows["setting"] == label]) for name, label in chosen.items()}
    found = []
    for one, other in combinations(tables, 2):
        kept = [tables[name].groupby("video")["kept"].agg(["min", "max"]) for name in (one, other)]
        same = kept[0].index[(kept[0] == kept[1].reindex(kept[0].index)).all(axis=1)]
        if not len(same):
            continue
        pair = [tables[name][tables[name]["video"].isin(same)] for name in (one, other)]
        found.append(paired_accuracy(*pair).assign(one=one, other=other, clips=len(same)))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def _with_key(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(correct=rows["correct"].astype(float))


def separating(table: pd.DataFrame) -> pd.DataFrame:
    """The lines of `separations` whose interval leaves out 0: single skills, at least `FEWEST` clips."""
    if not len(table):
        return table
    clear = np.array([is_marked(*row) for row in table[["low", "high", "videos"]].itertuples(index=False)], dtype=bool)
    columns = ["skill", "one", "other", "first", "second", "difference", "low", "high", "clips", "p"]
    return table[clear & (table["skill"] != "all").to_numpy()][columns].sort_values(["skill", "one", "other"])


def curve_table(summary: xr.Dataset) -> pd.DataFrame:
    """One line per setting: achieved share, accuracy, fidelity, drift, coverage, attention lost, cost."""

    def column(measure: str, digits: int) -> list[str]:
        return [interval_text(cell, digits) for cell in summary["value"].sel(measure=measure)]

    flops = summary["value"].sel(measure="flops_fastvid", statistic="mean").values
    return pd.DataFrame(
        retention_columns(summary)
        | {
            "accuracy": column("correct", 3),
            "as the whole": column("agreement", 3),
            "KL": column("kl", 2),
            "alignment": column("alignment_all", 2),
            "error": column("reconstruction_error", 3),
            "attention lost": column("attention_lost", 2),
            "MFLOPs": [f"{f / 1e6:.0f}" for f in flops],
        }
    )


def run_curve(options: Options, *, also: Sequence[Path] = ()) -> StudyRun:
    """Rows of every method at every retention; those that folders `also` of this study hold are taken from there."""
    conditions = {c.label: c for c in conditions_of(options.methods, options.retentions)}
    return run_study(
        options,
        {WHOLE: None, **conditions},
        partial(measure_video, conditions=conditions, options=options),
        name=NAME,
        version=VERSION,
        depends={"seeds": options.seeds},
        sort_by=("video", "setting", "seed", "question"),
        also=also,
    )


@study_main(NAME)
def main(options: Options) -> xr.Dataset:
    """Run what is missing, write rows, summary and figure, and print the tables.

    Raises
    ------
    NothingMeasuredError
        If every video failed.
    """
    methods = conditions_of(options.methods, options.retentions)
    run = run_curve(options)
    whole = Condition(WHOLE, WHOLE, "whole", METHODS["random_tokens"].method, 1.0)
    notes = replaced_sources(run.rows)
    summary = summarise(run, [whole, *methods])
    summary = save_summary(summary, run, options.out, frames=options.frames, seeds=options.seeds, replaced=notes)
    draw(options.out)
    print(curve_table(summary).to_string(index=False))
    for retention in (r for r in options.retentions if r in (0.5, 0.25)):
        pairs = separations(run.rows, methods, retention)
        write_rows(pairs, options.out / f"separations_{retention:g}.parquet")
        clear = separating(pairs)
        print(
            f"\nSkills that separate methods asked for {retention:g}, on clips where both keep equally many tokens"
            f" (at least {FEWEST} clips; {interval_name(FEWEST, FEW)}):"
        )
        print(clear.to_string(index=False, float_format=lambda x: f"{x:.3f}") if len(clear) else "none")
    print(f"\n{below_table(summary, len(run.facts))}; {options.seeds} draws of random controls.")
    print("\n".join([*notes, say_what_ran(run), f"Rows, summary and figure: {options.out}"]))
    return summary


def draw(out: Path) -> list[Path]:
    """Draw the study's figure from what is stored in `out`."""
    return plot.save(plot.retention_curve(open_dataset(out / "summary.zarr").load()), out / NAME)


if __name__ == "__main__":
    command_line(Options, main)
