"""Temporal segmentation: where a video is cut into runs of similar frames.

A segmentation is an int64 tensor of segment lengths on the CPU, `lengths.sum() == T`. A cut at t means that frame t is
the last one of its segment. Each segmenter is a pure function; `SEGMENTERS` holds one dataclass per segmenter, callable
as `segmenter(tokens) -> lengths`, from which studies and command lines take their choices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int64
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor

from redundancy.checks import check_fields, whole_number
from redundancy.metrics.temporal import token_persistence, transition_similarity
from redundancy.pruning.base import Needs, require_frames, require_range
from redundancy.pruning.host import to_host
from redundancy.pruning.parts.cluster import dpc_knn
from redundancy.pruning.parts.windows import static_windows
from redundancy.tokens import VideoTokens


def cuts_to_lengths(cuts: Int64[Tensor, "cuts"], num_frames: int) -> Int64[Tensor, "segments"]:
    """Segment lengths from ascending cuts, each the last frame of its segment (the video's last frame left out).

    Raises
    ------
    ValueError
        If the cuts do not ascend within 0..T-2.
    """
    edges = torch.cat([torch.tensor([-1]), cuts.cpu(), torch.tensor([num_frames - 1])])
    lengths = torch.diff(edges)
    if num_frames < 1 or bool((lengths < 1).any()):
        raise ValueError(f"cuts {cuts.tolist()} given, expected ascending frames in 0..{num_frames - 2}")
    return lengths


def lengths_to_cuts(lengths: Int64[Tensor, "segments"]) -> Int64[Tensor, "cuts"]:
    """The last frame of every segment but the last."""
    cuts: Tensor = lengths.cumsum(0)[:-1] - 1
    return cuts


def labels_to_lengths(labels: Int64[Tensor, "frames"]) -> Int64[Tensor, "segments"]:
    """Lengths of the runs of equal labels."""
    lengths: Tensor = torch.unique_consecutive(to_host(labels), return_counts=True)[1]
    return lengths


def fixed_interval(num_frames: int, segments: int) -> Int64[Tensor, "segments"]:
    """Segments of equal length, or lengths that differ by one; `min(segments, T)` of them.

    Source: FastVID (arXiv:2503.11187), table 8.
    """
    edges = torch.arange(min(segments, num_frames) + 1) * num_frames // min(segments, num_frames)
    return torch.diff(edges)


def random_cuts(num_frames: int, segments: int, seed: int) -> Int64[Tensor, "segments"]:
    """Cuts drawn uniformly without replacement, the control of every segmenter; `min(segments, T)` segments."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_frames - 1, generator=generator) if num_frames > 1 else torch.arange(0)
    return cuts_to_lengths(order[: min(segments, num_frames) - 1].sort().values, num_frames)


def dyseg(
    similarity: Float[Tensor, "transitions"], *, c: int, tau: float, parity: bool = False
) -> Int64[Tensor, "segments"]:
    """Cut the c-1 least similar transitions and every transition below tau.

    Parameters
    ----------
    similarity
        `[T-1]` transition similarity; NaN where a frame feature is zero.
    c
        Smallest number of segments; at most T of them exist, so c counts as `min(c, T)`.
    tau
        Transitions with a similarity strictly below are cuts as well.
    parity
        As the authors' code: a NaN is never a cut. By default it counts as similarity 0.

    Returns
    -------
    `[segments]` lengths; equal similarities are cut from the lowest index.

    Source: FastVID (arXiv:2503.11187), section 3.2, eq. 2.
    """
    s = to_host(similarity.float()).nan_to_num(torch.inf if parity else 0.0)
    least = s.sort(stable=True).indices[: max(min(c, len(s) + 1) - 1, 0)]
    cut = s < tau
    cut[least[torch.isfinite(s[least])]] = True
    return cuts_to_lengths(cut.nonzero().flatten(), len(s) + 1)


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


@dataclass(frozen=True)
class Segmenter(ABC):
    """Base of segmenter settings: `segmenter(tokens)` gives the `[segments]` lengths.

    `source` says where the segmentation comes from.
    """

    source: ClassVar[str] = "own"

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def needs(self) -> Needs:
        """The frame features that it reads."""
        features = getattr(self, "features", "mean")
        return Needs(frame_features=None if features == "mean" else features)

    @abstractmethod
    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Segment lengths of one video."""


@dataclass(frozen=True)
class GivenSegments(Segmenter):
    """Segments that are known already, for example between annotated scene cuts."""

    lengths: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        for i, length in enumerate(self.lengths):
            whole_number(f"lengths[{i}]", length, least=0)
        if not self.lengths or min(self.lengths) < 1:
            raise ValueError(f"lengths={self.lengths} given, expected positive segment lengths")

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """The given lengths, if they are those of a video of as many frames."""
        require_frames(tokens)
        if sum(self.lengths) != tokens.grid.frames:
            raise ValueError(
                f"lengths {self.lengths} add up to {sum(self.lengths)}, expected {tokens.grid.frames} frames"
            )
        return torch.tensor(self.lengths)


@dataclass(frozen=True)
class FixedInterval(Segmenter):
    """Segments of equal length; see `fixed_interval`.

    Source: FastVID (arXiv:2503.11187), table 8.
    """

    segments: int = 8
    source: ClassVar[str] = "FastVID (arXiv:2503.11187), table 8"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("segments", self.segments, 1)

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Segment lengths of one video."""
        require_frames(tokens)
        return fixed_interval(tokens.grid.frames, self.segments)


@dataclass(frozen=True)
class RandomCuts(Segmenter):
    """Cuts drawn at random; see `random_cuts`.

    Source: own; the control of every segmenter.
    """

    segments: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("segments", self.segments, 1)

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Segment lengths of one video."""
        require_frames(tokens)
        return random_cuts(tokens.grid.frames, self.segments, self.seed)


@dataclass(frozen=True)
class DySeg(Segmenter):
    """Cuts at the least similar transitions and at those below tau; see `dyseg`.

    Source: FastVID (arXiv:2503.11187), section 3.2, eq. 2.
    """

    c: int = 8
    tau: float = 0.9
    features: str = "mean"
    parity: bool = False
    source: ClassVar[str] = "FastVID (arXiv:2503.11187), section 3.2"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("c", self.c, 1)

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Segment lengths of one video."""
        require_frames(tokens)
        similarity = transition_similarity(frame_features(tokens, self.features))
        return dyseg(similarity, c=self.c, tau=self.tau, parity=self.parity)


@dataclass(frozen=True)
class DPCKNN(Segmenter):
    """Runs of the contiguous labels of density-peak clusters; see `frame_clusters` and `contiguous_labels`.

    `segments` is the number of clusters; the number of runs may differ from it.

    Source: PruneVid (arXiv:2412.16117), section 3.2.
    """

    segments: int = 8
    k: int = 7
    features: str = "mean"
    source: ClassVar[str] = "PruneVid (arXiv:2412.16117), section 3.2"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("segments", self.segments, 1)
        require_range("k", self.k, 1)

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Segment lengths of one video."""
        require_frames(tokens)
        labels = frame_clusters(frame_features(tokens, self.features), clusters=self.segments, k=self.k)
        return labels_to_lengths(contiguous_labels(labels))


@dataclass(frozen=True)
class Agglomerative(Segmenter):
    """Ward clustering of neighbouring runs; see `agglomerative`.

    Source: scikit-learn's AgglomerativeClustering.
    """

    segments: int = 8
    features: str = "mean"
    source: ClassVar[str] = "scikit-learn, AgglomerativeClustering"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("segments", self.segments, 1)

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Segment lengths of one video."""
        require_frames(tokens)
        return agglomerative(frame_features(tokens, self.features), segments=self.segments)


@dataclass(frozen=True)
class StaticWindows(Segmenter):
    """Windows that save the most static tokens; see `static_windows`.

    Source: HoliTom (arXiv:2505.21334), section 3.2.
    """

    tau: float = 0.8
    max_window: int = 1024
    source: ClassVar[str] = "HoliTom (arXiv:2505.21334), section 3.2"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("max_window", self.max_window, 0)

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Window lengths of one video."""
        require_frames(tokens)
        return static_windows(token_persistence(tokens.features), tau=self.tau, max_window=self.max_window).lengths


SEGMENTERS: dict[str, Segmenter] = {
    "fixed_interval": FixedInterval(),
    "dpc_knn": DPCKNN(),
    "agglomerative": Agglomerative(),
    "dyseg": DySeg(),
    "static_windows": StaticWindows(),
    "random_cuts": RandomCuts(),
}


def frame_features(tokens: VideoTokens, source: str) -> Float[Tensor, "frames channels"]:
    """Frame features of a source; the mean of each frame's tokens where tokens do not carry `"mean"`.

    Raises
    ------
    ValueError
        If the tokens do not carry another source.
    """
    if source == "mean" and "mean" not in tokens.frame_features:
        return tokens.features.mean(1, dtype=torch.float32)
    return tokens.frame_features_from(source)
