"""Coverage: what the outputs hold of the video."""

from __future__ import annotations

from redundancy.metrics.kernels.outputs import error_of_outputs, video_outputs

# isort: off
# in the order of the table of metrics
from redundancy.metrics.coverage.places import (
    CellsCovered,
    LargestGap,
    cells_covered,
    frames_covered,
    largest_gap,
    turn_coverage,
)
from redundancy.metrics.coverage.nearest import NearestDistance, nearest_distance, reconstruction_error
from redundancy.metrics.coverage.compactness import (
    kcentre_error,
    kmeans_error,
    pca_error,
    reconstruction_gap,
    tokens_needed,
)
from redundancy.metrics.coverage.roles import ROLES, token_roles

__all__ = [
    "ROLES",
    "CellsCovered",
    "LargestGap",
    "NearestDistance",
    "cells_covered",
    "error_of_outputs",
    "frames_covered",
    "kcentre_error",
    "kmeans_error",
    "largest_gap",
    "nearest_distance",
    "pca_error",
    "reconstruction_error",
    "reconstruction_gap",
    "token_roles",
    "tokens_needed",
    "turn_coverage",
    "video_outputs",
]
