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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import pandas as pd
import torch
import xarray as xr
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor

from redundancy.evaluation.conditions import Condition
from redundancy.evaluation.decisions import SALIENCE
from redundancy.evaluation.session import VideoSession
from redundancy.metrics.attention import (
    attention_lost,
    salience_attention_agreement,
    top_mass,
    top_salience_mass,
    video_share,
)
from redundancy.plot import compose
from redundancy.questions import Question
from redundancy.sources import VideoSource
from studies.core.panels import by_layer, over_retention, panel, retention_near
from studies.core.report import Column, Table
from studies.core.study import Facts, MethodOptions, Row, Study
from studies.core.summary import Contrast, Values

ALL = "all"
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


class Asked(NamedTuple):
    """A question and the full model's attention `[layer, query, T, N]` to the video while it reads it.

    The last layer of `attention` is the sum of the others: all layers together, each by what it gives the video. `mass`
    is the share of each layer's rows on the video, `[layer]`, without that sum.
    """

    skill: str
    attention: Float[Tensor, "layers queries frames tokens"]
    mass: Float[Tensor, "real_layers"]

    @property
    def layers(self) -> list[str]:
        """Names of the layers."""
        return [*map(str, range(len(self.attention) - 1)), ALL]


def questions_of(source: VideoSource, options: Options) -> tuple[Question, ...]:
    """The questions about a video: its own, one per skill, or the prompt."""
    own = () if source.record is None else source.record.questions
    first = {q.skill: q for q in reversed(own) if q.skill in options.skills}
    asked = tuple(first[skill] for skill in options.skills if skill in first)
    return asked or (Question("prompt", options.prompt, "", ("",)),)


def asked_of(video: VideoSession, rows: str) -> list[Asked]:
    """The full model's attention for every question about a video."""
    asked = []
    for question in video.questions:
        capture = video.capture(question.text, rows=rows)
        attention = torch.from_numpy(capture["attention"].transpose("layer", "query", "frame", "token").values).float()
        mass = video_share(torch.from_numpy(capture["attention_mass"].values)).mean(1)
        asked.append(Asked(question.skill, torch.cat([attention, attention.sum(0, keepdim=True)]), mass))
    return asked


def lost_rows(video: VideoSession, asked: Sequence[Asked], condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of a method: one per seed, question and layer."""
    for seed, reduction, note in video.decide(condition.outer, seeds=options.seeds):
        kept = len(torch.unique(reduction.anchor_token)) / (reduction.grid.frames * reduction.grid.tokens_per_frame)
        about: Row = {"seed": seed, "replaced": note, "achieved": reduction.achieved}
        about |= {"merges": not reduction.is_selection, "expected": 1 - kept}
        for one in asked:
            lost = attention_lost(one.attention, reduction)
            least = 1 - top_mass(one.attention, top=(kept,))[..., 0] if kept else torch.ones_like(lost.attention_lost)
            values = [x.mean(1).tolist() for x in (lost.attention_lost, lost.attention_lost_sources, least)]
            for layer, place, content, best in zip(one.layers, *values, strict=True):
                possible = 1 - kept - best
                yield about | {
                    "skill": one.skill,
                    "layer": layer,
                    "attention_lost": place,
                    "attention_lost_sources": content,
                    "least": best,
                    "excess": place - (1 - kept),
                    "reached": (1 - kept - place) / possible if possible > 1e-6 else float("nan"),
                }


def prediction_rows(video: VideoSession, asked: Sequence[Asked]) -> Iterator[Row]:
    """Rows about what tells attention beforehand: one per question, layer and source."""
    tokens = video.tokens
    T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
    scores = {s: tokens.salience_from(s) for s in SALIENCE if s in tokens.salience}
    scores["order"] = torch.arange(T * N, dtype=torch.float32).view(T, N)
    for i, one in enumerate(asked):
        others = [a.attention.mean(1) for j, a in enumerate(asked) if j != i]
        for at, layer in enumerate(one.layers):
            sources = dict(scores)
            if others:
                sources["other questions"] = torch.stack([o[at] / o[at].sum() for o in others]).mean(0)
            mass = one.mass[at].item() if layer != ALL else one.mass.mean().item()
            for source, score in sources.items():
                agreement = salience_attention_agreement(one.attention[at], score)
                values = {name: getattr(agreement, name).nanmean().item() for name in agreement._fields}
                values["held"] = top_salience_mass(one.attention[at], score).mean().item()
                row = {"seed": -1, "skill": one.skill, "layer": layer, "source": source, "video_share": mass}
                yield row | values


def measure(video: VideoSession, condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of a method, or about salience."""
    asked = video.once(("asked", options.rows), lambda: asked_of(video, options.rows))
    if condition.label == PREDICTION.label:
        return prediction_rows(video, asked)
    return lost_rows(video, asked, condition, options)


def predictions(title: str, measure: str, sign: str = "") -> dict[str, Column]:
    """Two columns: how well a source tells attention, and how much better than the order does."""
    return {
        title: Column(measure, f"{sign}.2f", of="prediction"),
        f"{title} - order's": Column(measure, "+.2f", of="above_order"),
    }


def layer_shares(summary: xr.Dataset) -> str:
    """Attention on the video, layer by layer, and what the words of the tables mean."""
    mass = summary["video_share"].sel(measure="video_share", statistic="estimate").drop_sel(layer=ALL).values
    return (
        f"Attention on the video, layer by layer: {', '.join(f'{share:.3f}' for share in mass)}.\n"
        "held: attention on the quarter of each frame's tokens that score highest; by chance a quarter.\n"
        "beyond chance: minus the share of tokens dropped; reached: 0 is a random choice, 1 the most attended tokens."
    )


def figure(summary: xr.Dataset) -> Figure:
    """What methods throw away of the attention, by retention and layer, and what salience tells of it."""
    together, asked = {"layer": "all"}, retention_near(summary)
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
        "by_skill": Values(over=("condition", "skill"), measures=["attention_lost"], where={"layer": ALL}),
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
                "lost": Column("attention_lost", at={"layer": ALL}),
                "lost with content": Column("attention_lost_sources", at={"layer": ALL}),
                "beyond chance": Column("excess", "+.3f", at={"layer": ALL}),
                "least": Column("least", alone=True, at={"layer": ALL}),
                "reached": Column("reached", "+.3f", at={"layer": ALL}),
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
