"""Temporal segmentation: where a video is cut into runs of similar frames.

`SEGMENTERS` holds one dataclass per segmenter, callable as `segmenter(tokens) -> lengths`, from which methods, studies
and command lines take their choices. `GivenSegments` has no default and no name: it is given as an object.
"""

from redundancy.pruning.part import Registry
from redundancy.pruning.parts.segment.base import (
    Segmenter,
    cuts_to_lengths,
    frame_features,
    labels_to_lengths,
    lengths_to_cuts,
)
from redundancy.pruning.parts.segment.density import DPCKNN, contiguous_labels, frame_clusters
from redundancy.pruning.parts.segment.fixed import FixedInterval, GivenSegments, RandomCuts, fixed_interval, random_cuts
from redundancy.pruning.parts.segment.similarity import DySeg, dyseg
from redundancy.pruning.parts.segment.static import StaticWindows
from redundancy.pruning.parts.segment.ward import Agglomerative, agglomerative

SEGMENTERS: Registry[Segmenter] = Registry(
    "SEGMENTERS",
    "segmenter",
    Segmenter,
    FixedInterval(),
    DPCKNN(),
    Agglomerative(),
    DySeg(),
    StaticWindows(),
    RandomCuts(),
)

__all__ = [
    "DPCKNN",
    "SEGMENTERS",
    "Agglomerative",
    "DySeg",
    "FixedInterval",
    "GivenSegments",
    "RandomCuts",
    "Segmenter",
    "StaticWindows",
    "agglomerative",
    "contiguous_labels",
    "cuts_to_lengths",
    "dyseg",
    "fixed_interval",
    "frame_clusters",
    "frame_features",
    "labels_to_lengths",
    "lengths_to_cuts",
    "random_cuts",
]
