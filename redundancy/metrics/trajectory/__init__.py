"""Trajectories: the path of the frame features, its speed and its turns."""

from __future__ import annotations

from redundancy.metrics.trajectory.path import EPSILON as EPSILON
from redundancy.metrics.trajectory.path import ORDER_NULLS as ORDER_NULLS
from redundancy.metrics.trajectory.path import PolylineError as PolylineError
from redundancy.metrics.trajectory.path import Speed as Speed
from redundancy.metrics.trajectory.path import arc_length as arc_length
from redundancy.metrics.trajectory.path import curvature as curvature
from redundancy.metrics.trajectory.path import frame_representation as frame_representation
from redundancy.metrics.trajectory.path import intrinsic_dimension as intrinsic_dimension
from redundancy.metrics.trajectory.path import menger_curvature as menger_curvature
from redundancy.metrics.trajectory.path import polyline_error as polyline_error
from redundancy.metrics.trajectory.path import speed as speed
from redundancy.metrics.trajectory.path import straightness as straightness
from redundancy.metrics.trajectory.path import turn_frames as turn_frames
from redundancy.metrics.trajectory.path import turning_angle as turning_angle
from redundancy.metrics.trajectory.path import twonn_dimension as twonn_dimension
from redundancy.metrics.trajectory.projection import PrincipalComponents as PrincipalComponents
from redundancy.metrics.trajectory.projection import principal_components as principal_components
from redundancy.metrics.trajectory.projection import project_trajectory as project_trajectory
