"""How good a segmentation is: what it holds together, what it cuts, and whether its cuts are where they should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.evaluation.conditions import Condition
from redundancy.evaluation.session import VideoSession
from redundancy.metrics.coverage import reconstruction_error
from redundancy.metrics.temporal import transition_similarity
from redundancy.pruning.methods.fastvid import FastVID
from redundancy.pruning.parts.segment import SEGMENTERS, DySeg, GivenSegments, lengths_to_cuts
from redundancy.reduction import Reduction
from redundancy.sources import cuts_on_steps
from redundancy.tokens import VideoTokens

SEGMENT_MEASURES = {  # of `segment_measures`, and what they mean
    "segments": "number of segments",
    "mean_length": "mean length of a segment, frames",
    "longest": "longest segment, frames",
    "within": "mean cosine of frame features of one segment",
    "across_cut": "mean cosine of the two frames at a cut",
    "contrast": "within minus across_cut",
    "precision": "share of cuts that are scene cuts",
    "recall": "share of scene cuts that are cut",
    "f1": "F1 of cuts against scene cuts",
}

KEPT_MEASURES = {  # of `kept_with_segments`
    "error": "reconstruction error of what FastVID keeps",
    "anchors": "context tokens per segment",
    "kept": "share of tokens kept",
}


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


def similarity_over_time(video: VideoSession) -> dict[str, list[float] | list[int] | None]:
    """Seconds of the frames, similarity of neighbouring ones and known cuts, as plain lists: what figures show."""
    known = known_cuts(video)
    return {
        "frame_time": video.tokens.frame_time.tolist(),
        "transition_similarity": transition_similarity(video.tokens.frame_features_from("mean")).tolist(),
        "known_cuts": None if known is None else known.tolist(),
    }


def segment_measures(
    tokens: VideoTokens, lengths: Sequence[int], *, known: Int64[np.ndarray, "cuts"] | None = None, tolerance: int = 1
) -> dict[str, float | int]:
    """Measures of one segmentation, by mean frame features.

    Parameters
    ----------
    lengths
        Of the segments.
    known, tolerance
        Known cuts, as `cut_agreement` takes them; None: no agreement with them is told.

    Returns
    -------
    As `SEGMENT_MEASURES` says; `precision`, `recall` and `f1` with known cuts alone.
    """
    as_tensor = torch.tensor(lengths)
    similarity = segment_similarity(tokens.frame_features_from("mean"), as_tensor)
    measures: dict[str, float | int] = {
        "segments": len(lengths),
        "mean_length": as_tensor.float().mean().item(),
        "longest": max(lengths),
        **similarity._asdict(),
        "contrast": similarity.within - similarity.across_cut,
    }
    if known is not None:
        measures |= cut_agreement(lengths_to_cuts(as_tensor).numpy(), known, tolerance=tolerance)._asdict()
    return measures


def fastvid_with_segments(video: VideoSession, lengths: tuple[int, ...], retention: float) -> Reduction:
    """FastVID's decision with given segments; its LLaVA-Video budgets lose no token to rounding."""
    segmenter = GivenSegments(lengths)
    method = FastVID(retention=retention, variant="llava_video", features="mean", segmenter=segmenter)
    decide = lambda: next(video.decide(method)).reduction  # noqa: E731
    return video.once(("fastvid", lengths, retention), decide, owner=__name__)


def kept_with_segments(video: VideoSession, lengths: tuple[int, ...], retention: float) -> dict[str, float]:
    """What FastVID keeps with given segments: the `KEPT_MEASURES`."""
    reduction = fastvid_with_segments(video, lengths, retention)
    return {
        "error": reconstruction_error(video.tokens.features, reduction).item(),
        "anchors": reduction.stages["context_budget"].sum().item() / len(lengths),
        "kept": reduction.achieved,
    }


def segmenter_sweep(
    name: str, *, segments: Sequence[int], thresholds: Sequence[float], features: str | None = None
) -> list[Condition]:
    """One segmenter over its number of segments, and over its threshold with nothing else cutting.

    Parameters
    ----------
    name
        Of `SEGMENTERS`.
    segments
        Numbers of segments, for segmenters with the field `segments` or `c`; `DySeg` keeps its own threshold.
    thresholds
        Similarity thresholds, for segmenters with the field `tau`; of one that also takes a number, that is 1.
    features
        Source of the frame features, for segmenters that name one; None: each its own.

    Returns
    -------
    Conditions with the segmenter as the part `segmenter`, each once. Factors: `method`, the name; `series`, the name,
    and for the second sweep of two "NAME, over tau"; `by_number`: whether it is a point of the first.

    Raises
    ------
    ValueError
        If there is no such segmenter, or a number of segments is below 1.
    """
    segmenter = SEGMENTERS[name]
    if min(segments, default=1) < 1:
        raise ValueError(f"segments={list(segments)} given, expected numbers of at least 1")
    own = {f.name for f in fields(segmenter)}
    number = next((field for field in ("segments", "c") if field in own), None)
    fixed = {"tau": segmenter.tau} if isinstance(segmenter, DySeg) else {}
    by_number: list[dict[str, Any]] = [] if number is None else [{number: n, **fixed} for n in segments]
    one = {} if number is None else {number: 1}
    by_tau = [one | {"tau": tau} for tau in thresholds] if "tau" in own else []
    source = {"features": features} if features is not None and "features" in own else {}
    made = {}
    for settings in by_number + by_tau:
        label = f"{name}({', '.join(f'{key}={value:g}' for key, value in settings.items())})"
        over_tau = number is not None and "tau" in settings and settings[number] == 1
        first = number is not None and all(settings[key] == value for key, value in fixed.items())
        factors: dict[str, Any] = {
            "method": name,
            "series": f"{name}, over tau" if over_tau else name,
            "by_number": first,
        }
        parts = {"segmenter": replace(segmenter, **settings, **source)}
        made[label] = Condition(label=label, parts=parts, kind="segmenter", factors=factors)
    return list(made.values())  # one segment at its own threshold is a point of both
