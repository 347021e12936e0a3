"""How much a video's frames say about each other, from one feature per frame: numbers, memory, segments.

Everything is computed in float32 from whatever dtype comes in, sums over a video in float64. A zero vector has no
direction and is left out.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from redundancy.metrics.kernels.cosines import (
    directions,
    effective_number,
    segment_sums,
    silhouettes,
)
from redundancy.metrics.registry import metric


def mean_step(frame_time: Float[Tensor, "frames"], num_frames: int) -> Float64[Tensor, ""]:
    """Mean time between frames in s; NaN for one frame.

    Raises
    ------
    ValueError
        If there is not one time per frame, or times descend.
    """
    time = frame_time.double()
    if len(time) != num_frames or bool((time.diff() < 0).any()):
        raise ValueError(f"frame_time={time.tolist()} given, expected {num_frames} ascending times")
    return (time[-1] - time[0]) / (num_frames - 1) if num_frames > 1 else time.new_tensor(torch.nan)


@metric(
    dims=(),
    unit="frames",
    bounds=(1, float("inf")),
    higher="less redundant: the video says as much as that many unlike frames",
    source="own, the exponential of the von Neumann entropy of the frames' cosines",
    known=("static video: 1", "T orthonormal frames: T", "two directions, equally often: 2"),
    nulls=("gaussian",),
    undefined="if all frames are zero vectors",
    scale=0,
    frame_order="invariant",
)
def effective_frames(frame_features: Float[Tensor, "frames channels"]) -> Float[Tensor, ""]:
    """Number of unlike frames that hold as much information as the video.

    `exp(-sum of l ln l)`, l the eigenvalues of `F F^T / T`, rows of F the features at unit length.

    Parameters
    ----------
    frame_features
        `[T, F]`; zero vectors are left out, of T as well.

    Returns
    -------
    Float32 in 1..T; NaN if all frames are zero vectors. Computed in float64.

    Source: own, the exponential of the von Neumann entropy of the frames' cosines.
    """
    return effective_number(directions(frame_features).unit).float()


@metric(
    dims=(),
    unit="1",
    bounds=(0, 1),
    higher="more redundant: fewer unlike frames than frames",
    source="own",
    known=("static video: 1", "orthonormal frames: 0", "four frames of two directions, equally often: 2/3"),
    nulls=("gaussian",),
    undefined="with fewer than two frames that are no zero vectors",
    scale=0,
    frame_order="invariant",
)
def temporal_redundancy(frame_features: Float[Tensor, "frames channels"]) -> Float[Tensor, ""]:
    """Share of the frames that is redundant, `(T - effective_frames) / (T - 1)`.

    Parameters
    ----------
    frame_features
        `[T, F]`; zero vectors are left out, of T as well.

    Returns
    -------
    Float32 in [0, 1]; NaN with fewer than two frames that are no zero vectors.
    """
    unit = directions(frame_features).unit
    T = len(unit)
    redundant = (T - effective_number(unit)) / (T - 1) if T > 1 else unit.new_tensor(torch.nan)
    return redundant.float()


@metric(
    dims=("lag",),
    unit="1",
    bounds=(-1, 1),
    higher="more redundant: frames that far apart depart from the mean in the same way",
    source="own, the biased sample autocorrelation",
    known=("lag 0: 1", "1, -1, 1, -1: 1, -3/4, 1/2", "AR(1) with coefficient a: about a^k"),
    nulls=("shuffle_frames", "gaussian"),
    undefined="if all frames are equal",
    scale=0,
)
def autocorrelation(frame_features: Float[Tensor, "frames channels"]) -> Float[Tensor, "lags"]:
    """Biased autocorrelation of the frame features about their mean m, for lags of 0 to T // 2 frames.

    `r(k) = sum over t of <f[t] - m, f[t+k] - m> / sum over t of ||f[t] - m||^2`.

    Parameters
    ----------
    frame_features
        `[T, F]`; a zero vector counts like any other.

    Returns
    -------
    `[T // 2 + 1]` float32 in [-1, 1], 1 at lag 0; NaN if all frames are equal. Computed in float64.

    Source: own, the biased sample autocorrelation.
    """
    return _autocorrelation(frame_features).float()


def _autocorrelation(frame_features: Tensor) -> Tensor:
    """Autocorrelation in float64, through the power spectrum: no table of all pairs of frames."""
    f = frame_features.double()
    T = len(f)
    f = f - f[:1]  # equal frames become exactly 0
    f = f - f.mean(0)
    power = torch.fft.rfft(f, n=2 * T, dim=0).abs().square().sum(1)
    covariance = torch.fft.irfft(power, n=2 * T)[: T // 2 + 1]
    r: Tensor = covariance / covariance[0]
    return r


class CorrelationLength(NamedTuple):
    """Time after which frames are no longer alike, in s, and whether it lies beyond the longest lag."""

    correlation_length: Float[Tensor, ""]
    censored: Bool[Tensor, ""]


@metric(
    dims={"correlation_length": (), "censored": ()},
    unit="s",
    bounds=(0, float("inf")),
    higher="more redundant: frames stay alike for longer",
    source="own",
    known=("0, 0, 1, 1: (1 - 1/e) / (3/4) steps", "AR(1) with coefficient a: about -1 / ln a steps"),
    nulls=("shuffle_frames", "gaussian"),
    undefined="if all frames are equal, and where the autocorrelation does not fall below 1/e (then `censored`)",
    scale=0,
)
def correlation_length(
    frame_features: Float[Tensor, "frames channels"], frame_time: Float[Tensor, "times"]
) -> CorrelationLength:
    """Time after which the autocorrelation of the frame features has fallen to 1/e.

    1. `r(k)`, the autocorrelation at lags of 0 to T // 2 frames;
    2. the first lag k where r < 1/e; between k - 1 and k the lag of r = 1/e on a straight line;
    3. times the mean step of `frame_time`.

    Parameters
    ----------
    frame_features
        `[T, F]`.
    frame_time
        `[T]` seconds, ascending.

    Returns
    -------
    Seconds, float32, NaN if the frames are all equal or r never falls below 1/e; `censored`, True for the latter.

    Raises
    ------
    ValueError
        If `frame_time` is not `[T]` or does not ascend.
    """
    step = mean_step(frame_time, len(frame_features)).to(frame_features.device)
    r = _autocorrelation(frame_features)
    lag = _first_lag_below(r, math.exp(-1))
    return CorrelationLength((lag * step).float(), lag.isnan() & ~r[0].isnan())


def _first_lag_below(r: Tensor, level: float) -> Tensor:
    """Lag at which `r`, linear between lags, first falls to `level`; NaN if it never does."""
    below = r < level
    if not bool(below.any()):
        return r.new_tensor(torch.nan)
    k = int(below.byte().argmax())
    return k - 1 + (r[k - 1] - level) / (r[k - 1] - r[k])


@metric(
    dims=(),
    unit="1",
    bounds=(-2, 2),
    higher="better segments: frames resemble those of their segment more than those of the next",
    source="own",
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
    Float32 in [-2, 2]; NaN if there is no pair inside or none between. Computed in float64.

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
    Float32 in [-1, 1]; NaN with one segment or if all segments hold one frame. Computed in float64.

    Raises
    ------
    ValueError
        If the lengths are not positive, or do not add up to T.

    Source: Rousseeuw 1987, Journal of Computational and Applied Mathematics 20, 53-65.
    """
    sums = segment_sums(frame_features, segments)
    if not 1 < int((sums.size > 0).sum()) < len(sums.label):
        return sums.unit.new_tensor(torch.nan, dtype=torch.float32)
    return silhouettes(sums).mean().float()
