"""What is left of accuracy when a method keeps fewer tokens? Every method and control, from all tokens to a twentieth.

For each clip, method and retention: which of the clip's questions the reduced model answers rightly (likelihood of the
options), how far it is from the full model, what the reduction does to positions, coverage and attention, how much the
answers need the order of frames, and what the language model then costs; also of methods inside the model (FastV,
HoliTom's and PruneVid's inner parts). Methods that keep equally many tokens of a clip are compared question by
question.

    python -m studies.retention_curve
    python -m studies.retention_curve --methods fastvid "fastvid:d=0.2" --retentions 0.5 0.25 --videos world:64?seed=7
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from redundancy.evaluation.cost.flops import fastvid_flops, holitom_flops
from redundancy.evaluation.inside import LAYERS, Inside, tokens_of_layers
from redundancy.evaluation.order import shuffled
from redundancy.evaluation.statistics.measures import measure_of
from redundancy.evaluation.statistics.scores import separation_text
from redundancy.evaluation.statistics.told import extremes
from redundancy.metrics.measure import defined_mean
from redundancy.plot import compose
from redundancy.pruning import INNER_METHODS, METHODS, label_of
from redundancy.pruning.base import Method
from redundancy.reduction import Reduction

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
ORDER = {"order_sensitivity": "KL of the first token on shuffled frames from that on frames in order"}
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
    inside
        Methods inside the language model as they were published, beside the others: "fastv" on all tokens,
        "holitom_inner" behind HoliTom, "prunevid_stage2" behind PruneVid, at the published layers' relative depth.
    shuffles
        Orders of the frames in which every condition answers again, which says how much its answers need the order.
    """

    retentions: tuple[float, ...] = (1.0, 0.5, 0.25, 0.1, 0.05)
    inner: tuple[str, ...] = ()
    inside: tuple[str, ...] = ("fastv", "holitom_inner", "prunevid_stage2")
    shuffles: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(0, "shuffles")

    def conditions(self) -> list[Condition]:
        """All tokens, every method at every retention, and what reduces inside the model."""
        within = [c for name in self.inside for c in inside_conditions(name, self.retentions)]
        return [FULL, *grid(self.methods, self.retentions, inner=self.inner), *within]


def inside_conditions(name: str, retentions: Sequence[float]) -> list[Condition]:
    """A published method inside the model, with what it is published behind, at every retention that it can have."""
    if name not in INNER_METHODS or name == "random_inner":
        known = [n for n in INNER_METHODS if n != "random_inner"]
        raise ValueError(f"inside={name!r} given, expected some of {known}")
    method = INNER_METHODS[name].method
    depth, outer = method.layer / LAYERS, METHODS.get({"holitom_inner": "holitom"}.get(name, method.outer or ""))
    made = []
    for r in sorted(retentions, reverse=True) if name != "prunevid_stage2" else [None]:
        before: Any = None if outer is None else outer.method
        if before is not None and r is not None:
            before = replace(before, retention=r)
        elif r == 1:
            continue  # nothing goes
        share = r if r is not None and before is None else 0.5
        text = name if before is None else f"{label_of(before, rate=False)} + {name}"
        factors: dict[str, Any] = {"method": text, "requested": float("nan") if r is None else r}
        inside = Inside(method, ((depth, share),), outer=before)
        label = text if r is None else f"{text}({r:g})"
        made.append(Condition(label=label, parts={"inside": inside, "metrics": ()}, kind=method.kind, factors=factors))
    return made


def measure(video: VideoSession, condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of a condition: one per seed and question."""
    inside: Inside | None = condition.parts.get("inside")
    method = condition.method if inside is None else inside.outer
    inner = condition.inner if inside is None else inside.methods(video.decoder.layers) or ()
    first: int | None = None
    for seed, reduction, note in [(-1, None, "")] if method is None else video.decide(method, seeds=options.seeds):
        answered = video.answers(reduction, inner, against="full", keep_logits=True)
        about: Row = {"seed": seed, "replaced": note, **costs(video, reduction, inner=inner, answered=answered)}
        # metrics are of what is decided in front of the model: inside, every question leaves other tokens
        metrics = condition.parts.get("metrics", () if inner else tuple(MEASURED))
        if reduction is not None and metrics:
            values = video.values(reduction, metrics, rows="last")  # of attention the mean over the questions
            about |= {name: defined_mean(values[name]) for name in metrics}
        if inside is not None:
            answered = answered.assign(achieved=answered["achieved_inside"], requested=condition.factors["requested"])
        first = first if first is not None else seed
        orders = options.shuffles if seed == first else 0  # of what draws the first draw says it
        about["order_sensitivity"] = in_other_orders(
            video, method, seed=seed, inner=inner, answered=answered, shuffles=orders
        )
        yield from ({**row, **about} for row in answered[[*TOLD, *KEPT]].to_dict("records"))


def costs(video: VideoSession, reduction: Reduction | None, *, inner: Any, answered: pd.DataFrame) -> dict[str, float]:
    """FLOPs of the video tokens in all layers, by two formulas."""
    if not inner:
        return video.flops(reduction)
    size = video.tokens.grid.frames * video.tokens.grid.tokens_per_frame
    last = float(answered["achieved_inside"].mean()) * size
    tokens = tokens_of_layers(inner, size if reduction is None else reduction.kept, last, layers=video.decoder.layers)
    formulas = {"flops_fastvid": fastvid_flops, "flops_holitom": holitom_flops}
    return {name: formula(tokens, video.decoder) for name, formula in formulas.items()}


def in_other_orders(
    video: VideoSession, method: Method | None, *, seed: int, inner: Any, answered: pd.DataFrame, shuffles: int
) -> float:
    """KL of the first token from the condition's own on shuffled frames, mean over questions and orders; NaN: none."""
    found = []
    for order in range(shuffles):
        changed = partial(VideoSession, video.model, shuffled(video.clip, seed=order), video.questions)
        shown = video.once(("shuffled", order), changed)
        one: Any = replace(method, seed=seed) if method is not None and seed >= 0 else method  # type: ignore[call-arg]
        reduction = None if one is None else next(iter(shown.decide(one))).reduction
        found.append(float(shown.answers(reduction, inner, against=answered)["kl"].mean()))
    return float(np.mean(found)) if found else float("nan")


def derive(summary: xr.Dataset, rows: pd.DataFrame, *, facts: Facts, options: Options) -> xr.Dataset:
    """Adds, as text, which skills separate methods that keep equally many tokens, at a half and at a quarter."""
    texts = []
    for r in (r for r in options.retentions if r in (0.5, 0.25)):
        asked = {
            str(c.factors["method"]): c.label
            for c in options.conditions()
            if c.factors["requested"] == r and "inside" not in c.parts  # tokens are many in the first layers
        }
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


def found(summary: xr.Dataset) -> list[str]:
    """Which methods keep the answers when little is kept, and which need the order of frames."""
    told = []
    for r in (0.25, 0.05):
        where = {"requested": r}
        told.append(extremes(summary, "correct", where=where, says=f"accuracy when asked for {r:g} of the tokens"))
        told.append(extremes(summary, "kl", where=where, says=f"KL from the full model at {r:g}"))
    return [*told, extremes(summary, "order_sensitivity", says="KL on shuffled frames from that on frames in order")]


STUDY = Study(
    name="retention_curve",
    version=4,
    options=Options,
    conditions=Options.conditions,
    measure=measure,
    depends=("seeds", "shuffles"),
    questions=required_questions,
    measures={**dict(zip(KNOWN, map(measure_of, KNOWN), strict=True)), **MEASURED, **ORDER},
    values={
        "value": Values(measures=[*ANSWERS, *MEASURED, *ORDER, *COST]),
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
                "order": Column("order_sensitivity", ".2f", alone=True),
                "MFLOPs": Column("flops_fastvid", ".0f", alone=True, scale=1e-6),
            }
        ),
        lambda summary: str(summary.attrs["separations"]),
    ),
    figures={"": figure},
    finding=found,
    published={"fastvid/table-1": (), "holitom/main-ov7b": ("inner_layer",), "vcast/llava-ov-7b": ()},
)

if __name__ == "__main__":
    STUDY.command_line()
