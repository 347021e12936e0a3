"""Which segmentation holds alike frames together and cuts where scenes change? Every segmenter against random cuts.

For each clip and each segmenter (over its numbers of segments and thresholds): number and length of segments,
similarity inside segments and across cuts, agreement with the known scene cuts, what FastVID keeps with these
segments, and the same for random cuts into as many segments. Intervals are over clips, differences from
random cuts are paired. Where clips bring questions, the model answers them with what FastVID keeps, beside random cuts
and as many random tokens. FastVID runs with the budgets of its LLaVA-Video variant, which loses no token to rounding.
Draws of random cuts with which it keeps another number of tokens, because a budget was clamped, are left out there.

    python -m studies.ablate_segments
    python -m studies.ablate_segments --videos my_videos/ --model llava-hf/llava-onevision-qwen2-7b-ov-hf --frames 32
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Shaped

import redundancy as rd
from redundancy import plot
from redundancy.evaluation.cells import Facts
from redundancy.evaluation.rows import grid_text
from redundancy.evaluation.segmentation import cut_agreement, segment_similarity
from redundancy.evaluation.statistics.bounds import bounds_of
from redundancy.evaluation.statistics.intervals import mean_interval, paired_difference
from redundancy.metrics.temporal import transition_similarity
from redundancy.models import VideoLLM
from redundancy.pruning.parts.segment import SEGMENTERS, DySeg, RandomCuts, Segmenter, lengths_to_cuts
from redundancy.recording import open_dataset
from redundancy.sources import VideoSource, cuts_on_steps
from redundancy.tokens import VideoTokens
from redundancy.video import VideoClip
from studies.conditions import INTERVAL, below_table
from studies.runner import (
    StudyOptions,
    StudyRun,
    VideoResult,
    command_line,
    run_study,
    save_summary,
    say_what_ran,
    study_main,
    write_json,
)
from studies.segment_fastvid import ANSWERS, KEPT, TOKENS, Answers, Asked, kept_row

NAME = "ablate_segments"
CONTROL = "random_cuts"
VERSION = 5
TOLERANCE = 1
MEASURES = {
    "segments": "number of segments",
    "mean_length": "mean length of a segment, frames",
    "longest": "longest segment, frames",
    "within": "mean cosine of frame features of one segment",
    "across_cut": "mean cosine of the two frames at a cut",
    "contrast": "within minus across_cut",
    "precision": "share of cuts that are scene cuts",
    "recall": "share of scene cuts that are cut",
    "f1": "F1 of cuts against scene cuts",
}


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Compare segmenters on videos.

    Parameters
    ----------
    segmenters
        Names of the segmenters to compare.
    segments
        Numbers of segments asked for.
    thresholds
        Similarity thresholds tau of the segmenters that have one.
    retentions
        Shares of the tokens that FastVID is asked to keep; at the least of them the model also answers.
    features
        Source of the frame features that segmenters read: "mean", or "pooling_head" where the model has that head.
    seeds
        Draws of random cuts per clip and setting.
    answer_draws
        Of these, draws for which the model also answers; and draws of random tokens.
    skills
        Of each clip's own questions those of these skills are asked.
    """

    segmenters: tuple[str, ...] = tuple(n for n in SEGMENTERS if n != CONTROL)
    segments: tuple[int, ...] = (1, 2, 4, 8)
    thresholds: tuple[float, ...] = (0.8, 0.9, 0.95)
    retentions: tuple[float, ...] = (0.25, 0.1)
    features: str = "mean"
    seeds: int = 20
    answer_draws: int = 1
    skills: tuple[str, ...] = ("digit", "when", "where", "count")
    out: Path = Path("results") / NAME

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = [n for n in SEGMENTERS if n != CONTROL]
        unknown = sorted(set(self.segmenters) - set(choices))
        if unknown or not self.segmenters:
            raise ValueError(
                f"unknown segmenters {unknown}; expected some of {choices} ({CONTROL} always run beside them)"
            )
        if not self.retentions:
            raise ValueError("retentions is empty, expected at least one share of the tokens")
        self.at_least(1, "seeds", "answer_draws")


def settings_of(options: Options) -> dict[str, Segmenter]:
    """Every segmenter at every number of segments and threshold that it takes, by label."""
    made: dict[str, Segmenter] = {}
    for name in options.segmenters:
        for setting in _sweep(SEGMENTERS[name], options):
            values = ", ".join(f"{key}={setting[key]:g}" for key in setting)
            segmenter = replace(SEGMENTERS[name], **setting)
            if hasattr(segmenter, "features"):
                segmenter = replace(segmenter, features=options.features)
            made[f"{name}({values})"] = segmenter
    return made


def _sweep(segmenter: Segmenter, options: Options) -> list[dict[str, Any]]:
    """Settings of one segmenter: over the numbers of segments, and over the thresholds with nothing else cutting."""
    names = {f.name for f in fields(segmenter)}
    number = next((n for n in ("segments", "c") if n in names), None)
    fixed = {"tau": segmenter.tau} if isinstance(segmenter, DySeg) else {}
    swept: list[dict[str, Any]] = [] if number is None else [{number: value, **fixed} for value in options.segments]
    if "tau" in names:
        alone = {} if number is None else {number: 1}
        swept += [alone | {"tau": value} for value in options.thresholds]
    return swept


def measures_of(options: Options) -> dict[str, str]:
    """Every measure of the study, with what it means."""
    swept = {
        f"{name}_{retention:g}": f"{meaning} at retention {retention:g}"
        for retention in options.retentions
        for name, meaning in (KEPT | (ANSWERS | TOKENS if retention == min(options.retentions) else {})).items()
    }
    return MEASURES | swept


def series_of(label: str) -> str:
    """Series that a setting belongs to: its segmenter, and what is swept where that is not the number of segments."""
    name, values = label.rstrip(")").split("(")
    return f"{name}, over tau" if values.startswith("c=1, ") else name


def measure_video(
    source: VideoSource, missing: Sequence[str], *, model: VideoLLM, segmenters: dict[str, Segmenter], options: Options
) -> VideoResult:
    """Rows of one video for the settings that are missing, and what figures need to know of it.

    Raises
    ------
    VideoError
        If the video cannot be read.
    """
    clip = source.load(model, frames=options.frames)
    tokens = rd.video_tokens(model, clip)
    known = None
    if source.record is not None:
        known = cuts_on_steps(source.record.scene_cuts, clip, tokens.frame_members.numpy())
    rows = []

    @cache
    def measured(lengths: tuple[int, ...]) -> dict[str, Any]:
        """Many settings and draws end in the same segments."""
        return _row(tokens, torch.tensor(lengths), known) | kept_row(lengths, tokens, options.retentions)

    asked = asked_of(source, clip, model=model, options=options)
    answers = Answers(asked, tokens, [min(options.retentions)], draws=options.answer_draws)
    for label in missing:
        lengths, answered = segmenters[label](tokens).tolist(), is_answered(label)
        row = measured(tuple(lengths)) | {"setting": label, "seed": -1, "control": False}
        rows.append(row | (answers.row(lengths, beside=True) if answered else {}))
        for seed in range(options.seeds):
            random = RandomCuts(segments=len(lengths), seed=seed)(tokens).tolist()
            row = measured(tuple(random)) | {"setting": label, "seed": seed, "control": True}
            rows.append(row | (answers.row(random, beside=False) if answered and seed < options.answer_draws else {}))
    facts = {
        "frame_time": tokens.frame_time.tolist(),
        "transition_similarity": transition_similarity(tokens.frame_features_from("mean")).tolist(),
        "known_cuts": None if known is None else known.tolist(),
        "frames_read": len(clip.frames),
        "decoder": clip.decoder,
        "grid": grid_text(tokens.grid),
    }
    return VideoResult(rows, facts)


def is_answered(label: str) -> bool:
    """If a setting is also judged by answers: those with a number of segments, DySeg at its published threshold."""
    values = label.rstrip(")").split("(")[1]
    return values.startswith("segments=") or (values.startswith("c=") and values.endswith(f"tau={DySeg().tau:g}"))


def asked_of(source: VideoSource, clip: VideoClip, *, model: VideoLLM, options: Options) -> Asked | None:
    """The clip's questions of the skills wanted; None where it comes without."""
    known = () if source.record is None else source.record.questions
    questions = [q for q in known if q.skill in options.skills]
    return Asked(model, clip, questions) if questions else None


def _row(tokens: VideoTokens, lengths: torch.Tensor, known: Shaped[np.ndarray, "..."] | None) -> dict[str, Any]:
    similarity = segment_similarity(tokens.frame_features_from("mean"), lengths)
    row: dict[str, Any] = {
        "lengths": lengths.tolist(),
        "segments": len(lengths),
        "mean_length": lengths.float().mean().item(),
        "longest": int(lengths.max()),
        "within": similarity.within,
        "across_cut": similarity.across_cut,
        "contrast": similarity.within - similarity.across_cut,
    }
    if known is None:
        return row | dict.fromkeys(("precision", "recall", "f1"), float("nan"))
    return row | cut_agreement(lengths_to_cuts(lengths).numpy(), known, tolerance=TOLERANCE)._asdict()


def summarise(run: StudyRun, segmenters: dict[str, Segmenter], measures: dict[str, str]) -> xr.Dataset:
    """Means over clips with intervals, and paired differences from random cuts.

    Dims: setting, measure, statistic (mean, low, high, videos).
    """
    rows = run.rows[run.rows["setting"].notna()]
    rows = rows.reindex(columns=[*rows.columns, *(m for m in measures if m not in rows)])
    labels = [label for label in segmenters if (rows["setting"] == label).any()]
    shape = (len(labels), len(measures), 4)
    own, control, difference = np.full(shape, np.nan), np.full(shape, np.nan), np.full(shape, np.nan)
    for i, label in enumerate(labels):
        of_setting = rows[rows["setting"] == label]
        chosen = of_setting[~of_setting["control"].astype(bool)].set_index("video").sort_index()
        drawn = of_setting[of_setting["control"].astype(bool)]
        for j, measure in enumerate(measures):
            random = drawn.groupby("video")[measure].mean().sort_index()
            bounds = bounds_of(measure.split("_")[0])
            own[i, j] = mean_interval(chosen[measure].to_numpy(float), bounds=bounds)
            control[i, j] = mean_interval(random.to_numpy(float), bounds=bounds)
            paired = _at_equal_number(drawn, chosen, measure).groupby("video")[measure].mean().reindex(chosen.index)
            difference[i, j] = paired_difference(chosen[measure].to_numpy(float), paired.to_numpy(float), bounds=bounds)
    dims = ("setting", "measure", "statistic")
    against = {"against_tokens": (dims, _against_tokens(rows, labels, list(measures)))}
    return xr.Dataset(
        against | {"value": (dims, own), "random_cuts": (dims, control), "difference": (dims, difference)},
        coords={
            "setting": labels,
            "measure": list(measures),
            "statistic": ["mean", "low", "high", "videos"],
            "series": ("setting", [series_of(label) for label in labels]),
            "long_name": ("measure", list(measures.values())),
        },
        attrs={
            "interval": INTERVAL,
            "kept": "requested and achieved share of tokens differ where budgets are rounded: see kept_*",
            "difference": "segmenter minus mean of the random cuts of the same clip, paired over clips",
            "against_tokens": "FastVID with the segmenter minus as many random tokens of the clip, paired over clips",
            "similarity": "cosine of frame features of source mean, float32",
            "cut_tolerance": TOLERANCE,
        },
    )


def _against_tokens(rows: pd.DataFrame, labels: Sequence[str], measures: Sequence[str]) -> Shaped[np.ndarray, "..."]:
    """Answers with FastVID minus those with as many random tokens; NaN for every other measure."""
    found = np.full((len(labels), len(measures), 4), np.nan)
    own = rows[rows["seed"] == -1]
    for i, label in enumerate(labels):
        of_setting = own[own["setting"] == label].sort_values("video")
        for j, measure in enumerate(measures):
            if measure.split("_")[0] in ANSWERS:
                pair = (of_setting[name].to_numpy(float) for name in (measure, f"tokens_{measure}"))
                found[i, j] = paired_difference(*pair, bounds=bounds_of(measure.split("_")[0]))
    return found


def _at_equal_number(drawn: pd.DataFrame, chosen: pd.DataFrame, measure: str) -> pd.DataFrame:
    """Draws of random cuts with which FastVID keeps as many tokens as with the segmenter, where that matters."""
    name, _, retention = measure.partition("_")
    if name not in ("error", "anchors", *ANSWERS) or not retention:
        return drawn
    kept = f"kept_{retention}"
    return drawn[drawn[kept] == drawn["video"].map(chosen[kept])]


def _show(summary: xr.Dataset, variable: str, measure: str, digits: int, sign: str = "") -> list[str]:
    """Means with their intervals in brackets, a dash where there is none."""
    return [
        "-" if np.isnan(m) else f"{m:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"
        for m, low, high, _ in summary[variable].sel(measure=measure).values
    ]


def segment_table(summary: xr.Dataset) -> pd.DataFrame:
    """What each setting cuts: one line per setting, intervals in brackets."""
    show = partial(_show, summary)
    return pd.DataFrame(
        {
            "setting": [str(s) for s in summary["setting"].values],
            "segments": show("value", "segments", 1),
            "within": show("value", "within", 3),
            "across cut": show("value", "across_cut", 3),
            "contrast - random": show("difference", "contrast", 3, "+"),
            "F1": show("value", "f1", 2),
            "F1 - random": show("difference", "f1", 2, "+"),
        }
    )


def fastvid_table(summary: xr.Dataset, retention: float) -> pd.DataFrame:
    """What FastVID keeps with each setting at one requested retention."""
    show = partial(_show, summary)
    return pd.DataFrame(
        {
            "setting": [str(s) for s in summary["setting"].values],
            "kept": show("value", f"kept_{retention:g}", 3),
            "context tokens per segment": show("value", f"anchors_{retention:g}", 1),
            "error": show("value", f"error_{retention:g}", 3),
            "error - random": show("difference", f"error_{retention:g}", 3, "+"),
        }
    )


def answer_table(summary: xr.Dataset, retention: float) -> pd.DataFrame:
    """What the model answers with what FastVID keeps, beside random cuts and random tokens at as many tokens."""
    answered = summary.isel(setting=[is_answered(str(s)) for s in summary["setting"].values])
    show = partial(_show, answered)
    r = f"{retention:g}"
    return pd.DataFrame(
        {
            "setting": [str(s) for s in answered["setting"].values],
            "kept": show("value", f"kept_{r}", 3),
            "accuracy": show("value", f"accuracy_{r}", 3),
            "- random cuts": show("difference", f"accuracy_{r}", 3, "+"),
            "- random tokens": show("against_tokens", f"accuracy_{r}", 3, "+"),
            "as with all": show("value", f"agreement_{r}", 3),
            "KL": show("value", f"kl_{r}", 3),
            "KL - random cuts": show("difference", f"kl_{r}", 3, "+"),
        }
    )


@study_main(NAME)
def main(options: Options) -> xr.Dataset:
    """Run what is missing, write rows, summary and figure, and print the table.

    Raises
    ------
    NothingMeasuredError
        If every video failed.
    """
    segmenters = settings_of(options)
    depends = {
        name: getattr(options, name) for name in ("frames", "seeds", "features", "retentions", "answer_draws", "skills")
    }
    measure = partial(measure_video, segmenters=segmenters, options=options)
    run = run_study(options, segmenters, measure, name=NAME, version=VERSION, depends=depends)
    summary = summarise(run, segmenters, measures_of(options))
    summary = save_summary(summary, run, options.out, frames=options.frames, seeds=options.seeds)
    write_json(example(run, summary), options.out / "example.json")
    draw(options.out)
    print(segment_table(summary).to_string(index=False))
    for retention in options.retentions:
        print(f"\nFastVID asked to keep {retention:g} of the tokens, with these segments:")
        print(fastvid_table(summary, retention).to_string(index=False))
    least = min(options.retentions)
    if not np.isnan(summary["value"].sel(measure=f"accuracy_{least:g}")).all():
        print(f"\nAnswers about {', '.join(options.skills)} at {least:g}:")
        print(answer_table(summary, least).to_string(index=False))
    print(f"\n{below_table(summary, len(run.facts))}; {options.seeds} draws of random cuts.")
    print("error: relative reconstruction error; -: no draw of random cuts makes FastVID keep equally many tokens.")
    print(say_what_ran(run))
    print(f"Rows, summary and figure: {options.out}")
    return summary


def draw(out: Path) -> list[Path]:
    """Draw the study's figure from what is stored in `out`."""
    summary = open_dataset(out / "summary.zarr").load()
    rows = pd.read_parquet(out / "rows.parquet")
    facts = json.loads((out / "example.json").read_text())
    return plot.save(plot.segment_ablation(summary, rows, facts), out / NAME)


def example(run: StudyRun, summary: xr.Dataset) -> Facts:
    """The clip shown in detail: the first with the most known cuts; of each segmenter the setting nearest to them."""
    video = max(run.facts, key=lambda name: len(run.facts[name]["known_cuts"] or ()))
    wanted = len(run.facts[video]["known_cuts"] or ()) + 1
    rows = run.rows[(run.rows["video"] == video) & (run.rows["seed"] == -1)].set_index("setting")
    chosen = {}
    for setting, series in zip(summary["setting"].values, summary["series"].values, strict=True):
        distance = abs(int(rows.loc[setting, "segments"]) - wanted)
        if series not in chosen or distance < chosen[series][0]:
            chosen[series] = (distance, str(setting))
    return {"video": video, "settings": [s for _, s in chosen.values()], **run.facts[video]}


if __name__ == "__main__":
    command_line(Options, main)
