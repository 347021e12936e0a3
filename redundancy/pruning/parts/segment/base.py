"""What segmenters share: a segmentation is an int64 tensor of segment lengths on the CPU, `lengths.sum() == T`.

A cut at t means that frame t is the last one of its segment.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.pruning.host import to_host
from redundancy.pruning.part import Part
from redundancy.tokens import VideoTokens


@dataclass(frozen=True)
class Segmenter(Part):
    """Base of segmenters: `segmenter(tokens)` gives the `[segments]` lengths.

    `source` says where the segmentation comes from.
    """

    @abstractmethod
    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Segment lengths of one video."""


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
