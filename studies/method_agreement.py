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

from redundancy.evaluation.session import Draw
from redundancy.evaluation.statistics.told import extremes
from redundancy.metrics.agreement import AGREEMENT, agreement_with_chance
from redundancy.plot import compose
from redundancy.plot.labelled import retention_near
from redundancy.plot.methods import names_of

from . import Column, Condition, MethodOptions, Row, Study, Table, VideoSession, grid
from .core.panels import matrix, panel, sweep


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Compare which tokens methods keep; those with a fixed rate stand beside every retention."""

    seeds: int = 5

    def pairs(self) -> list[Condition]:
        """All pairs of methods at every retention; one that draws is also held against another seed of itself."""
        made = []
        for r in self.retentions:
            for a, b in combinations_with_replacement(grid(self.methods, (r,)), 2):
                if a is not b or hasattr(a.method, "seed"):
                    names = {"first": a.factors["method"], "second": b.factors["method"]}
                    factors = names | {"requested": float(r), "first_kind": a.kind, "second_kind": b.kind}
                    label, parts = f"{names['first']} & {names['second']}({r:g})", {"first": a, "second": b}
                    made.append(Condition(label=label, parts=parts, kind="pair", factors=factors))
        return made


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
    about_zero = partial(among, cmap="RdBu_r")
    over = partial(panel, sweep, x="requested", series=("first", "second"), only=pairs)
    beyond = partial(over, label="Jaccard - expected", zero=True, empty="needs two published methods")
    even = "all keep equally many tokens of every frame"
    panels = {
        f"places kept, Jaccard, {asked:g} requested": among("anchor_jaccard"),
        "the same, beyond chance": about_zero("anchor_excess", span=(-0.5, 0.5)),
        "content kept, Jaccard": among("source_jaccard"),
        "tokens per frame, Spearman (blank: even)": about_zero("budget_spearman", span=(-1.0, 1.0), empty=even),
        "places, beyond chance": beyond("anchor_excess"),
        "places, beyond chance and budgets": beyond("anchor_excess_in_frames"),
    }
    return compose(summary, panels, height=8.8, height_ratios=(3, 3, 1.7))


def found(summary: xr.Dataset) -> list[str]:
    """Which pairs agree beyond chance."""
    most = partial(extremes, summary, where={"requested": retention_near(summary)}, form="+.2f")
    return [
        most("anchor_excess", says="agreement beyond chance"),
        most("anchor_excess_in_frames", says="agreement beyond chance and budgets"),
    ]


STUDY = Study(
    name="method_agreement",
    version=2,
    options=Options,
    conditions=Options.pairs,
    measure=measure,
    depends=("seeds",),
    measures=AGREEMENT,
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
            nearest={"requested": 0.25},
            by=Column("anchor_excess"),
        ),
        lambda summary: (
            "by chance: random choices of as many places; beyond budgets: of as many in every frame;\n"
            "budgets: -: one of the two keeps equally many in all frames."
        ),
    ),
    figures={"": figure},
    finding=found,
)

if __name__ == "__main__":
    STUDY.command_line()
