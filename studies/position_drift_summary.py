"""What `studies.position_drift` reports: its measures, means with intervals, and tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from studies.conditions import (
    INTERVAL,
    STATISTICS,
    Condition,
    interval_text,
    intervals,
    labels_of,
    per_video,
    retention_columns,
)
from studies.runner import StudyRun

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
MEASURES = DRIFT | COVERAGE
VARIANTS = {
    "own": "as the method decides",
    "anchors_alone": "its anchors with nothing merged into them",
    "at_anchors": "its outputs at the position ids of their anchors",
    "renumbered": "its outputs numbered consecutively",
    "random": "as many tokens drawn at random over the whole video",
}
COMPARISONS = {  # which variant minus which, and on what
    "merging": ("own", "anchors_alone", tuple(MEASURES)),
    "renumbering": ("renumbered", "at_anchors", ("moved_ids", "alignment", "time_warp", "distance_ratio")),
    "against_random": ("own", "random", tuple(COVERAGE)),
}


def summarise(run: StudyRun, conditions: Sequence[Condition]) -> xr.Dataset:
    """Means over clips with intervals (`value`), and paired differences of variants (`COMPARISONS`).

    Dims: variant, setting, measure, statistic. NaN where a variant has no such measure, and merging where a method
    merges nothing.
    """
    rows = run.rows[run.rows["setting"].isin([c.label for c in conditions])]
    labels, measures = [c.label for c in conditions], list(MEASURES)
    means = per_video(rows, ("variant", "setting"), measures)
    value = np.full((len(VARIANTS), len(labels), len(measures), 4), np.nan)
    differences = {name: np.full((len(labels), len(measures), 4), np.nan) for name in COMPARISONS}
    merges = rows.groupby("setting")["merges"].any()
    for i, label in enumerate(labels):
        for v, variant in enumerate(VARIANTS):
            if (variant, label) in means:
                value[v, i] = intervals(means[variant, label])
        for name, (first, second, on) in COMPARISONS.items():
            if (first, label) in means and (second, label) in means:
                paired = means[first, label][list(on)] - means[second, label][list(on)]
                differences[name][i, [measures.index(m) for m in on]] = intervals(paired, paired=True)
    dims = ("setting", "measure", "statistic")
    placed = rows[rows["variant"] == "own"].groupby("setting")["placement"].first()
    return xr.Dataset(
        {"value": (("variant", *dims), value)} | {name: (dims, cells) for name, cells in differences.items()},
        coords=labels_of(conditions, rows)
        | {
            "merges": ("setting", [bool(merges[label]) for label in labels]),
            "placement": ("setting", [str(placed[label]) for label in labels]),
            "variant": list(VARIANTS),
            "variant_meaning": ("variant", list(VARIANTS.values())),
            "measure": measures,
            "long_name": ("measure", list(MEASURES.values())),
            "statistic": list(STATISTICS),
        },
        attrs={"interval": INTERVAL, "merging": "clips on which a method merges nothing are left out"}
        | {name: f"{first} minus {second}, paired over clips" for name, (first, second, _) in COMPARISONS.items()},
    )


def _table(summary: xr.Dataset, columns: dict[str, tuple[xr.DataArray, str, int, str]]) -> pd.DataFrame:
    """Settings by columns of a variable, measure, digits and sign."""
    shown = {
        title: [interval_text(cell, digits, sign) for cell in values.sel(measure=measure)]
        for title, (values, measure, digits, sign) in columns.items()
    }
    return pd.DataFrame(retention_columns(summary) | shown)


def drift_table(summary: xr.Dataset) -> pd.DataFrame:
    """Where outputs stand: one line per setting."""
    own, at = summary["value"].sel(variant="own"), summary["value"].sel(variant="at_anchors")
    return _table(
        summary,
        {
            "moved, cells": (at, "moved_cells", 2, ""),
            "moved, s": (at, "moved_seconds", 2, ""),
            "coherence": (own, "coherence", 2, ""),
            "alignment": (own, "alignment", 2, ""),
            "alignment, renumbered - anchor": (summary["renumbering"], "alignment", 2, "+"),
            "distance to text": (summary["value"].sel(variant="renumbered"), "distance_ratio", 2, ""),
        },
    )


def coverage_table(summary: xr.Dataset) -> pd.DataFrame:
    """What outputs cover: one line per setting."""
    own = summary["value"].sel(variant="own")
    return _table(
        summary,
        {
            "frames": (own, "frames_covered", 2, ""),
            "cells": (own, "cells_covered", 2, ""),
            "gap": (own, "reconstruction_gap", 2, ""),
            "error - random": (summary["against_random"], "reconstruction_error", 3, "+"),
            "nearest - random": (summary["against_random"], "nearest_distance", 3, "+"),
            "error, merging - pruning": (summary["merging"], "reconstruction_error", 3, "+"),
        },
    )
