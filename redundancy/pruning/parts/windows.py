"""Windows of frames whose static places are kept once: HoliTom's exact dynamic programme."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.pruning.host import to_host


class Windows(NamedTuple):
    """Windows of static places: `lengths` `[W]`, `total` gain, `gain` `[T, T]`, `value` and `start` `[T]`.

    `gain[s, e]` is the gain of a window from frame s to e; `value[t]` the best total up to frame t and `start[t]` the
    first frame of the last window in it.
    """

    lengths: Int64[Tensor, "windows"]
    total: float
    gain: Float[Tensor, "frames frames"]
    value: Float[Tensor, "frames"]
    start: Int64[Tensor, "frames"]


def static_windows(persistence: Float[Tensor, "transitions tokens"], *, tau: float, max_window: int = 1024) -> Windows:
    """Windows of frames that save the most tokens if places static throughout a window are kept once.

    A place is static in frames s..e if each of its transitions there is strictly above tau; the gain of a window is
    its number of static places times `e - s`. The windows with the largest total gain are found exactly by a dynamic
    programme over the last frame; equal totals keep the shorter last window.

    Parameters
    ----------
    persistence
        `[T-1, N]` cosine of each place with itself one frame later; NaN is not static.
    tau
        Threshold.
    max_window
        Longest window in frames; 0 and 1 mean no windows.

    Source: HoliTom (arXiv:2505.21334), section 3.2, eq. 3 to 5.
    """
    gain = window_gain(persistence, tau=tau)
    T = len(gain)
    value, start = np.zeros(T + 1), np.arange(T)
    for end in range(T):  # value[end] depends on all before it; one vector operation over window starts
        first = max(end - max(max_window, 1) + 1, 0)
        totals = (value[first : end + 1] + gain[first : end + 1, end])[::-1]  # shortest window first
        length = int(totals.argmax())
        value[end + 1], start[end] = totals[length], end - length
    lengths, end = [], T - 1
    while end >= 0:
        lengths.append(end - start[end] + 1)
        end = start[end] - 1
    return Windows(
        lengths=torch.from_numpy(np.array(lengths[::-1], dtype=np.int64)),
        total=float(value[T]),
        gain=torch.from_numpy(gain),
        value=torch.from_numpy(value[1:]),
        start=torch.from_numpy(start),
    )


def window_gain(
    persistence: Float[Tensor, "transitions tokens"], *, tau: float
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """`[T, T]` tokens saved by a window from frame s to e, 0 where e <= s.

    The places static from s to e are those whose run of static transitions that ends at e is at least e - s long, so
    all windows are counted from one histogram of run lengths per frame.

    Source: HoliTom (arXiv:2505.21334), section 3.2.
    """
    steps = len(persistence)
    T = steps + 1
    index = torch.arange(steps, device=persistence.device)[:, None]
    static = persistence > tau
    broken = torch.where(static, -1, index)
    if steps:
        broken = broken.cummax(0).values
    histogram = torch.zeros(T, T + 1, dtype=torch.int64, device=persistence.device)
    histogram[1:].scatter_add_(1, index - broken, torch.ones_like(broken))
    at_least = to_host(histogram.flip(1).cumsum(1).flip(1)).numpy()
    gain = np.zeros((T, T))
    end, start = np.tril_indices(T, -1)
    gain[start, end] = at_least[end, end - start] * (end - start)
    return gain
