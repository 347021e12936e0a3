"""Visual context: what a token repeats of its frame."""

from __future__ import annotations

from redundancy.metrics.kernels.peaks import density_peaks, pairwise_distance

# isort: off
# in the order of the table of metrics
from redundancy.metrics.visual.within_frame import (
    WithinFrame,
    duplicate_fraction,
    spatial_smoothness,
    within_frame_similarity,
)
from redundancy.metrics.visual.rank import Ranks, effective_rank, visual_redundancy
from redundancy.metrics.visual.peaks import density, density_score, parent_distance
from redundancy.metrics.visual.salience import (
    Agreement,
    Concentration,
    salience_concentration,
    salience_density_agreement,
)
from redundancy.metrics.visual.outliers import SalienceSinks, Sinks, sinks, sinks_salience

__all__ = [
    "Agreement",
    "Concentration",
    "Ranks",
    "SalienceSinks",
    "Sinks",
    "WithinFrame",
    "density",
    "density_peaks",
    "density_score",
    "duplicate_fraction",
    "effective_rank",
    "pairwise_distance",
    "parent_distance",
    "salience_concentration",
    "salience_density_agreement",
    "sinks",
    "sinks_salience",
    "spatial_smoothness",
    "visual_redundancy",
    "within_frame_similarity",
]
