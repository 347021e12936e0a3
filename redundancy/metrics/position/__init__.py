"""Position drift: how far the content of outputs stands from where it came from."""

from __future__ import annotations

from redundancy.metrics.position.drift import CHUNK as CHUNK
from redundancy.metrics.position.drift import NO_PLACE as NO_PLACE
from redundancy.metrics.position.drift import NO_SOURCE as NO_SOURCE
from redundancy.metrics.position.drift import NOT_GIVEN as NOT_GIVEN
from redundancy.metrics.position.drift import OWN as OWN
from redundancy.metrics.position.drift import ROUNDING as ROUNDING
from redundancy.metrics.position.drift import Alignment as Alignment
from redundancy.metrics.position.drift import Coherence as Coherence
from redundancy.metrics.position.drift import GridDisplacement as GridDisplacement
from redundancy.metrics.position.drift import PhaseError as PhaseError
from redundancy.metrics.position.drift import PositionDisplacement as PositionDisplacement
from redundancy.metrics.position.drift import alignment as alignment
from redundancy.metrics.position.drift import coherence as coherence
from redundancy.metrics.position.drift import grid_displacement as grid_displacement
from redundancy.metrics.position.drift import grid_spread as grid_spread
from redundancy.metrics.position.drift import phase_error as phase_error
from redundancy.metrics.position.drift import position_displacement as position_displacement
from redundancy.metrics.position.drift import position_spread as position_spread
from redundancy.metrics.position.numbering import DistanceToText as DistanceToText
from redundancy.metrics.position.numbering import TimeWarp as TimeWarp
from redundancy.metrics.position.numbering import distance_to_text as distance_to_text
from redundancy.metrics.position.numbering import inversions as inversions
from redundancy.metrics.position.numbering import time_warp as time_warp
