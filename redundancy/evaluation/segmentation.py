"""How good a segmentation is: what it holds together, what it cuts, and whether its cuts are where they should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.evaluation.session import VideoSession
from redundancy.pruning.parts.segment import DySeg, Segmenter, lengths_to_cuts
from redundancy.sources import cuts_on_steps
from redundancy.tokens import VideoTokens


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

    The usual measure of shot boundary detection.
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


def known_cuts(video: VideoSession) -> Int64[np.ndarray, "cuts"] | None:
    """Known scene cuts of a session's clip as transitions between steps of the model; None where nothing is known."""
    record = None if video.source is None else video.source.record
    return None if record is None else cuts_on_steps(record.scene_cuts, video.clip, video.tokens.frame_members.numpy())


def segment_measures(
    tokens: VideoTokens, lengths: Sequence[int], *, known: Int64[np.ndarray, "cuts"] | None = None, tolerance: int = 1
) -> dict[str, float]:
    """Measures of one segmentation, by mean frame features.

    Parameters
    ----------
    lengths
        Of the segments.
    known, tolerance
        Known cuts, as `cut_agreement` takes them; None: no agreement with them is told.

    Returns
    -------
    `segments` (their number), `mean_length`, `longest`, `within`, `across_cut`, `contrast` (within - across_cut), and
    with known cuts `precision`, `recall`, `f1`.
    """
    as_tensor = torch.tensor(lengths)
    similarity = segment_similarity(tokens.frame_features_from("mean"), as_tensor)
    measures: dict[str, float] = {
        "segments": len(lengths),
        "mean_length": as_tensor.float().mean().item(),
        "longest": max(lengths),
        **similarity._asdict(),
        "contrast": similarity.within - similarity.across_cut,
    }
    if known is not None:
        measures |= cut_agreement(lengths_to_cuts(as_tensor).numpy(), known, tolerance=tolerance)._asdict()
    return measures


class SweptSegmenter(NamedTuple):
    """A segmenter at one point of a sweep: the settings that were swept, and whether it was over the threshold."""

    settings: dict[str, float]
    segmenter: Segmenter
    over_tau: bool


def segmenter_sweep(
    segmenter: Segmenter, *, segments: Sequence[int], thresholds: Sequence[float], features: str | None = None
) -> Iterator[SweptSegmenter]:
    """One segmenter over its number of segments, and over its threshold with nothing else cutting.

    Parameters
    ----------
    segments
        Numbers of segments, for segmenters with the field `segments` or `c`; `DySeg` keeps its own threshold.
    thresholds
        Similarity thresholds, for segmenters with the field `tau`; of one that also takes a number, that is 1.
    features
        Source of the frame features, for segmenters that name one; None: each its own.
    """
    own = {f.name for f in fields(segmenter)}
    number = next((name for name in ("segments", "c") if name in own), None)
    fixed = {"tau": segmenter.tau} if isinstance(segmenter, DySeg) else {}
    one = {} if number is None else {number: 1}
    by_number: list[dict[str, Any]] = [] if number is None else [{number: n, **fixed} for n in segments]
    by_tau = [one | {"tau": tau} for tau in thresholds] if "tau" in own else []
    source = {"features": features} if features is not None and "features" in own else {}
    for settings in by_number + by_tau:
        over_tau = number is not None and settings[number] == 1 and "tau" in settings
        yield SweptSegmenter(settings, replace(segmenter, **settings, **source), over_tau)
