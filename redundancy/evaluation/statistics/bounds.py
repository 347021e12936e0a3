"""Between what the mean of a measure can lie: what intervals of few videos are cut to."""

from __future__ import annotations

from redundancy.evaluation.statistics.intervals import UNBOUNDED, Bounds
from redundancy.metrics.table import METRICS

SHARES = (
    *("correct", "accuracy", "agreement", "probability", "chance", "achieved", "precision", "recall"),
    *("f1", "attention_lost_sources", "salience_auc", "expected", "least", "held", "same_tokens", "same_answers"),
    *("anchor_expected", "anchor_expected_in_frames", "source_expected", "achieved_first", "achieved_second"),
)
DIFFERENCES = ("excess", "anchor_excess", "anchor_excess_in_frames", "source_excess")  # of two shares
# studies take absolute values, also of the metric time_warp
SIZES = (
    "kl",
    "moved_cells",
    "moved_seconds",
    "moved_ids",
    "time_warp",
    "distance_ratio",
    "flops_fastvid",
    "flops_holitom",
    "order_sensitivity",
)
# outputs of metrics beside their main one, and measures of studies
BOUNDS: dict[str, Bounds] = {
    **dict.fromkeys(SHARES, (0, 1)),
    **dict.fromkeys(DIFFERENCES, (-1, 1)),
    **dict.fromkeys(SIZES, (0, float("inf"))),
    "alignment_all": METRICS["alignment"].bounds,
    "coherence_all": METRICS["coherence"].bounds,
    "reached": (-float("inf"), 1),
}


def bounds_of(measure: str) -> Bounds:
    """Least and largest value of a metric's main output or of a measure of `evaluate`, infinite where none is known."""
    if measure in BOUNDS:
        return BOUNDS[measure]
    return METRICS[measure].bounds if measure in METRICS else UNBOUNDED
