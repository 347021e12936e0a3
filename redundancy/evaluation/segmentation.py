"""How good a segmentation is: what it holds together, what it cuts, and whether its cuts are where they should be."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor


class CutAgreement(NamedTuple):
    """Agreement of cuts with known ones; precision without cuts and recall without known cuts are NaN."""

    precision: float
    recall: float
    f1: float


def cut_agreement(
    cuts: Int64[np.ndarray, "cuts"], known: Int64[np.ndarray, "known"], *, tolerance: int = 1
) -> CutAgreement:
    """Precision, recall and F1 of cuts, each matched to at most one known cut within `tolerance` frames.

    The matching is the largest there is: going through both in order and pairing the earliest that fit is optimal on a
    line. F1 is 1 where there is neither a cut nor a known one, and 0 where there is only one of the two.

    Raises
    ------
    ValueError
        If `tolerance` is negative.

    Source: own; the usual measure of shot boundary detection.
    """
    if tolerance < 0:
        raise ValueError(f"tolerance must be at least 0 frames, given {tolerance}")
    cuts, known = np.sort(cuts), np.sort(known)
    hits = i = j = 0
    while i < len(cuts) and j < len(known):
        if abs(cuts[i] - known[j]) <= tolerance:
            hits, i, j = hits + 1, i + 1, j + 1
        elif cuts[i] < known[j]:
            i += 1
        else:
            j += 1
    precision = hits / len(cuts) if len(cuts) else np.nan
    recall = hits / len(known) if len(known) else np.nan
    total = len(cuts) + len(known)
    return CutAgreement(precision, recall, 2 * hits / total if total else 1.0)


class SegmentSimilarity(NamedTuple):
    """Mean cosine of frames of one segment, and of the two frames at a cut; NaN where there is no such pair."""

    within: float
    across_cut: float


def segment_similarity(
    frame_features: Float[Tensor, "frames frame_channels"], lengths: Int64[Tensor, "segments"]
) -> SegmentSimilarity:
    """Cosine similarity that a segmentation holds together, and that it cuts.

    `within` is the mean over all pairs of frames of one segment, `across_cut` the mean over cuts of the cosine between
    the last frame of a segment and the first of the next. Computed in float32; a zero vector has no direction, its
    pairs are left out.

    Raises
    ------
    ValueError
        If the lengths do not add up to the number of frames.
    """
    frames = frame_features.shape[0]
    if int(lengths.sum()) != frames:
        raise ValueError(f"segment lengths add up to {int(lengths.sum())}, but there are {frames} frames")
    features = frame_features.float()
    unit = features / features.norm(dim=1, keepdim=True)  # 0 / 0 is NaN: no direction
    cosine = unit @ unit.T
    segment = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths).to(cosine.device)
    same = (segment[:, None] == segment[None]).triu(1)
    cuts = lengths.cumsum(0)[:-1].to(cosine.device) - 1
    return SegmentSimilarity(
        within=cosine[same].nanmean().item(),
        across_cut=cosine[cuts, cuts + 1].nanmean().item(),
    )
