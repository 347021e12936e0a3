"""The table of methods, from which generic tests, studies, command lines and the README are made.

A new method is one file and one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redundancy.pruning.base import InnerMethod, Method
from redundancy.pruning.fastvid import FastVID
from redundancy.pruning.holitom import HoliTom
from redundancy.pruning.holitom_inner import HoliTomInner
from redundancy.pruning.vcast import VCast
from redundancy.tokens import VideoTokens

Bounds = Callable[[Any, VideoTokens], tuple[float, float]]


@dataclass(frozen=True)
class MethodEntry:
    """What is known of a method before it runs.

    Parameters
    ----------
    method
        Default instance; `needs(layout)` says what it reads.
    paper
        Where it was published.
    bounds
        `bounds(method, tokens)`: least and greatest share of tokens that an instance can keep of these tokens.
    kind
        `"method"`, `"baseline"` or `"control"`.
    unique_anchors
        True if no two outputs stand in the same place.
    row_sums
        Values that a row of W may sum to.

    Source: own.
    """

    method: Method
    paper: str
    bounds: Bounds
    kind: str = "method"
    unique_anchors: bool = True
    row_sums: tuple[float, ...] = (1.0,)


def _fastvid_bounds(method: FastVID, tokens: VideoTokens) -> tuple[float, float]:
    """`int(N r)` a frame at most; the salient share at least, but quiet segments of the Qwen variant keep one frame."""
    T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
    if method.retention == 1 and not method.parity:
        return 1.0, 1.0
    per_frame = max(int(N * method.retention), 1)
    if method.variant_of(tokens.layout) == "qwen":
        return 1 / (T * N), per_frame / N
    return per_frame * (1 - method.d) / N, per_frame / N


def _holitom_bounds(method: HoliTom, tokens: VideoTokens) -> tuple[float, float]:
    """Rounding adds at most one token a frame and half a token a window; static videos keep less than asked for."""
    T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
    if method.retention == 1 and not method.parity:
        return 1.0, 1.0
    return max(min(method.retention - 0.5 / N, 1 / T), 0.0), min(method.retention + 1.5 / N, 1.0)


def _vcast_bounds(method: VCast, tokens: VideoTokens) -> tuple[float, float]:
    """Exact up to rounding of the total; `min_k` tokens a frame at least, a single frame whole."""
    T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
    if T == 1:
        return 1.0, 1.0
    share, half = max(method.retention, min(method.min_k, N) / N), 0.5 / (T * N)
    return share - half, min(max(share + half, 1 / (T * N)), 1.0)


METHODS: dict[str, MethodEntry] = {
    "fastvid": MethodEntry(FastVID(), "FastVID (arXiv:2503.11187)", _fastvid_bounds),
    "holitom": MethodEntry(HoliTom(), "HoliTom (arXiv:2505.21334)", _holitom_bounds),
    "vcast": MethodEntry(VCast(), "V-CAST (arXiv:2603.27650)", _vcast_bounds),
}

INNER_METHODS: dict[str, InnerMethod] = {
    "holitom_inner": HoliTomInner(),
}
