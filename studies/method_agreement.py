"""Who keeps the same tokens? All pairs of methods and controls at equal requested retention, against chance.

For each clip and pair: Jaccard index of the places kept and of the places whose content is kept, and the correlation of
the numbers kept per frame. Beside each Jaccard index stands what two random choices of the same numbers would give on
average, over the whole video and with both methods' own numbers in every frame: the second says how much of an
agreement is that of budgets alone. Intervals are over clips, differences from chance are paired.

    python -m studies.method_agreement
    python -m studies.method_agreement --videos my_videos/ --model llava-hf/llava-onevision-qwen2-7b-ov-hf --frames 32
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import combinations, combinations_with_replacement

import xarray as xr
from matplotlib.figure import Figure

from redundancy.evaluation.conditions import Condition, grid
from redundancy.evaluation.session import Draw, VideoSession
from redundancy.metrics.agreement import agreement_with_chance
from redundancy.plot import compose
from redundancy.plot.labelled import retention_near
from redundancy.plot.methods import names_of
from studies.core.panels import matrix, panel, sweep
from studies.core.report import Column, Table
from studies.core.study import MethodOptions, Row, Study

SHOWN = 0.25  # the requested retention that is printed
MEASURES = {
    "anchor_jaccard": "Jaccard index of the places kept",
    "source_jaccard": "Jaccard index of the places whose content is kept",
    "budget_spearman": "rank correlation of the numbers kept per frame",
    "anchor_expected": "anchor_jaccard of random choices of the same numbers",
    "anchor_expected_in_frames": "anchor_jaccard of random choices of the same numbers in every frame",
    "source_expected": "source_jaccard of random choices of the same numbers",
    "anchor_excess": "anchor_jaccard minus that of random choices",
    "anchor_excess_in_frames": "anchor_jaccard minus that of random choices with the same numbers in every frame",
    "source_excess": "source_jaccard minus that of random choices",
    "achieved_first": "share of tokens kept by the first method",
    "achieved_second": "share of tokens kept by the second method",
}


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Compare which tokens methods keep; those with a fixed rate stand beside every retention."""

    seeds: int = 5

    def pairs(self) -> list[Condition]:
        """All pairs of methods at every retention; one that draws is also held against another seed of itself."""
        pairs = []
        for r in self.retentions:
            for a, b in combinations_with_replacement(grid(self.methods, (r,)), 2):
                if a is b and not hasattr(a.method, "seed"):
                    continue
                names = {"first": a.factors["method"], "second": b.factors["method"]}
                pairs.append(
                    Condition(
                        label=f"{names['first']} & {names['second']}({r:g})",
                        parts={"first": a, "second": b},
                        kind="pair",
                        factors=names | {"requested": float(r), "first_kind": a.kind, "second_kind": b.kind},
                    )
                )
        return pairs


def measure(video: VideoSession, condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of a pair: one per seed, where one of the two draws."""

    def decided(which: str) -> list[Draw]:
        """One seed more than pairs use, so that a random control can be held against another seed of itself."""
        one: Condition = condition.parts[which]
        return video.once(one.label, lambda: list(video.decide(one.outer, seeds=options.seeds + 1)))

    first, second = decided("first"), decided("second")
    seeds = options.seeds if max(len(first), len(second)) > 1 else 1
    for seed in range(seeds):
        # two controls with one seed draw the same numbers: they would agree beyond chance
        pair = first[seed % len(first)], second[(seed + (len(first) > 1)) % len(second)]
        notes = [f"{condition.factors[n]}: {d.note}" for n, d in zip(("first", "second"), pair, strict=True) if d.note]
        about: Row = {"seed": seed if seeds > 1 else -1, "replaced": "; ".join(dict.fromkeys(notes))}
        yield about | agreement_with_chance(*(draw.reduction for draw in pair))


def figure(summary: xr.Dataset) -> Figure:
    """Who keeps the same tokens: matrices of all pairs at one retention, published pairs over the retention."""
    asked = retention_near(summary)
    published = list(dict.fromkeys(names_of(summary["first"])[names_of(summary["first_kind"]) == "method"]))
    pairs = [" & ".join(pair) for pair in combinations(published, 2)] + ["random_tokens & random_tokens"]
    among = partial(panel, matrix, at={"requested": asked})
    over = partial(
        panel,
        sweep,
        x="requested",
        series=("first", "second"),
        only=pairs,
        label="Jaccard - expected",
        zero=True,
        empty="needs two published methods",
    )
    panels = {
        f"places kept, Jaccard, {asked:g} requested": among("anchor_jaccard"),
        "the same, beyond chance": among("anchor_excess", span=(-0.5, 0.5), cmap="RdBu_r"),
        "content kept, Jaccard": among("source_jaccard"),
        "tokens per frame, Spearman (blank: even)": among(
            "budget_spearman", span=(-1.0, 1.0), cmap="RdBu_r", empty="all keep equally many tokens of every frame"
        ),
        "places, beyond chance": over("anchor_excess"),
        "places, beyond chance and budgets": over("anchor_excess_in_frames"),
    }
    return compose(summary, panels, height=8.8, height_ratios=(3, 3, 1.7))


STUDY = Study(
    name="method_agreement",
    version=2,
    options=Options,
    conditions=Options.pairs,
    measure=measure,
    depends=("seeds",),
    measures=MEASURES,
    tables=(
        Table(
            {
                "kept": Column("achieved_first", alone=True),
                "and": Column("achieved_second", alone=True),
                "anchors": Column("anchor_jaccard", ".2f"),
                "by chance": Column("anchor_expected", ".2f", alone=True),
                "beyond chance": Column("anchor_excess", "+.2f"),
                "beyond budgets": Column("anchor_excess_in_frames", "+.2f"),
                "content": Column("source_jaccard", ".2f"),
                "budgets": Column("budget_spearman", "+.2f"),
            },
            "Pairs by their agreement beyond chance:",
            nearest={"requested": SHOWN},
            by=Column("anchor_excess"),
        ),
        lambda summary: (
            "by chance: random choices of as many places; beyond budgets: of as many in every frame;\n"
            "budgets: -: one of the two keeps equally many in all frames."
        ),
    ),
    figures={"": figure},
)

if __name__ == "__main__":
    STUDY.command_line()
