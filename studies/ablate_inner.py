"""Where and how should tokens go inside the language model? Layers, rates, mergers, schedules, and whose attention.

Every condition keeps all tokens, or what HoliTom keeps, in front of the model, and reduces them inside it: FastV and
HoliTom's merging at layers of a relative depth, at several rates; other mergers; FastV in several layers at once, with
the shares of tokens per relative depth of FastVID's table 11 (`fastv_schedule`: the selection rules of the methods
named there are others); FastV by the attention of the last prompt token, and of all tokens of the question. Beside each
stands a random choice of as many tokens in the same layers. FLOPs are those of the video tokens, by the formulas of two
papers. On a model of few layers several depths are one layer: the later ones are left out, and named.

    python -m studies.ablate_inner
    python -m studies.ablate_inner --model llava-hf/llava-onevision-qwen2-7b-ov-hf --depths 0.07 0.25 0.5 0.64 0.75
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from redundancy.evaluation.ablation import ANSWERS, answered
from redundancy.evaluation.cost.flops import DecoderShape, fastvid_flops, holitom_flops
from redundancy.evaluation.inside import FastVByQuestion, Inside, rate_of, tokens_of_layers
from redundancy.evaluation.statistics.measures import measure_of
from redundancy.evaluation.statistics.multiple import paired_tests
from redundancy.evaluation.statistics.told import differing, extremes
from redundancy.plot.methods import names_of
from redundancy.pruning import FastV, HoliTom, HoliTomInner, RandomInner

from . import Column, Condition, Contrast, Facts, Row, Study, Table, Values, VideoSession
from .core.ablation import SHOWN, AblationOptions, asked_at_least_one, figure_of

# shares of all tokens that stay from a relative depth on (FastVID, arXiv:2503.11187, table 11; of 28 layers)
SCHEDULES = {
    "0.29: 4.1%, 0.57: 2%, 0.86: 1%": ((8 / 28, 0.041), (16 / 28, 0.02), (24 / 28, 0.01)),
    "0.11: 10.4%, 0.25: 5.3%, 0.57: 2.9%": ((3 / 28, 0.104), (7 / 28, 0.053), (16 / 28, 0.029)),
}


@dataclass(frozen=True, kw_only=True)
class Options(AblationOptions):
    """Compare reductions inside the language model.

    Parameters
    ----------
    retentions
        Of HoliTom in front of the model, with and without its inner part: one.
    depths
        Relative depths of the layers, in (0, 1).
    rates
        Shares of the tokens that go.
    """

    retentions: tuple[float, ...] = (0.25,)
    depths: tuple[float, ...] = (0.25, 0.5, 0.75)
    rates: tuple[float, ...] = (0.3, 0.5, 0.7, 0.9)

    def __post_init__(self) -> None:
        for name in ("depths", "rates"):
            given = getattr(self, name)
            if not given or not all(0 < x < 1 for x in given):
                raise ValueError(f"{name}={list(given)} given, expected numbers between 0 and 1")
        if len(self.retentions) != 1:
            raise ValueError(f"retentions={list(self.retentions)} given, expected one, that of HoliTom")
        super().__post_init__()

    def conditions(self) -> list[Condition]:
        """All settings, each with its recipe."""
        middle, half = self.depths[len(self.depths) // 2], 0.5
        made: list[tuple[str, str, Inside | None, bool]] = []
        for name, method in (("FastV", FastV()), ("HoliTom's merging", HoliTomInner())):
            for i, depth in enumerate(self.depths):
                inside = Inside(method, ((depth, half),), taken=self.depths[:i])
                made.append((f"{name}, half goes at depth", f"{depth:g}", inside, False))
            for rate in self.rates:
                made.append((f"{name}, share that goes", f"{rate:g}", Inside(method, ((middle, 1 - rate),)), False))
        for merger in ("sequential_halving", "cluster_mean", "drop"):
            of_merger = Inside(HoliTomInner(merger=merger), ((middle, half),))
            made.append(("merger, half goes", merger.replace("_", " "), of_merger, False))
        for name, shares in SCHEDULES.items():
            made.append(("fastv_schedule", name, Inside(FastV(), shares), False))
        for name, method in (("last token", FastV()), ("question", FastVByQuestion())):
            made.append(("attention of", name, Inside(method, ((middle, 0.25),)), False))
        made.append(("HoliTom", "outer alone", None, True))
        made.append(("HoliTom", "outer and inner", Inside(HoliTomInner(), ((middle, half),)), True))
        chosen = self.chosen(setting for setting, *_ in made)
        return [self._condition(*one) for one in made if one[0] in chosen]

    def _condition(self, setting: str, level: str, inside: Inside | None, outer: bool) -> Condition:
        r = self.retentions[0]
        parts = {"inside": inside, "outer": HoliTom(retention=r) if outer else None}
        share = 1.0 if inside is None else inside.shares[-1][1]
        factors: dict[str, str | int | float] = {
            "setting": setting,
            "level": level,
            "default": 0,
            "asked": r if outer else 1.0,
            "requested": share,
        }
        return Condition(label=f"{setting}: {level}", parts=parts, kind="inner", factors=factors)


def measure(video: VideoSession, condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of a reduction inside the model, and of random choices of as many tokens in the same layers."""
    inside, outer = condition.parts["inside"], condition.parts["outer"]
    shape = video.decoder
    methods = () if inside is None else inside.methods(shape.layers)
    if methods is None:
        return
    reduction = None if outer is None else video.once("outer", lambda: next(iter(video.decide(outer))).reduction)
    found = answered(video, reduction, methods)
    size = video.tokens.grid.frames * video.tokens.grid.tokens_per_frame
    tokens = tokens_of_layers(
        methods, size if reduction is None else reduction.kept, found.achieved * size, layers=shape.layers
    )
    about: Row = {"layers": ", ".join(str(one.layer) for one in methods), "replaced": ""}
    about |= {
        "tokens": tokens,
        "flops_fastvid": fastvid_flops(tokens, shape),
        "flops_holitom": holitom_flops(tokens, shape),
    }
    yield about | {"variant": "own", "seed": -1, "achieved": found.achieved} | found.means
    for seed in range(options.seeds if methods else 0):
        drawn = tuple(RandomInner(layer=one.layer, drop_rate=rate_of(one), seed=seed) for one in methods)
        row = answered(video, reduction, drawn).means
        yield about | {"variant": "random", "seed": seed, "achieved": float("nan")} | row


def tested(summary: xr.Dataset, rows: pd.DataFrame, *, facts: Facts, options: Options) -> xr.Dataset:
    """Adds p and q of each condition against random choices, and what was left out."""
    labels = names_of(summary["condition"]).tolist()
    known = rows[rows["error"].isna()]
    found = paired_tests(known, plus="own", minus="random", measures=ANSWERS, conditions=labels)
    left_out = [c.label for c in options.conditions() if c.label not in labels]
    own = known[known["variant"] == "own"]
    at = own.groupby("condition")["layers"].first().reindex(labels)
    tokens = [np.mean(np.stack(own.loc[own["condition"] == label, "tokens"].tolist()), 0) for label in labels]
    summary = summary.assign_coords(layers=("condition", at.tolist()))
    summary = summary.assign(tokens=(("condition", "decoder_layer"), np.stack(tokens)))
    shape = json.dumps(next(iter(facts.values()))["shape"])  # of the model: the same for every clip
    return summary.assign(difference_test=found).assign_attrs(left_out=left_out, shape=shape)


def tables(summary: xr.Dataset) -> Iterator[Table | str]:
    """Answers and FLOPs of every condition, beside random choices."""
    if (summary["value"].sel(measure="accuracy", statistic="n") > 0).any():
        minus = partial(Column, form="+.3f", of="difference")
        q = partial(Column, form=".2f", of="difference_test", at={"test": "q"})
        told = {"accuracy": Column("accuracy"), "- random": minus("accuracy"), "q": q("accuracy")}
        told |= {
            "as the full model": Column("agreement"),
            "KL": Column("kl"),
            "KL - random": minus("kl"),
            "q of KL": q("kl"),
        }
        yield Table(told, f"Answers about {', '.join(summary.attrs['skills']) or 'everything'}:", name="answers")
    cost = partial(Column, form=".1f", alone=True, scale=1e-6)
    costs = {"MFLOPs, FastVID's formula": cost("flops_fastvid"), "HoliTom's formula": cost("flops_holitom")}
    yield Table(costs, "What the video tokens cost in all layers:", name="flops")
    yield "In each layer, from the first (video tokens: MFLOPs by FastVID's / by HoliTom's formula):\n" + by_layer(
        summary
    )
    if left_out := summary.attrs["left_out"]:
        yield f"Left out, for their layers are one, or those of another condition: {'; '.join(left_out)}."
    yield "- random: minus random choices of as many tokens in the same layers; q: Benjamini-Hochberg over all rows."


def by_layer(summary: xr.Dataset) -> str:
    """Tokens and FLOPs of every layer, a line for each course that conditions share."""
    shape, lines = DecoderShape(**json.loads(summary.attrs["shape"])), {}
    for course in summary["tokens"].values:
        each = [replace(shape, layers=1, ffn_width=width) for width in shape.ffn_widths]
        costs = [(n, fastvid_flops(n, s) / 1e6, holitom_flops(n, s) / 1e6) for n, s in zip(course, each, strict=True)]
        lines[tuple(course)] = "  ".join(f"{n:.0f}: {one:.1f} / {other:.1f}" for n, one, other in costs)
    return "\n".join(lines.values())


def figure(summary: xr.Dataset) -> Figure:
    """Answers of every condition, and how far they are from random choices."""
    shown = [*SHOWN[:1], ("accuracy", "minus random", "difference"), SHOWN[2], ("kl", "KL - random", "difference")]
    return figure_of(summary, shown=shown)


def found(summary: xr.Dataset) -> list[str]:
    """Which reductions keep the answers, and which do better than chance."""
    return [
        extremes(summary, "accuracy"),
        differing(summary, "kl", of="difference", says="KL from the full model, against random choices,"),
        differing(summary, "accuracy", of="difference", says="accuracy against random choices"),
        extremes(summary, "kl", says="KL from the full model"),
    ]


STUDY = Study(
    name="ablate_inner",
    options=Options,
    conditions=Options.conditions,
    measure=measure,
    depends=("seeds", "skills"),
    questions=asked_at_least_one,
    facts=lambda video, options: {"shape": asdict(video.decoder)},
    measures={**ANSWERS, **{n: measure_of(n) for n in ("flops_fastvid", "flops_holitom")}},
    values={"value": Values(where={"variant": "own"}), "random": Values(where={"variant": "random"})},
    contrasts={"difference": Contrast(plus="own", minus="random")},
    derive=tested,
    tables=(tables,),
    figures={"": figure},
    finding=found,
    published={
        "holitom/inner-layer-sweep": ("inner_layer",),
        "holitom/inner-rate-sweep": ("inner_rate",),
        "fastvid/table-11": ("schedule",),
    },
)

if __name__ == "__main__":
    STUDY.command_line()
