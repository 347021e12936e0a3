"""Which tokens of a frame? V-CAST's dual anchors against each alone, chance, blocks of 2x2, density, salience, merging.

The published table keeps a quarter. V-CAST's budgets per frame hold for all selectors; "even budget" is its own
selector with as many tokens of every frame, as the blocks of 2 x 2 have: one of each block at random or the first, or
the mean of the block, at its first cell or at its centre. HoliTom and FastVID stand for merging as a whole. Methods
that keep another number of tokens than V-CAST say so under "achieved".

    python -m studies.ablate_selection
    python -m studies.ablate_selection --model tiny-qwen3-vl --only selector
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redundancy.pruning import AveragePool, FastVID, FirstOf2x2, HoliTom, RandomOf2x2, VCast
from redundancy.pruning.base import Method
from redundancy.pruning.parts.salience import RandomSalience
from redundancy.pruning.parts.select import SalienceSelector, Unusual

from .core.ablation import AblationOptions, Change, ablation, with_settings

METRICS = ("reconstruction_error", "cells_covered", "attention_lost", "alignment_all")
SHOWN = (("reconstruction_error", "error", "value"), ("cells_covered", "cells covered", "value"))


@dataclass(frozen=True, kw_only=True)
class Options(AblationOptions):
    """Compare selectors of the tokens of a frame."""

    retentions: tuple[float, ...] = (0.25,)

    def changes(self) -> list[Change]:
        """V-CAST with every selector, and other methods beside it."""
        random = SalienceSelector(salience=RandomSalience())
        selectors: dict[str, dict[str, Any]] = {
            "direction and length": {},
            "direction alone": {"selector": Unusual(length=False)},
            "length alone": {"selector": Unusual(direction=False)},
            "random in frame": {"selector": random},
            "density": {"selector": "density"},
            "salience": {"selector": "salience"},
            "even budget": {"budget": "uniform"},
            "random, even budget": {"budget": "uniform", "selector": random},
        }
        beside: dict[str, Method] = {
            "random of 2x2": RandomOf2x2(),
            "first of 2x2": FirstOf2x2(),
            "average of 2x2": AveragePool(),
            "average of 2x2, centred": AveragePool(placement="centroid"),
            "HoliTom": HoliTom(),
            "FastVID": FastVID(),
        }
        return [
            *with_settings("selector", VCast(), selectors),
            *(Change("in place of V-CAST", name, method, VCast()) for name, method in beside.items()),
        ]


PUBLISHED: dict[str, tuple[str, ...]] = {"vcast/spatial-selection": ("kind",)}
STUDY = ablation("ablate_selection", Options, explaining=METRICS, shown=SHOWN, published=PUBLISHED)

if __name__ == "__main__":
    STUDY.command_line()
