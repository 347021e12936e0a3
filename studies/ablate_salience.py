"""How much should salience decide, and whose? FastVID's share of context tokens d, and sources of salience.

FastVID from salient tokens alone (d = 0) to context tokens alone (d = 1, no salience at all); with every source of
salience that the model gives, with token norms in place of attention (the swap by which published ports differ), and
with a random one; HoliTom with its attention and the same swaps; and attention without its sinks, places that receive
outlying attention in most frames. Beside the answers stands the language model's own attention on what is lost. FastVID
runs with the budgets of its LLaVA-Video variant, which loses no token to rounding.

    python -m studies.ablate_salience
    python -m studies.ablate_salience --only d --model tiny-qwen3-vl
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from redundancy.pruning import FastVID, HoliTom
from redundancy.pruning.parts.salience import WithoutSinks

from .core.ablation import AblationOptions, Change, ablation, with_settings

METRICS = ("attention_lost", "reconstruction_error", "cells_covered")
SHOWN = (("attention_lost", "attention lost", "value"), ("reconstruction_error", "error", "value"))
EVEN = FastVID(variant="llava_video")
SOURCES = ("pooling_head", "received", "mean_query", "norm", "random")


@dataclass(frozen=True, kw_only=True)
class Options(AblationOptions):
    """Compare shares and sources of salience.

    Parameters
    ----------
    shares
        d: share of context tokens among those kept.
    """

    shares: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)

    def changes(self) -> list[Change]:
        """FastVID's d and sources, HoliTom's sources, and attention without its sinks."""
        received = replace(EVEN, salience="received")
        return [
            *with_settings("d", EVEN, {f"{d:g}": {"d": d} for d in self.shares}),
            *with_settings("source, FastVID", EVEN, {"native": {}, "none (d = 1)": {"d": 1.0}}),
            *sources("source, FastVID", EVEN, {name: name for name in SOURCES}),
            *sources("source, HoliTom", HoliTom(), {name: name for name in ("received", "norm", "random")}),
            *sources("sinks, FastVID", received, {"as they are": "received", "last": WithoutSinks()}),
            *sources("sinks, HoliTom", HoliTom(), {"as they are": "received", "last": WithoutSinks()}),
        ]


def sources(setting: str, base: FastVID | HoliTom, names: dict[str, object]) -> list[Change]:
    """Changes of the source; on a model without it one is left out, not replaced."""
    made = with_settings(setting, base, {name: {"salience": source} for name, source in names.items()})
    return [replace(change, strict=True) for change in made]


PUBLISHED: dict[str, tuple[str, ...]] = {"fastvid/table-6": ("d",), "fastvid/table-9": ()}
STUDY = ablation("ablate_salience", Options, explaining=METRICS, shown=SHOWN, published=PUBLISHED)

if __name__ == "__main__":
    STUDY.command_line()
