"""Where do methods put what they keep, and what do they no longer cover? Every method and control of the table.

For each clip, method and retention: how far the content of the outputs stands from where it came from (cells, seconds,
position ids, and in the rotary embedding's own terms), and what the outputs cover of the clip (frames, cells, turns of
the trajectory, the tokens themselves). Three comparisons on the same clip, each with the same number of tokens:

- merging against pruning: a method against its own anchors with nothing merged into them;
- renumbered against anchor placement of the same outputs;
- a method against as many tokens drawn at random over the whole video.

Alignment compares a place with the original one. Renumbering moves the question along with the video, so part of what
it costs in alignment is a shift that attention, which sees distances alone, does not feel: read it beside the distance
to the question. Intervals are over clips, differences are paired.

    python -m studies.position_drift
    python -m studies.position_drift --videos my_videos/ --model llava-hf/llava-onevision-qwen2-7b-ov-hf --frames 32
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import xarray as xr
from matplotlib.figure import Figure

from redundancy.evaluation.drift import COVERAGE, DRIFT, drift_measures, variants_of
from redundancy.evaluation.statistics.told import differing, extremes
from redundancy.plot import compose
from redundancy.plot.labelled import retention_near

from . import Column, Condition, Contrast, MethodOptions, Row, Study, Table, Values, VideoSession
from .core.panels import over_retention, panel


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Measure position drift and coverage of methods.

    Parameters
    ----------
    prompt
        The question behind the video, to whose last token distances are measured.
    """

    prompt: str = "how many scenes ?"


def measure(video: VideoSession, condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of a condition: one per seed, variant and, of the random one, seed of its own."""
    for seed, reduction, note in video.decide(condition.outer, seeds=options.seeds):
        about: Row = {"seed": seed, "replaced": note, "achieved": reduction.achieved}
        about |= {"placement": reduction.placement, "merges": not reduction.is_selection}
        for variant, own_seed, held in variants_of(video, reduction, seeds=options.seeds):
            names = DRIFT | COVERAGE if variant in ("own", "anchors_alone") else DRIFT
            make = partial(drift_measures, video, held, COVERAGE if variant == "random" else names)
            # many conditions keep equally many tokens
            row = video.once(("random", held.kept, own_seed), make) if variant == "random" else make()
            yield about | {"variant": variant, "variant_seed": own_seed} | row


def drift_figure(summary: xr.Dataset) -> Figure:
    """Distance of content and place, coherence and rotary alignment, and what renumbering changes in both."""
    nobody = "no method here merges: content and place are one"
    early = "undefined on this family: text has ids from before the end of the video"
    over = partial(panel, over_retention)
    merged = partial(over, at={"variant": "at_anchors", "merges": True}, empty=nobody)
    changed = partial(over, variable="renumbering", label="change of rotary alignment", zero=True)
    renumbered = partial(over, at={"variant": "renumbered"}, label="new / old", empty=early)
    panels = {
        "from content to anchor, in the picture": merged("moved_cells", label="cells"),
        "from content to anchor, in time": merged("moved_seconds", label="seconds"),
        "sources of an output agree on its rotation": merged("coherence", label="coherence"),
        "the anchor's rotation fits the content": merged("alignment", label="rotary alignment"),
        "what renumbering changes": changed("alignment"),
        "distance to the question, renumbered": renumbered("distance_ratio"),
    }
    return compose(summary, panels, height=7.6)


def coverage_figure(summary: xr.Dataset) -> Figure:
    """Frames and cells covered, error against k-means centres and random tokens, and what merging adds."""
    over, random = partial(panel, over_retention), {"as many at random": {"variant": "random"}}
    own = partial(over, at={"variant": "own"})
    error = partial(over, "reconstruction_error", label="difference of reconstruction error", zero=True)
    gap = partial(own, "reconstruction_gap", label="reconstruction gap")
    panels = {
        "frames with an output": own("frames_covered", label="share of frames"),
        "cells next to an output of their frame": own("cells_covered", label="share of cells"),
        "reconstruction error over that of k-means": gap(curves=random),
        "reconstruction error, method - as many at random": error(variable="against_random"),
        "reconstruction error, merging - anchors alone": error(variable="merging", empty="no method here merges"),
        "turns of the trajectory with their share": own("turn_coverage", label="share of turns"),
    }
    return compose(summary, panels, height=7.6)


def found(summary: xr.Dataset) -> list[str]:
    """Which outputs stand far from their content, and what merging adds to coverage."""
    where, own = {"requested": retention_near(summary)}, {"variant": "own"}
    return [
        extremes(summary, "moved_seconds", at={"variant": "at_anchors"}, where=where),
        extremes(summary, "coherence", at=own, where=where),
        differing(summary, "alignment", of="renumbering", where=where, says="rotary alignment by renumbering"),
        differing(
            summary,
            "reconstruction_error",
            of="against_random",
            where=where,
            says="reconstruction error against as many random tokens",
        ),
    ]


own = partial(Column, form=".2f", at={"variant": "own"})
at_anchors = partial(Column, form=".2f", at={"variant": "at_anchors"})
MOVED = ["moved_ids", "alignment", "time_warp", "distance_ratio"]
STUDY = Study(
    name="position_drift",
    version=3,
    options=Options,
    conditions=Options.conditions,
    measure=measure,
    depends=("seeds", "prompt"),
    questions=lambda source, options: (),
    facts=lambda video, options: {"last_position": video.prompt_end.last_position},
    measures=DRIFT | COVERAGE,
    values={"value": Values(over=("condition", "variant"))},
    contrasts={
        "merging": Contrast(plus="own", minus="anchors_alone"),
        "renumbering": Contrast(plus="renumbered", minus="at_anchors", measures=MOVED),
        "against_random": Contrast(plus="own", minus="random", measures=list(COVERAGE)),
    },
    flags=("merges",),
    tables=(
        Table(
            {
                "moved, cells": at_anchors("moved_cells"),
                "moved, s": at_anchors("moved_seconds"),
                "coherence": own("coherence"),
                "alignment": own("alignment"),
                "alignment, renumbered - anchor": Column("alignment", "+.2f", of="renumbering"),
                "distance to text": Column("distance_ratio", ".2f", at={"variant": "renumbered"}),
            },
            "Where outputs stand (moved: with outputs at their anchors; distance to text: renumbered, new / old):",
            name="places",
        ),
        Table(
            {
                "frames": own("frames_covered"),
                "cells": own("cells_covered"),
                "gap": own("reconstruction_gap"),
                "error - random": Column("reconstruction_error", "+.3f", of="against_random"),
                "nearest - random": Column("nearest_distance", "+.3f", of="against_random"),
                "error, merging - pruning": Column("reconstruction_error", "+.3f", of="merging"),
            },
            "What outputs cover (random: as many tokens over the whole video; gap: error / that of k-means centres):",
            name="coverage",
        ),
    ),
    figures={"": drift_figure, "coverage": coverage_figure},
    finding=found,
)

if __name__ == "__main__":
    STUDY.command_line()
