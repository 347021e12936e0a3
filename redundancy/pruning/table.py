"""The table of methods, from which generic tests, studies, command lines and the README are made.

A new method is one file and one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redundancy.pruning.base import InnerMethod, Method
from redundancy.pruning.methods.controls import (
    AveragePool,
    FirstOf2x2,
    FrameDrop,
    RandomOf2x2,
    RandomTokens,
    UniformTokens,
)
from redundancy.pruning.methods.dycoke import DyCoke
from redundancy.pruning.methods.fastv import FastV
from redundancy.pruning.methods.fastvid import FastVID
from redundancy.pruning.methods.holitom import HoliTom
from redundancy.pruning.methods.holitom_inner import HoliTomInner
from redundancy.pruning.methods.prunevid import PruneVid
from redundancy.pruning.methods.prunevid_stage2 import PruneVidStage2
from redundancy.pruning.methods.random_inner import RandomInner
from redundancy.pruning.methods.vcast import VCast
from redundancy.pruning.methods.vidcom2 import VidCom2
from redundancy.pruning.methods.visionzip import VisionZip
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


def _vidcom2_bounds(method: VidCom2, tokens: VideoTokens) -> tuple[float, float]:
    """Rounding in every frame, at least one token; a frame that asks for more than it has loses the rest."""
    T, N, r = tokens.grid.frames, tokens.grid.tokens_per_frame, method.retention
    lost = max(r * (2 - 1 / T) - 1, 0.0) / T
    return max(r - lost - 0.5 / N, 0.0), max(min(r + 0.5 / N, 1.0), 1 / N)


def _dycoke_bounds(method: DyCoke, tokens: VideoTokens) -> tuple[float, float]:
    """Exact: reduced frames keep `int((1 - K) N)` places."""
    T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
    reduced = len(range(0, T - 1, 2)) + len(range(0, T - 4, 4))
    share = (T - reduced + reduced * int((1 - method.K) * N) / N) / T
    return share, share


def _visionzip_bounds(method: VisionZip, tokens: VideoTokens) -> tuple[float, float]:
    """Exact: dominant and contextual tokens of every frame."""
    dominant, contextual, _ = method.counts(tokens.grid.tokens_per_frame)
    share = (dominant + contextual) / tokens.grid.tokens_per_frame
    return share, share


def _prunevid_bounds(method: PruneVid, tokens: VideoTokens) -> tuple[float, float]:
    """The rate follows from the video: at least one token in every segment."""
    return 1 / (tokens.grid.frames * tokens.grid.tokens_per_frame), 1.0


def _control_bounds(method: Method, tokens: VideoTokens) -> tuple[float, float]:
    """Exact but for rounding: of tokens in a frame, of frames, or of tokens in the video."""
    T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
    if isinstance(method, RandomTokens | UniformTokens | FrameDrop):
        of = T if isinstance(method, FrameDrop) else N
        if isinstance(method, RandomTokens) and method.across_frames:
            of = T * N
        share = max(round(method.retention * of), 1) / of
    else:
        share = -(-tokens.grid.rows // 2) * -(-tokens.grid.cols // 2) / N
    return share, share


METHODS: dict[str, MethodEntry] = {
    "fastvid": MethodEntry(FastVID(), "FastVID (arXiv:2503.11187)", _fastvid_bounds),
    "holitom": MethodEntry(HoliTom(), "HoliTom (arXiv:2505.21334)", _holitom_bounds),
    "vcast": MethodEntry(VCast(), "V-CAST (arXiv:2603.27650)", _vcast_bounds),
    "vidcom2": MethodEntry(VidCom2(), "VidCom2 (arXiv:2505.14454)", _vidcom2_bounds, "baseline"),
    "dycoke": MethodEntry(DyCoke(), "DyCoke (arXiv:2411.15024)", _dycoke_bounds, "baseline"),
    "visionzip": MethodEntry(
        VisionZip(), "VisionZip (arXiv:2412.04467)", _visionzip_bounds, "baseline", row_sums=(1.0, 2.0)
    ),
    "prunevid": MethodEntry(PruneVid(), "PruneVid (arXiv:2412.16117)", _prunevid_bounds, "baseline"),
    "random_tokens": MethodEntry(RandomTokens(), "own", _control_bounds, "control"),
    "uniform_tokens": MethodEntry(UniformTokens(), "own", _control_bounds, "control"),
    "frame_drop": MethodEntry(FrameDrop(), "own", _control_bounds, "control"),
    "average_pool": MethodEntry(AveragePool(), "own", _control_bounds, "control"),
    "first_of_2x2": MethodEntry(FirstOf2x2(), "own", _control_bounds, "control"),
    "random_of_2x2": MethodEntry(RandomOf2x2(), "own", _control_bounds, "control"),
}


@dataclass(frozen=True)
class InnerEntry:
    """What is known of a method inside the language model before it runs.

    Parameters
    ----------
    method
        Default instance, with the published layer.
    paper
        Where it was published.
    kind
        `"method"`, `"baseline"` or `"control"`.
    outer
        Name of the outer method without which it cannot decide.
    """

    method: InnerMethod
    paper: str
    kind: str = "method"
    outer: str | None = None


INNER_METHODS: dict[str, InnerEntry] = {
    "holitom_inner": InnerEntry(HoliTomInner(), "HoliTom (arXiv:2505.21334)"),
    "fastv": InnerEntry(FastV(), "FastV (arXiv:2403.06764)", "baseline"),
    "prunevid_stage2": InnerEntry(PruneVidStage2(), "PruneVid (arXiv:2412.16117)", "baseline", outer="prunevid"),
    "random_inner": InnerEntry(RandomInner(), "own", "control"),
}
