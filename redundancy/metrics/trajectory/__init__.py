"""Trajectories: the path of the frame features, its speed and its turns."""

from __future__ import annotations

# isort: off
# in the order of the table of metrics
from redundancy.metrics.trajectory.steps import Speed, arc_length, speed, straightness
from redundancy.metrics.trajectory.turns import (
    EPSILON,
    curvature,
    frame_representation,
    menger_curvature,
    turn_frames,
    turning_angle,
)
from redundancy.metrics.trajectory.dimension import intrinsic_dimension, twonn_dimension, twonn_fit
from redundancy.metrics.trajectory.polyline import (
    PolylineError,
    best_vertices,
    polyline_error,
    polyline_error_of,
    uniform_vertices,
)
from redundancy.metrics.trajectory.projection import PrincipalComponents, principal_components, project_trajectory

__all__ = [
    "EPSILON",
    "PolylineError",
    "PrincipalComponents",
    "Speed",
    "arc_length",
    "best_vertices",
    "curvature",
    "frame_representation",
    "intrinsic_dimension",
    "menger_curvature",
    "polyline_error",
    "polyline_error_of",
    "principal_components",
    "project_trajectory",
    "speed",
    "straightness",
    "turn_frames",
    "turning_angle",
    "twonn_dimension",
    "twonn_fit",
    "uniform_vertices",
]
