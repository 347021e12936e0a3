"""What does an answer cost, by stage, and how much of it does each method save? Every method against the full model.

For each clip and condition: milliseconds of reading, processor, tower, decision, shortening, language model and
decoding; time to the first token, tokens per second, peak memory, and FLOPs by both published formulas. Each timed
answer has an answer of the full model right beside it, in turn before and after; ratios are medians over these pairs.
The full model paired with itself shows the noise. Times are measurements of a machine at one moment: nothing is taken
from earlier runs, and every run replaces the stored results.

    python -m studies.efficiency
    python -m studies.efficiency --shape llava-onevision-0.5b-small-tower --frames 8 --limit 1 --repeats 3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import torch
import xarray as xr
from matplotlib.figure import Figure

import redundancy as rd
from redundancy.evaluation.cost.pairs import PairedAnswers, machine, pairs_text, summarise_pairs, time_pairs
from redundancy.evaluation.cost.random_model import random_model
from redundancy.evaluation.statistics.told import extremes
from redundancy.models import VideoLLM
from redundancy.plot import compose
from redundancy.plot.labelled import retention_near
from redundancy.pruning.table import METHODS

from . import FULL, Column, Condition, Facts, Row, Study, StudyOptions, Table, VideoSession, grid
from .core.panels import over_retention, panel, stacked_bars


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Measure the cost of an answer with every method.

    Parameters
    ----------
    shape
        In place of a model: random weights of a stated shape, "llava-onevision-0.5b", or
        "llava-onevision-0.5b-small-tower" with a tower that fits a CPU.
    prompt
        The question.
    methods
        Names of the methods; none: the full model alone.
    retentions
        Shares of the tokens to keep; methods with a fixed rate run once.
    new_tokens
        Length of the answer.
    repeats
        Pairs per clip and condition.
    threads
        Threads of torch on the CPU; none: as torch has it. On a machine that others use too, one is steadier.
    """

    shape: str | None = None
    prompt: str = "how many scenes ?"
    methods: tuple[str, ...] = tuple(METHODS)
    retentions: tuple[float, ...] = (0.5, 0.25, 0.1)
    new_tokens: int = 16
    repeats: int = 5
    threads: int | None = None
    limit: int | None = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        self.conditions()
        self.at_least(1, "repeats", "threads")
        self.at_least(2, "new_tokens")

    def conditions(self) -> list[Condition]:
        """The full model, and every method at every retention."""
        return [FULL, *(grid(self.methods, self.retentions) if self.methods else [])]

    def load(self) -> VideoLLM:
        """The model, or random weights of a shape."""
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return rd.load_model(self.model) if self.shape is None else random_model(self.shape)


def measure(video: VideoSession, conditions: Sequence[Condition], options: Options) -> list[Row]:
    """Rows of pairs of answers; nothing of the session is used, which would spare the tower."""
    assert video.source is not None
    ask = partial(PairedAnswers, prompt=options.prompt, frames=options.frames, new_tokens=options.new_tokens)
    return time_pairs(ask(video.model, video.source), conditions, repeats=options.repeats)


def derive(summary: xr.Dataset, rows: pd.DataFrame, *, facts: Facts, options: Options) -> xr.Dataset:
    """Medians and quartiles over pairs, and where they were measured."""
    made, weights = summarise_pairs(rows), "loaded" if options.shape is None else "random, seed 0"
    labels = [c.label for c in options.conditions() if c.label in made["condition"]]
    return made.sel(condition=labels).assign_attrs(next(iter(facts.values())), weights=weights)


STAGES = {  # greys for what every answer has, colours for what the method adds; none is a method's colour
    "tower": ("vision tower", "0.72"),
    "decision": ("decision", "crimson"),
    "shorten": ("shortening", "lightcoral"),
    "language": ("language model", "0.35"),
    "other": ("other", "0.9"),
}


def figure(summary: xr.Dataset) -> Figure:
    """Stages until the first token, and what each method saves against the share of tokens that it keeps."""
    over = partial(panel, over_retention, variable="ratio", label="ratio to full model", limits=(0, None))
    beside = partial(over, curves={"FLOPs (FastVID's formula)": {"measure": "flops_fastvid"}})
    asked = retention_near(summary)
    stages = "until the first token" + f", {asked:g} requested" * (asked > 0)
    panels: dict[str, Any] = {
        stages: panel(stacked_bars, STAGES, label="ms, median"),
        "decision, shortening, language model": beside("prefill"),
        "time to the first token": beside("first_token"),
        "peak memory, language model": over("peak_language"),
    }
    return compose(summary, panels, height=6.2, layout=("ab", "ac", "ad"), width_ratios=(1.12, 1))


def found(summary: xr.Dataset) -> list[str]:
    """What methods save of the time until the first token."""
    where = {"requested": retention_near(summary)}
    return [
        extremes(summary, "prefill", of="ratio", where=where, says="prefill with the decision, over full"),
        extremes(summary, "first_token", of="ratio", where=where, says="time to the first token, over full"),
    ]


alone = partial(Column, alone=True)
ratio = partial(alone, form=".2f", of="ratio")
STUDY = Study(
    name="efficiency",
    version=2,
    options=Options,
    conditions=Options.conditions,
    load=Options.load,
    measure_all=measure,
    depends=("prompt", "new_tokens", "repeats", "shape", "threads"),
    questions=lambda source, options: (),
    facts=lambda video, options: machine(video.model),
    values={},
    derive=derive,
    tables=(
        Table(
            {
                "tower ms": alone("tower", ".1f"),
                "decision ms": alone("decision", ".2f"),
                "shorten ms": alone("shorten", ".2f"),
                "language ms": alone("language", ".1f"),
                "first token ms": alone("first_token", ".1f"),
                "tokens/s": alone("decode_rate", ".1f"),
                "GFLOP FastVID": alone("flops_fastvid", ".3f"),
                "GFLOP HoliTom": alone("flops_holitom", ".3f"),
                "peak MB": alone("peak", ".1f"),
                "language peak MB": alone("peak_language", ".1f"),
                "prefill ratio": ratio("prefill"),
                "first token ratio": ratio("first_token"),
                "total ratio": ratio("total"),
            }
        ),
        pairs_text,
    ),
    figures={"": figure},
    stored=False,
    finding=found,
    published={"fastvid/table-5": (), "holitom/ttft": (), "vcast/efficiency-qwen3-vl-8b": ()},
)

if __name__ == "__main__":
    STUDY.command_line()
