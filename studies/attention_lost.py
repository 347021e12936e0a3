"""What attention of the language model is thrown away, and does vision salience tell? Every method, layer by layer.

The full model answers questions about each clip; its attention to the video tokens is recorded, and every method and
control is judged by it: the share of the attention (on the video) that falls on tokens that are dropped, per layer and
on all layers together. Beside it stand what a random choice of as many tokens would lose on average, which is exactly
the share dropped, and the least that any choice of as many would lose. For each source of salience: its rank
correlation with the attention, how well it finds the most attended tenth, and how much of the attention the top quarter
of each frame holds; beside it the mere order of the tokens, and the attention of the same layer to other questions
about the clip. Intervals are over clips.

    python -m studies.attention_lost
    python -m studies.attention_lost --rows question --videos my_videos/ --prompt "what happens in the video ?"
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pandas as pd
import torch
import xarray as xr
from matplotlib.figure import Figure
from torch import Tensor

from redundancy.evaluation.attention import ALL_LAYERS, layer_attention, lost_by_layer, told_by_layer
from redundancy.evaluation.conditions import Condition
from redundancy.evaluation.decisions import SALIENCE
from redundancy.evaluation.session import VideoSession
from redundancy.plot import compose
from redundancy.plot.labelled import retention_near
from redundancy.questions import Question
from redundancy.sources import VideoSource
from redundancy.tokens import VideoTokens
from studies.core.panels import by_layer, over_retention, panel
from studies.core.report import Column, Table
from studies.core.study import Facts, MethodOptions, Row, Study
from studies.core.summary import Contrast, Values

PREDICTION = Condition(label="salience", kind="reference")
ABOUT_SALIENCE = {"condition": PREDICTION.label}
MEASURES = {
    "attention_lost": "attention on tokens that are not kept, as a share of that on the video",
    "attention_lost_sources": "attention on tokens of which nothing is kept",
    "expected": "what a random choice of as many tokens loses on average: the share not kept",
    "least": "what the best choice of as many tokens loses",
    "excess": "attention_lost minus expected",
    "reached": "part of the way from a random choice to the best one: (expected - lost) / (expected - least)",
}
PREDICTIONS = {
    "salience_attention_agreement": "rank correlation over all video tokens",
    "salience_auc": "area under the ROC curve for the most attended tenth",
    "held": "attention on the quarter of each frame's tokens that score highest, as a share of that on the video",
}


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Measure the attention that methods throw away.

    Parameters
    ----------
    rows
        Whose attention counts: of the last prompt token, or of all tokens of the question (their mean).
    skills
        Of each clip's own questions the first one of each of these skills.
    prompt
        The question about videos that bring none of these.
    """

    rows: Literal["last", "question"] = "last"
    skills: tuple[str, ...] = ("digit", "when", "where")
    prompt: str = "what happens in the video ?"
    seeds: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rows not in ("last", "question"):
            raise ValueError(f"rows={self.rows!r} given, expected 'last' or 'question'")


def questions_of(source: VideoSource, options: Options) -> tuple[Question, ...]:
    """The questions about a video: its own, one per skill, or the prompt."""
    own = () if source.record is None else source.record.questions
    first = {q.skill: q for q in reversed(own) if q.skill in options.skills}
    asked = tuple(first[skill] for skill in options.skills if skill in first)
    return asked or (Question("prompt", options.prompt, "", ("",)),)


def measure(video: VideoSession, condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of a method, one per seed, question and layer; or about salience, one per question, layer and source."""
    asked = video.once("asked", lambda: [layer_attention(video.capture(q.text, options.rows)) for q in video.questions])
    skills = [q.skill for q in video.questions]
    if condition.label == PREDICTION.label:
        scores = salience_and_order(video.tokens)
        for i, (skill, one) in enumerate(zip(skills, asked, strict=True)):
            for row in told_by_layer(one, scores, others=asked[:i] + asked[i + 1 :]):
                yield {"seed": -1, "skill": skill, **row}
        return
    for seed, reduction, note in video.decide(condition.outer, seeds=options.seeds):
        about: Row = {"seed": seed, "replaced": note, "achieved": reduction.achieved}
        for skill, one in zip(skills, asked, strict=True):
            for row in lost_by_layer(one, reduction):
                yield about | {"merges": not reduction.is_selection, "skill": skill, **row}


def salience_and_order(tokens: VideoTokens) -> dict[str, Tensor]:
    """Every salience of the tokens, and for reference their mere order."""
    T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
    scores = {s: tokens.salience_from(s) for s in SALIENCE if s in tokens.salience}
    return scores | {"order": torch.arange(T * N, dtype=torch.float32).view(T, N)}


def predictions(title: str, measure: str, sign: str = "") -> dict[str, Column]:
    """Two columns: how well a source tells attention, and how much better than the order does."""
    return {
        title: Column(measure, f"{sign}.2f", of="prediction"),
        f"{title} - order's": Column(measure, "+.2f", of="above_order"),
    }


def layer_shares(summary: xr.Dataset) -> str:
    """Attention on the video, layer by layer, and what the words of the tables mean."""
    mass = summary["video_share"].sel(measure="video_share", statistic="estimate").drop_sel(layer=ALL_LAYERS).values
    return (
        f"Attention on the video, layer by layer: {', '.join(f'{share:.3f}' for share in mass)}.\n"
        "held: attention on the quarter of each frame's tokens that score highest; by chance a quarter.\n"
        "beyond chance: minus the share of tokens dropped; reached: 0 is a random choice, 1 the most attended tokens."
    )


def figure(summary: xr.Dataset) -> Figure:
    """What methods throw away of the attention, by retention and layer, and what salience tells of it."""
    together, asked = {"layer": ALL_LAYERS}, retention_near(summary)
    best = {"random choice": {"measure": "expected"}, "most attended kept": {"measure": "least"}}
    share = summary["video_share"].sel(measure="video_share", statistic="estimate")
    layers = partial(panel, by_layer, share=share)
    told = partial(layers, lines="source", variable="prediction")
    none = "needs methods with a retention"
    panels = {
        "attention lost, all layers together": panel(
            over_retention, "attention_lost", at=together, curves=best, label="share of attention"
        ),
        "lost beyond chance" + f", {asked:g} requested" * (asked > 0): layers(
            "excess", at={"requested": asked}, label="lost - expected by chance", zero=True, empty=none
        ),
        "from a random choice (0) to the best (1)": panel(
            over_retention, "reached", at=together, label="part of the way", zero=True
        ),
        "attention on each frame's top quarter": told("held", label="share of attention", levels={"by chance": 0.25}),
        "does salience rank as attention does?": told(
            "salience_attention_agreement", label="rank correlation", levels={"by chance": 0}
        ),
        "does it find the most attended tenth?": told(
            "salience_auc", label="area under the ROC curve", levels={"by chance": 0.5}
        ),
    }
    return compose(summary, panels, height=7.8)


def with_kinds(summary: xr.Dataset, rows: pd.DataFrame, facts: Facts, options: Options) -> xr.Dataset:
    """Adds which sources are salience, and which are there for reference."""
    kinds = ["salience" if source in SALIENCE else "reference" for source in summary["source"].values]
    return summary.assign_coords(source_kind=("source", kinds))


STUDY = Study(
    name="attention_lost",
    version=3,
    options=Options,
    conditions=lambda options: [*options.conditions(), PREDICTION],
    measure=measure,
    depends=("seeds", "rows", "skills", "prompt"),
    questions=questions_of,
    facts=lambda video, options: {"questions": [q.text for q in video.questions]},
    measures=MEASURES | PREDICTIONS | {"video_share": "attention on the video"},
    values={
        "value": Values(over=("condition", "layer"), measures=list(MEASURES)),
        "by_skill": Values(over=("condition", "skill"), measures=["attention_lost"], where={"layer": ALL_LAYERS}),
        "prediction": Values(
            over=("source", "layer"), measures=list(PREDICTIONS), where={"condition": PREDICTION.label}
        ),
        "video_share": Values(over=("layer",), measures=["video_share"], where={"condition": PREDICTION.label}),
    },
    contrasts={
        "above_order": Contrast(
            over=("layer",),
            dim="source",
            minus="order",
            measures=list(PREDICTIONS),
            where=ABOUT_SALIENCE,
        )
    },
    derive=with_kinds,
    flags=("merges",),
    tables=(
        Table(
            {
                "lost": Column("attention_lost", at={"layer": ALL_LAYERS}),
                "lost with content": Column("attention_lost_sources", at={"layer": ALL_LAYERS}),
                "beyond chance": Column("excess", "+.3f", at={"layer": ALL_LAYERS}),
                "least": Column("least", alone=True, at={"layer": ALL_LAYERS}),
                "reached": Column("reached", "+.3f", at={"layer": ALL_LAYERS}),
            },
            "Attention on the video that is thrown away, all layers together:",
        ),
        Table(
            predictions("correlation", "salience_attention_agreement", "+")
            | predictions("AUC", "salience_auc")
            | predictions("held", "held"),
            "What tells the attention beforehand:",
            rows=("source", "layer"),
        ),
        layer_shares,
    ),
    figures={"": figure},
)

if __name__ == "__main__":
    STUDY.command_line()
