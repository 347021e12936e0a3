"""Temporal context: what a frame repeats of those before it."""

from __future__ import annotations

# isort: off
# in the order of the table of metrics
from redundancy.metrics.temporal.effective import effective_frames, temporal_redundancy
from redundancy.metrics.temporal.memory import CorrelationLength, autocorrelation, correlation_length, mean_step
from redundancy.metrics.temporal.segments import segment_contrast, segment_silhouette
from redundancy.metrics.temporal.transitions import token_persistence, transition_similarity
from redundancy.metrics.temporal.motion import MotionCompensation, motion_compensated_similarity
from redundancy.metrics.temporal.runs import RunLength, run_length, static_fraction
from redundancy.metrics.temporal.skill import persistence_skill

__all__ = [
    "CorrelationLength",
    "MotionCompensation",
    "RunLength",
    "autocorrelation",
    "correlation_length",
    "effective_frames",
    "mean_step",
    "motion_compensated_similarity",
    "persistence_skill",
    "run_length",
    "segment_contrast",
    "segment_silhouette",
    "static_fraction",
    "temporal_redundancy",
    "token_persistence",
    "transition_similarity",
]
