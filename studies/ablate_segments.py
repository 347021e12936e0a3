"""Which segmentation holds alike frames together and cuts where scenes change? Every segmenter against random cuts.

For each clip and each segmenter (over its numbers of segments and thresholds): number and length of segments,
similarity inside segments and across cuts, agreement with the known scene cuts, what FastVID keeps with these segments,
and the same for random cuts into as many segments. Intervals are over clips, differences from random cuts are paired.
Where clips bring questions, the model answers them with what FastVID keeps, beside random cuts and as many random
tokens. FastVID runs with the budgets of its LLaVA-Video variant, which loses no token to rounding. Random cuts with
which it keeps another number of tokens, because a budget was clamped, are left out there.

    python -m studies.ablate_segments
    python -m studies.ablate_segments --videos my_videos/ --model llava-hf/llava-onevision-qwen2-7b-ov-hf --frames 32
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from redundancy import plot
from redundancy.evaluation import segmentation as seg
from redundancy.evaluation.statistics.bounds import bounds_of
from redundancy.evaluation.statistics.measures import measure_of
from redundancy.evaluation.statistics.told import differing, extremes
from redundancy.plot import compose
from redundancy.plot.methods import names_of
from redundancy.pruning.parts.segment import SEGMENTERS, RandomCuts
from redundancy.reduction import Reduction

from . import Column, Condition, Contrast, Facts, Measure, Row, Study, StudyOptions, Table, Values, VideoSession
from .core.panels import panel, segments, similarity, sweep

CONTROL = "random_cuts"
TOLERANCE = 1
ANSWERS = ("accuracy", "agreement", "kl")
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
    seeds: int = 3
    answer_seeds: int = 1
    skills: tuple[str, ...] = ("digit", "when", "where", "count")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of([n for n in SEGMENTERS if n != CONTROL], "segmenters")
        self.at_least(1, "seeds", "answer_seeds")
        self.conditions()
        if not self.retentions or not all(0 < r <= 1 for r in self.retentions):
            raise ValueError(f"retentions={list(self.retentions)} given, expected shares of the tokens in (0, 1]")

    def conditions(self) -> list[Condition]:
        """Every segmenter at every number of segments and threshold that it takes."""
        sweep = partial(seg.segmenter_sweep, thresholds=self.thresholds, features=self.features)
        return [condition for name in self.segmenters for condition in sweep(name, segments=self.segments)]


def measures_of(options: Options) -> dict[str, str | Measure]:
    """Every measure, with what it means; the model answers at the least retention."""
    made: dict[str, str | Measure] = dict(seg.SEGMENT_MEASURES)
    answers = {name: measure_of(name).long_name for name in ANSWERS}
    for r in options.retentions:
        for name, meaning in (seg.KEPT_MEASURES | (answers if r == min(options.retentions) else {})).items():
            made[f"{name}_{r:g}"] = Measure(f"{name}_{r:g}", f"{meaning} at retention {r:g}", bounds=bounds_of(name))
    return made


def measure(video: VideoSession, condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of a segmenter, of random cuts into as many segments, and of as many random tokens as FastVID keeps."""
    lengths, least = tuple(condition.parts["segmenter"](video.tokens).tolist()), min(options.retentions)
    kept = seg.fastvid_with_segments(video, lengths, least)
    variants: list[tuple[str, int, tuple[int, ...], Reduction]] = [("own", -1, lengths, kept)]
    for seed in range(options.seeds):
        cuts = tuple(RandomCuts(segments=len(lengths), seed=seed)(video.tokens).tolist())
        variants.append((CONTROL, seed, cuts, seg.fastvid_with_segments(video, cuts, least)))
    variants += [("random_tokens", s, (), video.random_like(kept, seed=s)) for s in range(options.answer_seeds)]
    for variant, seed, cuts, reduction in variants:
        row: Row = {"variant": variant, "seed": seed}
        if cuts:  # many settings and seeds end in the same
            row |= video.once(("segments", cuts), partial(of_segments, video, cuts, options))
        if condition.factors["by_number"] and video.questions and seed < options.answer_seeds:
            key = ("answers", cuts or (kept.kept, seed, variant))
            answers = video.once(key, partial(video.answers, reduction, against="full"))
            found = {"accuracy": answers["correct"], "agreement": answers["agreement"], "kl": answers["kl"]}
            row |= {f"{name}_{least:g}": float(values.astype(float).mean()) for name, values in found.items()}
        yield row


def of_segments(video: VideoSession, lengths: tuple[int, ...], options: Options) -> Row:
    """Measures of segments, and of what FastVID keeps with them."""
    row: Row = {"lengths": list(lengths)}
    row |= seg.segment_measures(video.tokens, lengths, known=seg.known_cuts(video), tolerance=TOLERANCE)
    for r in options.retentions:
        row |= {f"{name}_{r:g}": value for name, value in seg.kept_with_segments(video, lengths, r).items()}
    return row


def tables(summary: xr.Dataset) -> Iterator[Table | str]:
    """What each setting cuts, what FastVID keeps with it at each retention, and what the model then answers."""
    minus, beside = (partial(Column, form="+.3f", of=of) for of in ("difference", "against_tokens"))
    cuts = {"segments": Column("segments", ".1f"), "within": Column("within"), "across cut": Column("across_cut")}
    cuts |= {"contrast - random": minus("contrast"), "F1": Column("f1", ".2f"), "F1 - random": minus("f1", form="+.2f")}
    yield Table(cuts, name="segments")
    for r in retentions_of(summary, "error"):
        kept = {"kept": Column(f"kept_{r}"), "context tokens per segment": Column(f"anchors_{r}", ".1f")}
        kept |= {"error": Column(f"error_{r}"), "error - random": minus(f"error_{r}")}
        yield Table(kept, f"FastVID asked to keep {r} of the tokens, with these segments:", name=f"kept_{r}")
    for r in retentions_of(summary, "accuracy"):
        told = {"kept": Column(f"kept_{r}"), "accuracy": Column(f"accuracy_{r}")}
        told |= {"- random cuts": minus(f"accuracy_{r}"), "- random tokens": beside(f"accuracy_{r}")}
        told |= {"as the full model": Column(f"agreement_{r}"), "KL": Column(f"kl_{r}")}
        told |= {"KL - random cuts": minus(f"kl_{r}")}
        title = f"Answers about {', '.join(summary.attrs['skills'])} at {r}:"
        yield Table(told, title, where={"by_number": True}, name=f"answers_{r}")
    yield "error: relative reconstruction error; -: with no random cuts FastVID keeps equally many tokens."


def retentions_of(summary: xr.Dataset, measure: str) -> list[str]:
    """Retentions at which a measure is defined for some condition."""
    found = (summary["value"].sel(statistic="n") > 0).any("condition")
    return [m.removeprefix(f"{measure}_") for m in names_of(found["measure"][found]) if m.startswith(f"{measure}_")]


def with_example(summary: xr.Dataset, rows: pd.DataFrame, *, facts: Facts, options: Options) -> xr.Dataset:
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
    cuts = {"agreement with scene cuts": beside("f1", label=f"F1 within {summary.attrs['cut_tolerance']} frame")}
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


def found(summary: xr.Dataset) -> list[str]:
    """Which segmentations find the known cuts, and what FastVID gains by them."""
    least = retentions_of(summary, "error")[-1]
    changed, against = partial(differing, summary, of="difference"), f"at {least} against random cuts"
    told = [
        extremes(summary, "f1", says="agreement with known cuts (F1)"),
        changed("f1", says="F1 against random cuts"),
        changed(f"error_{least}", says=f"reconstruction error {against}"),
    ]
    asked = f"accuracy_{least}" in summary["measure"].values
    return [*told, changed(f"accuracy_{least}", says=f"accuracy {against}")] if asked else told


STUDY = Study(
    name="ablate_segments",
    version=6,
    options=Options,
    conditions=Options.conditions,
    measure=measure,
    depends=("seeds", "features", "retentions", "answer_seeds", "skills"),
    questions=lambda source, options: [q for q in source.questions if q.skill in options.skills],
    facts=lambda video, options: seg.similarity_over_time(video),
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
    finding=found,
    published={"fastvid/table-8": ("interval", "clusters", "c")},
)

if __name__ == "__main__":
    STUDY.command_line()
