"""Coverage: what the outputs hold of the video."""

from __future__ import annotations

from redundancy.metrics.coverage.compactness import OWN as OWN
from redundancy.metrics.coverage.compactness import ROUNDING as ROUNDING
from redundancy.metrics.coverage.compactness import UNDEFINED as UNDEFINED
from redundancy.metrics.coverage.compactness import kcentre_error as kcentre_error
from redundancy.metrics.coverage.compactness import kmeans_error as kmeans_error
from redundancy.metrics.coverage.compactness import pca_error as pca_error
from redundancy.metrics.coverage.compactness import reconstruction_gap as reconstruction_gap
from redundancy.metrics.coverage.compactness import tokens_needed as tokens_needed
from redundancy.metrics.coverage.kept import CellsCovered as CellsCovered
from redundancy.metrics.coverage.kept import LargestGap as LargestGap
from redundancy.metrics.coverage.kept import NearestDistance as NearestDistance
from redundancy.metrics.coverage.kept import cells_covered as cells_covered
from redundancy.metrics.coverage.kept import frames_covered as frames_covered
from redundancy.metrics.coverage.kept import largest_gap as largest_gap
from redundancy.metrics.coverage.kept import nearest_distance as nearest_distance
from redundancy.metrics.coverage.kept import reconstruction_error as reconstruction_error
from redundancy.metrics.coverage.kept import turn_coverage as turn_coverage
from redundancy.metrics.coverage.roles import ROLES as ROLES
from redundancy.metrics.coverage.roles import token_roles as token_roles
