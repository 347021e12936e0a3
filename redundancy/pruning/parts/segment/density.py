"""PruneVid's segments: runs of the density-peak clusters of frames."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.pruning.base import Needs, require_frames, require_range
from redundancy.pruning.parts.cluster import dpc_knn
from redundancy.pruning.parts.segment.base import Segmenter, frame_features, labels_to_lengths
from redundancy.tokens import TokenLayout, VideoTokens


@dataclass(frozen=True)
class DPCKNN(Segmenter):
    """Runs of the contiguous labels of density-peak clusters; see `frame_clusters` and `contiguous_labels`.

    `segments` is the number of clusters; the number of runs may differ from it.

    Example
    -------
    >>> DPCKNN(segments=2)(tokens).tolist()
    [5, 3]

    Source: PruneVid (arXiv:2412.16117), section 3.2.
    """

    name: ClassVar[str] = "dpc_knn"
    source: ClassVar[str] = "PruneVid (arXiv:2412.16117), section 3.2"

    segments: int = 8
    k: int = 7
    features: str = "mean"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("segments", self.segments, 1)
        require_range("k", self.k, 1)

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Segment lengths of one video."""
        require_frames(tokens)
        labels = frame_clusters(frame_features(tokens, self.features), clusters=self.segments, k=self.k)
        return labels_to_lengths(contiguous_labels(labels))

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """The frame features that it compares; those of the tokens' means need nothing."""
        return Needs(frame_features=None if self.features == "mean" else self.features)


def frame_clusters(
    frame_features: Float[Tensor, "frames channels"], *, clusters: int, k: int = 7
) -> Int64[Tensor, "frames"]:
    """Cluster label of each frame by density peaks, numbered by decreasing score of the centre.

    Source: PruneVid (arXiv:2412.16117), section 3.2; details from the authors' code.
    """
    return dpc_knn(frame_features[None], clusters=clusters, k=k).label[0]


def contiguous_labels(labels: Int64[Tensor, "frames"]) -> Int64[Tensor, "frames"]:
    """Make labels contiguous in time.

    1. Per label only its longest runs stay (all of that length); none of a label whose longest run is one frame.
    2. Each gap takes the label of the longer run beside it, from left to right, runs already enlarged; equal: the left
       one's; with no run on either side: 0.

    Source: PruneVid (arXiv:2412.16117), section 3.2; details from the authors' code.
    """
    runs = [(label, len(list(frames))) for label, frames in groupby(labels.tolist())]
    longest: dict[int, int] = {}
    for label, length in runs:
        longest[label] = max(length, longest.get(label, 0))
    marked = [(label if length == longest[label] > 1 else None, length) for label, length in runs]
    gaps_joined = [(label, sum(n for _, n in group)) for label, group in groupby(marked, key=lambda run: run[0])]
    done: list[tuple[int, int]] = []
    for i, (label, length) in enumerate(gaps_joined):
        following = gaps_joined[i + 1] if i + 1 < len(gaps_joined) else (None, 0)
        if label is None:
            label = _longer_neighbour(done[-1] if done else (None, 0), following)
        if done and done[-1][0] == label:
            done[-1] = (label, done[-1][1] + length)
        else:
            done.append((label, length))
    return torch.repeat_interleave(torch.tensor([x for x, _ in done]), torch.tensor([n for _, n in done]))


def _longer_neighbour(left: tuple[int | None, int], right: tuple[int | None, int]) -> int:
    label = left[0] if left[1] >= right[1] else right[0]
    return 0 if label is None else label
