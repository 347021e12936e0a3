"""Similarity of neighbouring frames over time, and segmentations below it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float, Int64
from matplotlib.axes import Axes


def similarity_over_time(
    axes: Axes,
    time: Float[np.ndarray, "frames"],
    similarity: Float[np.ndarray, "transitions"],
    *,
    known_cuts: Int64[np.ndarray, "cuts"] | None = None,
) -> None:
    """Transition similarity over seconds, each value between its two frames; known cuts as dashed lines."""
    middle = (time[1:] + time[:-1]) / 2
    axes.plot(middle, similarity, color="0.2", marker="o", label="transition similarity")
    for i, cut in enumerate(() if known_cuts is None else known_cuts):
        axes.axvline(middle[cut], color="tab:red", linestyle="--", linewidth=1, label="scene cut" if i == 0 else None)
    axes.set(xlabel="time, s", ylabel="cosine")


def segment_bars(
    axes: Axes,
    time: Float[np.ndarray, "frames"],
    segmentations: dict[str, Sequence[int]],
    *,
    palette: dict[str, Any],
    known_cuts: Int64[np.ndarray, "cuts"] | None = None,
) -> None:
    """Segments as bars over seconds, one row per segmentation, neighbours in different shades; known cuts dashed."""
    step = float(np.median(np.diff(time))) if len(time) > 1 else 1.0
    edges = np.append(time - step / 2, time[-1] + step / 2)
    for row, (label, lengths) in enumerate(segmentations.items()):
        starts = np.concatenate([[0], np.cumsum(lengths)])
        for i, (a, b) in enumerate(pairwise(starts)):
            axes.barh(
                row, edges[b] - edges[a], left=edges[a], height=0.7, color=palette[label], alpha=0.9 if i % 2 else 0.45
            )
    for cut in () if known_cuts is None else known_cuts:
        axes.axvline((time[cut] + time[cut + 1]) / 2, color="tab:red", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(segmentations)), list(segmentations))
    axes.invert_yaxis()
    axes.set(xlabel="time, s", xlim=(edges[0], edges[-1]))
    axes.tick_params(axis="y", length=0)
