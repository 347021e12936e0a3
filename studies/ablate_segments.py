"""Which segmentation holds alike frames together and cuts where scenes change? Every segmenter against random cuts.

For each clip and each segmenter (over its numbers of segments and thresholds): number and length of segments,
similarity inside segments and across cuts, agreement with the known scene cuts, what FastVID keeps with these
segments, and the same for random cuts into as many segments. Intervals are over clips, differences from
random cuts are paired. Where clips bring questions, the model answers them with what FastVID keeps, beside random cuts
and as many random tokens. FastVID runs with the budgets of its LLaVA-Video variant, which loses no token to rounding.
Random cuts with which it keeps another number of tokens, because a budget was clamped, are left out there.

    python -m studies.ablate_segments
    python -m studies.ablate_segments --videos my_videos/ --model llava-hf/llava-onevision-qwen2-7b-ov-hf --frames 32
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from redundancy import plot
from redundancy.evaluation.conditions import Condition
from redundancy.evaluation.segmentation import known_cuts, segment_measures, segmenter_sweep
from redundancy.evaluation.session import VideoSession
from redundancy.evaluation.statistics.bounds import bounds_of
from redundancy.evaluation.statistics.measures import Measure
from redundancy.metrics.coverage import reconstruction_error
from redundancy.metrics.temporal import transition_similarity
from redundancy.plot import compose
from redundancy.plot.methods import names_of
from redundancy.pruning import FastVID
from redundancy.pruning.parts.segment import SEGMENTERS, DySeg, GivenSegments, RandomCuts
from redundancy.reduction import Reduction
from studies.core.panels import panel, segments, similarity, sweep
from studies.core.report import Column, Table
from studies.core.study import Facts, Row, Study, StudyOptions
from studies.core.summary import Contrast, Values

CONTROL = "random_cuts"
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
KEPT = {
    "error": "reconstruction error of what FastVID keeps",
    "anchors": "context tokens per segment",
    "kept": "share of tokens kept",
}
ANSWERS = {
    "accuracy": "share of the clip's questions that are answered rightly",
    "agreement": "share that is answered as by the full model",
    "kl": "KL divergence of the next token from the full model's, nat",
}
AT_EQUAL_NUMBER = ("error", "anchors", *ANSWERS)


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
        Seeds of random cuts per clip and setting.
    answer_seeds
        Of these, seeds for which the model also answers; and seeds of random tokens.
    skills
        Of each clip's own questions those of these skills are asked.
    """

    segmenters: tuple[str, ...] = tuple(n for n in SEGMENTERS if n != CONTROL)
    segments: tuple[int, ...] = (1, 2, 4, 8)
    thresholds: tuple[float, ...] = (0.8, 0.9, 0.95)
    retentions: tuple[float, ...] = (0.25, 0.1)
    features: str = "mean"
    seeds: int = 20
    answer_seeds: int = 1
    skills: tuple[str, ...] = ("digit", "when", "where", "count")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of([n for n in SEGMENTERS if n != CONTROL], "segmenters")
        self.at_least(1, "seeds", "answer_seeds")
        if min(self.segments, default=0) < 1 or not self.retentions or not all(0 < r <= 1 for r in self.retentions):
            raise ValueError(
                f"segments={list(self.segments)} and retentions={list(self.retentions)} given, expected numbers of at "
                "least 1, and shares of the tokens in (0, 1]"
            )

    @property
    def least(self) -> float:
        """The retention at which the model answers."""
        return min(self.retentions)

    def conditions(self) -> list[Condition]:
        """Every segmenter at every number of segments and threshold that it takes."""
        made = {}  # one segment at tau is in both sweeps
        for name in self.segmenters:
            swept = {"segments": self.segments, "thresholds": self.thresholds}
            for settings, segmenter, over_tau in segmenter_sweep(SEGMENTERS[name], **swept, features=self.features):
                label = f"{name}({', '.join(f'{key}={value:g}' for key, value in settings.items())})"
                answered = "segments" in settings or ("c" in settings and settings["tau"] == DySeg().tau)
                series = f"{name}, over tau" if over_tau else name
                factors: dict[str, Any] = {"method": name, "series": series, "answered": answered}
                made[label] = Condition(label=label, parts={"segmenter": segmenter}, kind="segmenter", factors=factors)
        return list(made.values())


def measures_of(options: Options) -> dict[str, Any]:
    """Every measure, with what it means."""
    swept = {
        f"{name}_{retention:g}": Measure(
            f"{name}_{retention:g}", f"{meaning} at retention {retention:g}", bounds=bounds_of(name)
        )
        for retention in options.retentions
        for name, meaning in (KEPT | (ANSWERS if retention == options.least else {})).items()
    }
    return MEASURES | swept


def measure(video: VideoSession, condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of a segmenter, of random cuts into as many segments, and of as many random tokens as FastVID keeps."""
    lengths = tuple(condition.parts["segmenter"](video.tokens).tolist())
    answering = options.answer_seeds if condition.factors["answered"] and video.questions else 0
    kept = fastvid_with(video, lengths, options.least)
    own = answers(video, kept, lengths, options) if answering else {}
    yield {"seed": -1, "variant": "own"} | of_segments(video, lengths, options) | own
    for seed in range(options.seeds):
        cuts = tuple(RandomCuts(segments=len(lengths), seed=seed)(video.tokens).tolist())
        found = answers(video, fastvid_with(video, cuts, options.least), cuts, options) if seed < answering else {}
        yield {"seed": seed, "variant": CONTROL} | of_segments(video, cuts, options) | found
    for seed in range(options.answer_seeds):
        random = video.random_like(kept, seed=seed)
        found = answers(video, random, (kept.kept, seed, "random"), options) if answering else {}
        yield {"seed": seed, "variant": "random_tokens"} | found


def of_segments(video: VideoSession, lengths: tuple[int, ...], options: Options) -> Row:
    """Measures of segments, and of what FastVID keeps with them; many settings and seeds end in the same."""

    def measured() -> Row:
        row: Row = {"lengths": list(lengths)}
        row |= segment_measures(video.tokens, lengths, known=known_cuts(video), tolerance=TOLERANCE)
        for retention in options.retentions:
            reduction = fastvid_with(video, lengths, retention)
            row[f"error_{retention:g}"] = reconstruction_error(video.tokens.features, reduction).item()
            row[f"anchors_{retention:g}"] = reduction.stages["context_budget"].sum().item() / len(lengths)
            row[f"kept_{retention:g}"] = reduction.achieved
        return row

    return video.once(("segments", lengths), measured)


def fastvid_with(video: VideoSession, lengths: tuple[int, ...], retention: float) -> Reduction:
    """FastVID's decision with these segments; its LLaVA-Video budgets lose no token to rounding."""
    segmenter = GivenSegments(lengths)
    method = FastVID(retention=retention, variant="llava_video", features="mean", segmenter=segmenter)
    return video.once(("fastvid", lengths, retention), lambda: next(video.decide(method)).reduction)


def answers(video: VideoSession, reduction: Reduction, key: object, options: Options) -> Row:
    """Means over the questions with what a reduction keeps."""
    rows = video.once(("answers", key), lambda: video.answers(reduction, against="full"))
    found = {"accuracy": rows["correct"], "agreement": rows["agreement"], "kl": rows["kl"]}
    return {f"{name}_{options.least:g}": float(values.astype(float).mean()) for name, values in found.items()}


def facts(video: VideoSession, options: Options) -> dict[str, Any]:
    """What the figure shows of a clip."""
    known = known_cuts(video)
    return {
        "frame_time": video.tokens.frame_time.tolist(),
        "transition_similarity": transition_similarity(video.tokens.frame_features_from("mean")).tolist(),
        "known_cuts": None if known is None else known.tolist(),
    }


def tables(summary: xr.Dataset) -> str:
    """What each setting cuts, what FastVID keeps with it at each retention, and what the model then answers."""
    minus = partial(Column, form="+.3f", of="difference")
    cuts = {"segments": Column("segments", ".1f"), "within": Column("within"), "across cut": Column("across_cut")}
    cuts |= {"contrast - random": minus("contrast"), "F1": Column("f1", ".2f"), "F1 - random": minus("f1", "+.2f")}
    made = [Table(cuts)]
    for r in retentions_of(summary, "error"):
        kept = {"kept": Column(f"kept_{r}"), "context tokens per segment": Column(f"anchors_{r}", ".1f")}
        kept |= {"error": Column(f"error_{r}"), "error - random": minus(f"error_{r}")}
        made.append(Table(kept, f"FastVID asked to keep {r} of the tokens, with these segments:"))
    for r in retentions_of(summary, "accuracy"):
        told = {
            "kept": Column(f"kept_{r}"),
            "accuracy": Column(f"accuracy_{r}"),
            "- random cuts": minus(f"accuracy_{r}"),
            "- random tokens": minus(f"accuracy_{r}", of="against_tokens"),
            "as the full model": Column(f"agreement_{r}"),
            "KL": Column(f"kl_{r}"),
            "KL - random cuts": minus(f"kl_{r}"),
        }
        title = f"Answers about {', '.join(summary.attrs['skills'])} at {r}:"
        made.append(Table(told, title, where={"answered": True}))
    note = "error: relative reconstruction error; -: with no random cuts FastVID keeps equally many tokens."
    return "\n\n".join([*(text for table in made if (text := table.text(summary))), note])


def retentions_of(summary: xr.Dataset, measure: str) -> list[str]:
    """Retentions at which a measure is defined for some condition."""
    found = (summary["value"].sel(statistic="n") > 0).any("condition")
    return [m.removeprefix(f"{measure}_") for m in names_of(found["measure"][found]) if m.startswith(f"{measure}_")]


def with_example(summary: xr.Dataset, rows: pd.DataFrame, facts: Facts, options: Options) -> xr.Dataset:
    """Adds the clip that is shown: the first with the most known cuts; of each series the setting nearest to them."""
    video = max(facts, key=lambda name: len(facts[name]["known_cuts"] or ()))
    wanted = len(facts[video]["known_cuts"] or ()) + 1
    own = rows[(rows["video"] == video) & (rows["variant"] == "own")].set_index("condition")
    own = own.reindex(summary["condition"].values)
    nearest = (own["segments"] - wanted).abs().groupby(own["series"], sort=False).idxmin()
    lengths = {label: [int(n) for n in own.loc[label, "lengths"]] for label in nearest}
    example = {"video": video, "lengths": lengths, **facts[video]}
    return summary.assign_attrs(example=json.dumps(example), cut_tolerance=TOLERANCE)


def figure(summary: xr.Dataset) -> Figure:
    """Segmenters against random cuts: agreement with scene cuts, contrast, and one clip in detail."""
    example, retentions = json.loads(summary.attrs["example"]), retentions_of(summary, "error")[:2]
    colours = plot.segmenter_colours
    over = partial(panel, sweep, x="segments", series="series", palette=colours, xlabel="segments per clip")
    beside = partial(over, control=CONTROL)
    gained = partial(over, variable="difference", zero=True, label="difference from random cuts")
    tolerance = f"F1 within {summary.attrs['cut_tolerance']} frame"
    cuts = {"agreement with scene cuts": beside("f1", label=tolerance)}
    across = {"similarity across cuts": beside("across_cut", label="cosine")}
    series = dict(zip(names_of(summary["condition"]), names_of(summary["series"]), strict=True))
    colour = colours(dict.fromkeys(series.values()))
    panels = {
        **(cuts if (summary["value"].sel(measure="f1", statistic="n") > 0).any() else across),
        "contrast, within - across segments": gained("contrast"),
        **{f"reconstruction error, FastVID at {r}": gained(f"error_{r}") for r in retentions},
        example["video"]: panel(similarity, example, label="cosine of neighbouring frames"),
        "its segments": panel(segments, example, palette={c: colour[series[c]] for c in example["lengths"]}),
    }
    return compose(summary, panels, height=5.2 + 2.2 * bool(retentions))


STUDY = Study(
    name="ablate_segments",
    version=6,
    options=Options,
    conditions=Options.conditions,
    measure=measure,
    depends=("seeds", "features", "retentions", "answer_seeds", "skills"),
    questions=lambda source, options: [q for q in source.questions if q.skill in options.skills],
    facts=facts,
    measures=measures_of,
    values={
        "value": Values(where={"variant": "own"}),
        CONTROL: Values(where={"variant": CONTROL}),
        "random_tokens": Values(where={"variant": "random_tokens"}),
    },
    contrasts={
        "difference": Contrast(
            plus="own",
            minus=CONTROL,
            equal=lambda name: f"kept_{name.split('_')[1]}" if name.split("_")[0] in AT_EQUAL_NUMBER else None,
        ),
        "against_tokens": Contrast(plus="own", minus="random_tokens"),
    },
    derive=with_example,
    tables=(tables,),
    figures={"": figure},
)

if __name__ == "__main__":
    STUDY.command_line()
