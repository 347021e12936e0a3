"""Position drift and coverage of a reduction as one number per measure, and what a reduction is held against."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial

from redundancy.evaluation.decisions import anchors_alone
from redundancy.evaluation.session import VideoSession
from redundancy.metrics.measure import defined_mean
from redundancy.metrics.registry import SCALINGS
from redundancy.reduction import Reduction

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
OUTPUT_OF = {  # the output of a metric whose mean a measure is, where it has another name
    "moved_cells": "grid_displacement_space",
    "moved_seconds": "grid_displacement_seconds",
    "moved_ids": "position_displacement_time",
    "alignment": "alignment_all",
    "coherence": "coherence_all",
    "distance_ratio": "distance_to_text_ratio",
    "largest_gap": "largest_gap_seconds",
}
RANDOM = "random"


def drift_measures(
    video: VideoSession, reduction: Reduction, names: Collection[str] = tuple(DRIFT | COVERAGE)
) -> dict[str, float]:
    """Measures of a reduction: means over its outputs and the frames of what metrics give, NaN left out.

    Parameters
    ----------
    names
        Of `DRIFT` and `COVERAGE`. The ratio of distances is NaN where the session's prompt does not end behind the
        video, because the family gives text ids from before its end (Qwen2.5-VL with its ids in seconds).

    Raises
    ------
    ValueError
        If a name is unknown.
    """
    if unknown := sorted(set(names) - {*DRIFT, *COVERAGE}):
        raise ValueError(f"names {unknown} given, expected some of {[*DRIFT, *COVERAGE]}")
    behind = video.once("prompt ends behind", partial(_ends_behind, video), owner=__name__)
    defined = [n for n in names if n != "reconstruction_gap" and (behind or n != "distance_ratio")]
    values = video.values(reduction, [OUTPUT_OF.get(n, n) for n in defined])
    row = dict.fromkeys(names, float("nan"))
    for name in defined:
        each = values[OUTPUT_OF.get(name, name)].astype(float)
        if name == "turn_coverage":  # turns of the trajectory as it is, not at unit length too
            each = each[[SCALINGS.index("raw")]]
        row[name] = defined_mean(abs(each) if name == "time_warp" else each)
    if "reconstruction_gap" in row:
        row["reconstruction_gap"] = video.reconstruction_gap(reduction)
    return row


def _ends_behind(video: VideoSession) -> bool:
    positions = video.tokens.positions
    return positions is not None and video.prompt_end.last_position >= int(positions.max())


def variants_of(video: VideoSession, reduction: Reduction, *, seeds: int) -> Iterator[tuple[str, int, Reduction]]:
    """A reduction and what it is held against, each with as many tokens: name, seed (-1: none), reduction.

    `own` as the method decides; `anchors_alone` its anchors with nothing merged into them, where it merges;
    `at_anchors` its outputs at the position ids of their anchors; `renumbered` numbered consecutively; `random` as many
    tokens drawn at random over the whole video, for each seed.
    """
    yield "own", -1, reduction
    if not reduction.is_selection:
        yield "anchors_alone", -1, anchors_alone(reduction)
    yield "at_anchors", -1, replace(reduction, placement="anchor", positions=None)
    yield "renumbered", -1, replace(reduction, placement="renumbered", positions=None)
    yield from ((RANDOM, seed, video.random_like(reduction, seed=seed)) for seed in range(seeds))
