"""Visual context: what a token repeats of its frame."""

from __future__ import annotations

from redundancy.metrics.visual.frames import NORMAL_MAD as NORMAL_MAD
from redundancy.metrics.visual.frames import PEAKS as PEAKS
from redundancy.metrics.visual.frames import Ranks as Ranks
from redundancy.metrics.visual.frames import WithinFrame as WithinFrame
from redundancy.metrics.visual.frames import density as density
from redundancy.metrics.visual.frames import density_score as density_score
from redundancy.metrics.visual.frames import duplicate_fraction as duplicate_fraction
from redundancy.metrics.visual.frames import effective_rank as effective_rank
from redundancy.metrics.visual.frames import parent_distance as parent_distance
from redundancy.metrics.visual.frames import spatial_smoothness as spatial_smoothness
from redundancy.metrics.visual.frames import visual_redundancy as visual_redundancy
from redundancy.metrics.visual.frames import within_frame_similarity as within_frame_similarity
from redundancy.metrics.visual.salience import Agreement as Agreement
from redundancy.metrics.visual.salience import Concentration as Concentration
from redundancy.metrics.visual.salience import SalienceSinks as SalienceSinks
from redundancy.metrics.visual.salience import Sinks as Sinks
from redundancy.metrics.visual.salience import salience_concentration as salience_concentration
from redundancy.metrics.visual.salience import salience_density_agreement as salience_density_agreement
from redundancy.metrics.visual.salience import sinks as sinks
from redundancy.metrics.visual.salience import sinks_salience as sinks_salience
