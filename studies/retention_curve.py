"""What is left of accuracy when a method keeps fewer tokens? Every method and control, from all tokens to a twentieth.

For each clip, method and retention: which of the clip's questions the reduced model answers rightly (likelihood of the
options), how far it is from the full model, what the reduction does to positions, coverage and attention, and what the
language model then costs. Methods that keep equally many tokens of a clip are compared question by question.

    python -m studies.retention_curve
    python -m studies.retention_curve --methods fastvid "fastvid:d=0.2" --retentions 0.5 0.25 --videos world:64?seed=7
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from redundancy.evaluation.statistics.measures import measure_of
from redundancy.evaluation.statistics.scores import separation_text
from redundancy.metrics.measure import defined_mean
from redundancy.plot import compose

from . import FULL, Column, Condition, Facts, MethodOptions, Row, Study, Table, Values, VideoSession, grid
from .core.panels import over_retention, panel
from .core.study import required_questions

ANSWERS = ("correct", "probability", "agreement", "kl")
COST = ("flops_fastvid", "flops_holitom")
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
KNOWN = (*ANSWERS, *COST, "chance")
TOLD = ("question", "skill", "text", "answer", "predicted", "correct", "probability", "chance", "agreement", "kl")
KEPT = ("requested", "achieved", "achieved_with_newlines", "kept")


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Measure what methods keep of the answers.

    Parameters
    ----------
    inner
        Methods inside the language model, each combined with every method: "holitom_inner:layer=2;merge_rate=0.5".
    """

    retentions: tuple[float, ...] = (1.0, 0.5, 0.25, 0.1, 0.05)
    inner: tuple[str, ...] = ()

    def conditions(self) -> list[Condition]:
        """All tokens, and every method at every retention."""
        return [FULL, *grid(self.methods, self.retentions, inner=self.inner)]


def measure(video: VideoSession, condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of a condition: one per seed and question."""
    decided = [(-1, None, "")] if condition.method is None else video.decide(condition.method, seeds=options.seeds)
    for seed, reduction, note in decided:
        about: Row = {"seed": seed, "replaced": note, **video.flops(reduction)}
        if reduction is not None:
            values = video.values(reduction, [*MEASURED], rows="last")  # of attention the mean over the questions
            about |= {name: defined_mean(values[name]) for name in MEASURED}
        answered = video.answers(reduction, condition.inner, against="full")
        yield from ({**row, **about} for row in answered[[*TOLD, *KEPT]].to_dict("records"))


def derive(summary: xr.Dataset, rows: pd.DataFrame, *, facts: Facts, options: Options) -> xr.Dataset:
    """Adds, as text, which skills separate methods that keep equally many tokens, at a half and at a quarter."""
    texts = []
    for r in (r for r in options.retentions if r in (0.5, 0.25)):
        asked = {str(c.factors["method"]): c.label for c in options.conditions() if c.factors["requested"] == r}
        texts.append(separation_text(rows, asked, f"{r:g}"))
    attention = "last prompt token, mean over the clip's questions and all layers"
    return summary.assign_attrs(attention=attention, separations="\n\n".join(texts))


def figure(summary: xr.Dataset) -> Figure:
    """Accuracy, fidelity, drift and attention lost of every method and control over the achieved share of tokens."""
    over, share = partial(panel, over_retention), "share of questions"
    chance = {"chance": float(summary["chance"].sel(measure="chance", statistic="estimate").mean())}
    panels = {
        "accuracy": over("correct", label=share, levels=chance),
        "agreement with full model": over("agreement", label=share),
        "KL from the full model": over("kl", label="nat"),
        "reconstruction error": over("reconstruction_error", label="relative error"),
        "attention lost": over("attention_lost", label="share of attention"),
        "rotary alignment": over("alignment_all", label="rotary alignment"),
    }
    return compose(summary, panels, height=5.6, columns=3)


STUDY = Study(
    name="retention_curve",
    version=3,
    options=Options,
    conditions=Options.conditions,
    measure=measure,
    depends=("seeds",),
    questions=required_questions,
    measures={**dict(zip(KNOWN, map(measure_of, KNOWN), strict=True)), **MEASURED},
    values={
        "value": Values(measures=[*ANSWERS, *MEASURED, *COST]),
        "by_skill": Values(over=("condition", "skill"), measures=["correct"]),
        "chance": Values(over=("skill",), measures=["chance"]),
    },
    derive=derive,
    tables=(
        Table(
            {
                "accuracy": Column("correct"),
                "as the full model": Column("agreement"),
                "KL": Column("kl", ".2f"),
                "alignment": Column("alignment_all", ".2f"),
                "error": Column("reconstruction_error"),
                "attention lost": Column("attention_lost", ".2f"),
                "MFLOPs": Column("flops_fastvid", ".0f", alone=True, scale=1e-6),
            }
        ),
        lambda summary: str(summary.attrs["separations"]),
    ),
    figures={"": figure},
)

if __name__ == "__main__":
    STUDY.command_line()
