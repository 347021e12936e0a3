"""Between what the mean of a measure can lie: what intervals of few videos are cut to."""

from __future__ import annotations

from redundancy.evaluation.intervals import UNBOUNDED, Bounds
from redundancy.metrics.table import METRICS

SHARES = ("correct", "accuracy", "agreement", "probability", "achieved", "precision", "recall", "f1")
# outputs of metrics beside their main one, and measures of studies
BOUNDS: dict[str, Bounds] = dict.fromkeys(SHARES, (0, 1)) | {
    "alignment_all": METRICS["alignment"].bounds,
    "coherence_all": METRICS["coherence"].bounds,
    "attention_lost_sources": (0, 1),
    "salience_auc": (0, 1),
    "kl": (0, float("inf")),
}


def bounds_of(measure: str) -> Bounds:
    """Least and largest value of a metric's main output or of a measure of `evaluate`; without end where none is known.

    Source: own; the facts of metrics are `redundancy.metrics.table.METRICS`.
    """
    return METRICS[measure].bounds if measure in METRICS else BOUNDS.get(measure, UNBOUNDED)
