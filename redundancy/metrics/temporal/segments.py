"""How well a segmentation parts unlike frames. Zero vectors have no direction and are left out."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.metrics.registry import metric
from redundancy.metrics.temporal.cosines import (
    segment_sums,
    silhouettes,
)


@metric(
    dims=(),
    unit="1",
    bounds=(-2, 2),
    higher="better segments: frames resemble those of their segment more than those of the next",
    known=("two orthogonal static shots, cut between: 1", "two opposite static shots: 2", "static video: 0"),
    nulls=("shuffle_frames", "gaussian"),
    undefined="with one segment, or if all segments hold one frame",
    scale=0,
)
def segment_contrast(
    frame_features: Float[Tensor, "frames channels"], segments: Int64[Tensor, "segments"]
) -> Float[Tensor, ""]:
    """Mean cosine of pairs of frames inside segments less that of pairs between adjacent segments.

    All pairs count alike: a segment of L frames has L (L - 1) / 2 of them, two adjacent segments L L'.

    Parameters
    ----------
    frame_features
        `[T, F]`; zero vectors are left out.
    segments
        `[S]` lengths.

    Returns
    -------
    Float32, computed in float64.

    Raises
    ------
    ValueError
        If the lengths are not positive, or do not add up to T.
    """
    _, _, total, size = segment_sums(frame_features, segments)
    pairs, neighbours = (size * (size - 1)).sum(), (size[:-1] * size[1:]).sum()
    contrast = (total.square().sum() - size.sum()) / pairs - (total[:-1] * total[1:]).sum() / neighbours
    return torch.where((pairs > 0) & (neighbours > 0), contrast, torch.nan).float()


@metric(
    dims=(),
    unit="1",
    bounds=(-1, 1),
    higher="better segments: frames are nearer to their segment than to any other",
    source="Rousseeuw 1987, J. Comput. Appl. Math. 20, 53-65",
    known=("two unlike static shots, cut between: 1", "static video: 0"),
    nulls=("shuffle_frames", "gaussian"),
    undefined="with one segment, or if all segments hold one frame",
    scale=0,
)
def segment_silhouette(
    frame_features: Float[Tensor, "frames channels"], segments: Int64[Tensor, "segments"]
) -> Float[Tensor, ""]:
    """Mean silhouette of the frames, with cosine distance and segments as clusters.

    `(b - a) / max(a, b)` with a the mean distance of a frame to the other frames of its segment, b the least mean
    distance to another segment; 0 if a = b, and for the frame of a segment of one frame.

    Parameters
    ----------
    frame_features
        `[T, F]`; zero vectors are left out.
    segments
        `[S]` lengths.

    Returns
    -------
    Float32, computed in float64.

    Raises
    ------
    ValueError
        If the lengths are not positive, or do not add up to T.
    """
    sums = segment_sums(frame_features, segments)
    if not 1 < int((sums.size > 0).sum()) < len(sums.label):
        return sums.unit.new_tensor(torch.nan, dtype=torch.float32)
    return silhouettes(sums).mean().float()
