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
import xarray as xr
from matplotlib.figure import Figure

from redundancy.evaluation import attention
from redundancy.evaluation.decisions import SALIENCE
from redundancy.evaluation.statistics.told import extremes
from redundancy.plot import compose
from redundancy.plot.labelled import retention_near
from redundancy.questions import one_per_skill

from . import Column, Condition, Contrast, Facts, MethodOptions, Row, Study, Table, Values, VideoSession
from .core.panels import by_layer, over_retention, panel

ALL, LOST, TOLD = attention.ALL_LAYERS, list(attention.LOST_MEASURES), list(attention.TOLD_MEASURES)
PREDICTION = Condition(label="salience", kind="reference")
ABOUT_SALIENCE = {"condition": PREDICTION.label}


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


def measure(video: VideoSession, condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of a method, one per seed, question and layer; or about salience, one per question, layer and source."""
    capture = partial(video.capture, rows=options.rows)
    asked = video.once("asked", lambda: [attention.layer_attention(capture(q.text)) for q in video.questions])
    skills = [q.skill for q in video.questions]
    if condition.label == PREDICTION.label:
        for i, (skill, one) in enumerate(zip(skills, asked, strict=True)):
            for row in attention.told_by_layer(one, video.tokens, others=asked[:i] + asked[i + 1 :]):
                yield {"seed": -1, "skill": skill, **row}
        return
    for seed, reduction, note in video.decide(condition.outer, seeds=options.seeds):
        about: Row = {"seed": seed, "replaced": note, "achieved": reduction.achieved}
        for skill, one in zip(skills, asked, strict=True):
            for row in attention.lost_by_layer(one, reduction):
                yield about | {"merges": not reduction.is_selection, "skill": skill, **row}


def derive(summary: xr.Dataset, rows: pd.DataFrame, *, facts: Facts, options: Options) -> xr.Dataset:
    """Adds which sources are salience, and which are there for reference; methods alone are conditions."""
    kinds = ["salience" if source in SALIENCE else "reference" for source in summary["source"].values]
    return summary.drop_sel(ABOUT_SALIENCE).assign_coords(source_kind=("source", kinds))


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
    asked, best = retention_near(summary), {"random choice": "expected", "most attended kept": "least"}
    together = partial(panel, over_retention, at={"layer": ALL})
    share = summary["video_share"].sel(measure="video_share", statistic="estimate")
    layers = partial(panel, by_layer, share=share)
    told = partial(layers, lines="source", variable="prediction")
    curves = {name: {"measure": measure} for name, measure in best.items()}
    chance = partial(layers, at={"requested": asked}, empty="needs methods with a retention")
    chance = partial(chance, zero=True, label="lost - expected by chance")
    area, rank = "area under the ROC curve", "rank correlation"
    panels = {
        "attention lost, all layers together": together("attention_lost", curves=curves, label="share of attention"),
        "lost beyond chance" + f", {asked:g} requested" * (asked > 0): chance(
            "excess", label="lost - expected by chance"
        ),
        "from a random choice (0) to the best (1)": together("reached", label="part of the way", zero=True),
        "attention on each frame's top quarter": told("held", label="share of attention", levels={"by chance": 0.25}),
        "does salience rank as attention does?": told(TOLD[0], label=rank, levels={"by chance": 0}),
        "does it find the most attended tenth?": told("salience_auc", label=area, levels={"by chance": 0.5}),
    }
    return compose(summary, panels, height=7.8)


def found(summary: xr.Dataset) -> list[str]:
    """How much attention methods throw away, and which salience tells it beforehand."""
    where, at = {"requested": retention_near(summary)}, {"layer": ALL}
    return [
        extremes(summary, "attention_lost", at=at, where=where),
        extremes(summary, "excess", at=at, where=where, form="+.2f", says="attention lost beyond chance"),
        extremes(summary, TOLD[0], of="prediction", at=at, dim="source", says="rank correlation with attention"),
    ]


lost = partial(Column, at={"layer": ALL})
told = partial(Column, form=".2f", of="prediction")
beyond_order = partial(Column, form="+.2f", of="above_order")
STUDY = Study(
    name="attention_lost",
    version=3,
    options=Options,
    conditions=lambda options: [*options.conditions(), PREDICTION],
    measure=measure,
    depends=("seeds", "rows", "skills", "prompt"),
    questions=lambda source, options: one_per_skill(source.questions, options.skills, otherwise=options.prompt),
    facts=lambda video, options: {"questions": [q.text for q in video.questions]},
    measures=attention.LOST_MEASURES | attention.TOLD_MEASURES | {"video_share": "attention on the video"},
    values={
        "value": Values(over=("condition", "layer"), measures=LOST),
        "by_skill": Values(over=("condition", "skill"), measures=["attention_lost"], where={"layer": ALL}),
        "prediction": Values(over=("source", "layer"), measures=TOLD, where=ABOUT_SALIENCE),
        "video_share": Values(over=("layer",), measures=["video_share"], where=ABOUT_SALIENCE),
    },
    contrasts={"above_order": Contrast(("layer",), TOLD, ABOUT_SALIENCE, dim="source", minus="order")},
    derive=derive,
    flags=("merges",),
    tables=(
        Table(
            {
                "lost": lost("attention_lost"),
                "lost with content": lost("attention_lost_sources"),
                "beyond chance": lost("excess", "+.3f"),
                "least": lost("least", alone=True),
                "reached": lost("reached", "+.3f"),
            },
            "Attention on the video that is thrown away, all layers together:",
            name="lost",
        ),
        Table(
            {
                "correlation": told("salience_attention_agreement", form="+.2f"),
                "correlation - order's": beyond_order("salience_attention_agreement"),
                "AUC": told("salience_auc"),
                "AUC - order's": beyond_order("salience_auc"),
                "held": told("held"),
                "held - order's": beyond_order("held"),
            },
            "What tells the attention beforehand:",
            rows=("source", "layer"),
            name="told",
        ),
        layer_shares,
    ),
    figures={"": figure},
    finding=found,
)

if __name__ == "__main__":
    STUDY.command_line()
