"""Position drift: how far the content of outputs stands from where it came from."""

from __future__ import annotations

# isort: off
# in the order of the table of metrics
from redundancy.metrics.position.displacement import (
    GridDisplacement,
    PositionDisplacement,
    grid_displacement,
    grid_spread,
    position_displacement,
    position_spread,
)
from redundancy.metrics.position.rotation import Alignment, Coherence, PhaseError, alignment, coherence, phase_error
from redundancy.metrics.position.numbering import DistanceToText, TimeWarp, distance_to_text, inversions, time_warp

__all__ = [
    "Alignment",
    "Coherence",
    "DistanceToText",
    "GridDisplacement",
    "PhaseError",
    "PositionDisplacement",
    "TimeWarp",
    "alignment",
    "coherence",
    "distance_to_text",
    "grid_displacement",
    "grid_spread",
    "inversions",
    "phase_error",
    "position_displacement",
    "position_spread",
    "time_warp",
]
