"""Temporal context: what a frame repeats of those before it."""

from __future__ import annotations

from redundancy.metrics.temporal.series import CorrelationLength as CorrelationLength
from redundancy.metrics.temporal.series import autocorrelation as autocorrelation
from redundancy.metrics.temporal.series import correlation_length as correlation_length
from redundancy.metrics.temporal.series import effective_frames as effective_frames
from redundancy.metrics.temporal.series import mean_step as mean_step
from redundancy.metrics.temporal.series import segment_contrast as segment_contrast
from redundancy.metrics.temporal.series import segment_silhouette as segment_silhouette
from redundancy.metrics.temporal.series import temporal_redundancy as temporal_redundancy
from redundancy.metrics.temporal.transitions import TIE as TIE
from redundancy.metrics.temporal.transitions import MotionCompensation as MotionCompensation
from redundancy.metrics.temporal.transitions import RunLength as RunLength
from redundancy.metrics.temporal.transitions import motion_compensated_similarity as motion_compensated_similarity
from redundancy.metrics.temporal.transitions import persistence_skill as persistence_skill
from redundancy.metrics.temporal.transitions import run_length as run_length
from redundancy.metrics.temporal.transitions import static_fraction as static_fraction
from redundancy.metrics.temporal.transitions import token_persistence as token_persistence
from redundancy.metrics.temporal.transitions import transition_similarity as transition_similarity
