"""How long frames stay alike: autocorrelation of the frame features and its length in seconds."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

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
    `[T // 2 + 1]` float32, computed in float64.
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
    Float32, and `censored`: True where r never falls below 1/e.

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
