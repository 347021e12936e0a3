"""Segments by Ward clustering of neighbouring frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor

from redundancy.pruning.base import Needs, require_frames, require_range
from redundancy.pruning.host import to_host
from redundancy.pruning.parts.segment.base import Segmenter, frame_features, labels_to_lengths
from redundancy.pruning.parts.segment.fixed import fixed_interval
from redundancy.tokens import TokenLayout, VideoTokens


@dataclass(frozen=True)
class Agglomerative(Segmenter):
    """Ward clustering of neighbouring runs; see `agglomerative`.

    Example
    -------
    >>> Agglomerative(segments=2)(tokens).tolist()
    [5, 3]

    Source: scikit-learn's AgglomerativeClustering.
    """

    name: ClassVar[str] = "agglomerative"
    source: ClassVar[str] = "scikit-learn, AgglomerativeClustering"

    segments: int = 8
    features: str = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("segments", self.segments, 1)

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Segment lengths of one video."""
        require_frames(tokens)
        return agglomerative(frame_features(tokens, self.features), segments=self.segments)

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """The frame features that it compares; those of the tokens' means need nothing."""
        return Needs(frame_features=None if self.features == "mean" else self.features)


def agglomerative(frame_features: Float[Tensor, "frames channels"], *, segments: int) -> Int64[Tensor, "segments"]:
    """Ward clustering of the unit frame features in which only neighbouring runs may join; `min(segments, T)` segments.

    A zero feature stays zero.

    Source: scikit-learn's AgglomerativeClustering with a chain as connectivity; own choice of features.
    """
    T = len(frame_features)
    if min(segments, T) in (1, T):
        return fixed_interval(T, segments)
    unit = to_host(torch.nn.functional.normalize(frame_features.float(), dim=-1)).numpy()
    chain = np.eye(T, k=1) + np.eye(T, k=-1)
    model = AgglomerativeClustering(n_clusters=segments, connectivity=chain, linkage="ward").fit(unit)
    return labels_to_lengths(torch.from_numpy(model.labels_.astype(np.int64)))
