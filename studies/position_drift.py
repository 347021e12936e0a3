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

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import xarray as xr
from matplotlib.figure import Figure

from redundancy.evaluation.conditions import Condition
from redundancy.evaluation.decisions import anchors_alone
from redundancy.evaluation.session import VideoSession
from redundancy.metrics.measure import defined_mean
from redundancy.plot import compose
from redundancy.reduction import Reduction
from studies.core.panels import over_retention, panel
from studies.core.report import Column, Table
from studies.core.study import MethodOptions, Row, Study
from studies.core.summary import Contrast, Values

DRIFT = {
    "moved_cells": "distance in the grid between an output's content and its place, cells",
    "moved_seconds": "distance in time between an output's content and its place, s",
    "moved_ids": "distance on the first position axis between an output's content and its place, position ids",
    "alignment": "how well the rotation of an output fits its content",
    "coherence": "how well the sources of an output agree on its rotation",
    "inversions": "share of pairs of outputs out of their order in the video",
    "time_warp": "seconds by which a frame's outputs seem moved in time, absolute",
    "distance_ratio": "distance to the last prompt token, new / old",
}
COVERAGE = {
    "frames_covered": "share of frames with an output",
    "largest_gap": "longest stretch without an output, s",
    "turn_coverage": "share of turns of the trajectory with their share of outputs",
    "cells_covered": "share of cells next to an output of their frame",
    "nearest_distance": "cosine distance of a token to its nearest output",
    "reconstruction_error": "relative error of replacing tokens by their nearest output",
    "reconstruction_gap": "that error over that of as many k-means centres",
}
# measure -> metric, and the output of it whose mean over outputs or frames it is
OUTPUTS = {
    "moved_cells": ("grid_displacement", "grid_displacement_space"),
    "moved_seconds": ("grid_displacement", "grid_displacement_seconds"),
    "moved_ids": ("position_displacement", "position_displacement_time"),
    "alignment": ("alignment", "alignment_all"),
    "coherence": ("coherence", "coherence_all"),
    "inversions": ("inversions", "inversions"),
    "time_warp": ("time_warp", "time_warp"),
    "distance_ratio": ("distance_to_text", "distance_to_text_ratio"),
    **{name: (name, name) for name in COVERAGE if name != "reconstruction_gap"},
    "largest_gap": ("largest_gap", "largest_gap_seconds"),
}


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Measure position drift and coverage of methods.

    Parameters
    ----------
    prompt
        The question behind the video, to whose last token distances are measured.
    """

    prompt: str = "how many scenes ?"


def question_is_behind(video: VideoSession) -> bool:
    """False where the family gives text ids from before the video's end (Qwen2.5-VL with its ids in seconds)."""
    positions = video.tokens.positions
    return positions is not None and video.prompt_end.last_position >= int(positions.max())


def measured(video: VideoSession, reduction: Reduction, names: Iterable[str]) -> Row:
    """Measures of a reduction; the ratio of distances is NaN where the question is not behind the video."""
    known = {name: OUTPUTS[name] for name in names if name in OUTPUTS}
    if not video.once("is behind", partial(question_is_behind, video)):
        known.pop("distance_ratio", None)
    values = video.values(reduction, sorted({metric for metric, _ in known.values()}))
    row: Row = dict.fromkeys(names, float("nan"))
    for name, (_, output) in known.items():
        each = values[output].astype(float)
        row[name] = defined_mean(abs(each) if name == "time_warp" else each)
    if "reconstruction_gap" in row:
        row["reconstruction_gap"] = video.reconstruction_gap(reduction)
    return row


def variants_of(video: VideoSession, reduction: Reduction, *, seeds: int) -> Iterator[tuple[str, int, Reduction]]:
    """A reduction and what it is held against: name of the variant, seed (-1: none), reduction."""
    yield "own", -1, reduction
    if not reduction.is_selection:
        yield "anchors_alone", -1, anchors_alone(reduction)
    yield "at_anchors", -1, replace(reduction, placement="anchor")
    yield "renumbered", -1, replace(reduction, placement="renumbered")
    yield from (("random", seed, video.random_like(reduction, seed=seed)) for seed in range(seeds))


def measure(video: VideoSession, condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of a condition: one per seed, variant and, of the random one, seed of its own."""
    for seed, reduction, note in video.decide(condition.outer, seeds=options.seeds):
        about: Row = {"seed": seed, "replaced": note, "achieved": reduction.achieved}
        about |= {"placement": reduction.placement, "merges": not reduction.is_selection}
        for variant, own_seed, held in variants_of(video, reduction, seeds=options.seeds):
            names = DRIFT | COVERAGE if variant in ("own", "anchors_alone") else DRIFT
            make = partial(measured, video, held, COVERAGE if variant == "random" else names)
            # many conditions keep equally many tokens
            row = video.once(("random", held.kept, own_seed), make) if variant == "random" else make()
            yield about | {"variant": variant, "variant_seed": own_seed} | row


def drift_figure(summary: xr.Dataset) -> Figure:
    """Distance of content and place, coherence and rotary alignment, and what renumbering changes in both."""
    nobody = "no method here merges: content and place are one"
    merged = partial(panel, over_retention, at={"variant": "at_anchors", "merges": True}, empty=nobody)
    panels = {
        "from content to anchor, in the picture": merged("moved_cells", label="cells"),
        "from content to anchor, in time": merged("moved_seconds", label="seconds"),
        "sources of an output agree on its rotation": merged("coherence", label="coherence"),
        "the anchor's rotation fits the content": merged("alignment", label="rotary alignment"),
        "what renumbering changes": panel(
            over_retention, "alignment", variable="renumbering", label="change of rotary alignment", zero=True
        ),
        "distance to the question, renumbered": panel(
            over_retention,
            "distance_ratio",
            at={"variant": "renumbered"},
            label="new / old",
            empty="undefined on this family: text has ids from before the end of the video",
        ),
    }
    return compose(summary, panels, height=7.6)


def coverage_figure(summary: xr.Dataset) -> Figure:
    """Frames and cells covered, error against k-means centres and random tokens, and what merging adds."""
    own, random = partial(panel, over_retention, at={"variant": "own"}), {"as many at random": {"variant": "random"}}
    error = partial(
        panel, over_retention, "reconstruction_error", label="difference of reconstruction error", zero=True
    )
    panels = {
        "frames with an output": own("frames_covered", label="share of frames"),
        "cells next to an output of their frame": own("cells_covered", label="share of cells"),
        "reconstruction error over that of k-means": own(
            "reconstruction_gap", label="reconstruction gap", curves=random
        ),
        "reconstruction error, method - as many at random": error(variable="against_random"),
        "reconstruction error, merging - anchors alone": error(variable="merging", empty="no method here merges"),
        "turns of the trajectory with their share": own("turn_coverage", label="share of turns"),
    }
    return compose(summary, panels, height=7.6)


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
        "renumbering": Contrast(
            plus="renumbered", minus="at_anchors", measures=["moved_ids", "alignment", "time_warp", "distance_ratio"]
        ),
        "against_random": Contrast(plus="own", minus="random", measures=list(COVERAGE)),
    },
    flags=("merges",),
    tables=(
        Table(
            {
                "moved, cells": Column("moved_cells", ".2f", at={"variant": "at_anchors"}),
                "moved, s": Column("moved_seconds", ".2f", at={"variant": "at_anchors"}),
                "coherence": Column("coherence", ".2f", at={"variant": "own"}),
                "alignment": Column("alignment", ".2f", at={"variant": "own"}),
                "alignment, renumbered - anchor": Column("alignment", "+.2f", of="renumbering"),
                "distance to text": Column("distance_ratio", ".2f", at={"variant": "renumbered"}),
            },
            "Where outputs stand (moved: with outputs at their anchors; distance to text: renumbered, new / old):",
        ),
        Table(
            {
                "frames": Column("frames_covered", ".2f", at={"variant": "own"}),
                "cells": Column("cells_covered", ".2f", at={"variant": "own"}),
                "gap": Column("reconstruction_gap", ".2f", at={"variant": "own"}),
                "error - random": Column("reconstruction_error", "+.3f", of="against_random"),
                "nearest - random": Column("nearest_distance", "+.3f", of="against_random"),
                "error, merging - pruning": Column("reconstruction_error", "+.3f", of="merging"),
            },
            "What outputs cover (random: as many tokens over the whole video; gap: error / that of k-means centres):",
        ),
    ),
    figures={"": drift_figure, "coverage": coverage_figure},
)

if __name__ == "__main__":
    STUDY.command_line()
