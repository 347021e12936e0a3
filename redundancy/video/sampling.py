"""Which frames a family of models reads: named conventions, each with its source.

A convention is a function of the number of frames, the file's rate, and either a number of frames or a target rate.
With a target rate, a number of frames is a maximum.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

DEFAULT_FRAMES = 32
QWEN_MIN_FRAMES = 4
QWEN_MAX_FRAMES = 768
QWEN_FPS = 2.0
QWEN_FACTOR = 2  # frames per temporal patch

Indices = Int64[np.ndarray, "frames"]
SampleFn = Callable[[int, float, int | None, float | None], Indices]


@dataclass(frozen=True)
class Sampling:
    """A named convention.

    Parameters
    ----------
    sample
        `sample(total, rate, frames, fps)` gives the sorted `[T]` indices in `0 .. total - 1`, without repetition.
    frames, fps
        What is asked for when the caller names neither.
    source
        Where the convention is published.
    """

    sample: SampleFn
    source: str
    frames: int | None = DEFAULT_FRAMES
    fps: float | None = None


def frames_asked(total: int, rate: float, *, frames: int | None, fps: float | None) -> int:
    """Frames that a request means, before it is cut to what there is: `fps * total / rate`, at most `frames`."""
    if fps is None:
        return DEFAULT_FRAMES if frames is None else frames
    at_rate = max(1, int(total / rate * fps))
    return at_rate if frames is None else min(at_rate, frames)


def _count(total: int, rate: float, frames: int | None, fps: float | None) -> int:
    return min(frames_asked(total, rate, frames=frames, fps=fps), total)


def _linspace(total: int, rate: float, frames: int | None, fps: float | None) -> Indices:
    """`floor(i (total - 1) / (T - 1))`: the first and the last frame, and equal steps between.

    Source: LLaVA-NeXT repository, `np.linspace(0, total - 1, T, dtype=int)`.
    """
    return np.linspace(0, total - 1, _count(total, rate, frames, fps), dtype=np.int64)


def _uniform(total: int, rate: float, frames: int | None, fps: float | None) -> Indices:
    """`floor((2 i + 1) total / (2 T))`: the centres of T equal bins."""
    count = _count(total, rate, frames, fps)
    return (2 * np.arange(count, dtype=np.int64) + 1) * total // (2 * count)


def _bin_starts(total: int, rate: float, frames: int | None, fps: float | None) -> Indices:
    """`floor(i total / T)`: the starts of T equal bins.

    Source: transformers, `video_utils.default_sample_indices_fn` (LLaVA-OneVision's processor among others).
    """
    count = _count(total, rate, frames, fps)
    return np.arange(count, dtype=np.int64) * total // count


def _llava_video(total: int, rate: float, frames: int | None, fps: float | None) -> Indices:
    """Every `round(rate / fps)`-th frame; `linspace` where these are more than `frames`, or no `fps` is given.

    Source: LLaVA-NeXT repository (LLaVA-Video, arXiv:2410.02713), its function that loads a video.
    """
    if fps is None:
        return _linspace(total, rate, frames, fps)
    stepped = np.arange(0, total, max(1, round(rate / fps)), dtype=np.int64)
    return stepped if frames is None or len(stepped) <= frames else _linspace(total, rate, frames, None)


def _qwen2_vl(total: int, rate: float, frames: int | None, fps: float | None) -> Indices:
    """`floor(i total / T)` with T even: `frames` rounded, or `fps * seconds` within 4 .. 768, rounded down.

    Source: transformers, `Qwen2VLVideoProcessor.sample_frames` (Qwen2-VL and Qwen2.5-VL).
    """
    count = _even_count(total, rate, frames, fps)
    if not 0 < count < total:
        return np.arange(total if count else min(total, 1), dtype=np.int64)
    # The float32 steps are the processor's own; `i * total // count` differs where a step falls on a whole frame.
    return _torch_steps(total, count)


def _qwen_vl_utils(total: int, rate: float, frames: int | None, fps: float | None) -> Indices:
    """`round(i (total - 1) / (T - 1))` with T as in `qwen2_vl`.

    Source: the package qwen-vl-utils, `smart_nframes` and its readers.
    """
    return _rounded_linspace(total, min(max(_even_count(total, rate, frames, fps), 1), total))


def _qwen3_vl(total: int, rate: float, frames: int | None, fps: float | None) -> Indices:
    """`round(i (total - 1) / (T - 1))`, T = `frames`, or `fps * seconds` within 4 .. 768.

    Source: transformers, `Qwen3VLVideoProcessor.sample_frames`.
    """
    if fps is None:
        return _rounded_linspace(total, _count(total, rate, frames, fps))
    ceiling = min(QWEN_MAX_FRAMES if frames is None else frames, total)
    return _rounded_linspace(total, min(max(int(total / rate * fps), QWEN_MIN_FRAMES), ceiling))


def _even_count(total: int, rate: float, frames: int | None, fps: float | None) -> int:
    if fps is None:
        return round(frames_asked(total, rate, frames=frames, fps=fps) / QWEN_FACTOR) * QWEN_FACTOR
    ceiling = _even_floor(min(QWEN_MAX_FRAMES if frames is None else frames, total))
    return _even_floor(min(max(total / rate * fps, QWEN_MIN_FRAMES), ceiling))


def _even_floor(count: float | int) -> int:
    return math.floor(count / QWEN_FACTOR) * QWEN_FACTOR


def _rounded_linspace(total: int, count: int) -> Indices:
    return np.linspace(0, total - 1, count).round().astype(np.int64)


def _torch_steps(total: int, count: int) -> Indices:
    """`torch.arange(0, total, total / count).int()` without torch, which a process that reads videos does not load."""
    step = total / count
    number = np.arange(math.ceil(total / step))
    # torch adds the steps of one vector of 8 to its first value in float32, and takes the last below 16 one by one
    first = (number // 8 * 8 * step).astype(np.float32)
    inside = number < len(number) // 16 * 16
    steps = np.where(inside, first + number % 8 * step, number * step).astype(np.float32)
    # Rounding of the step can give the processor one index more, which is `total`: no frame of the file.
    return steps.astype(np.int64)[:count]


SAMPLINGS: dict[str, Sampling] = {
    "linspace": Sampling(_linspace, "LLaVA-NeXT repository: LLaVA-OneVision (arXiv:2408.03326)"),
    "uniform": Sampling(_uniform, "own: centres of equal bins"),
    "bin_starts": Sampling(_bin_starts, "transformers, default_sample_indices_fn"),
    "llava_video": Sampling(_llava_video, "LLaVA-NeXT repository: LLaVA-Video (arXiv:2410.02713)", 64, 1.0),
    "qwen2_vl": Sampling(_qwen2_vl, "transformers, Qwen2VLVideoProcessor.sample_frames", None, QWEN_FPS),
    "qwen_vl_utils": Sampling(_qwen_vl_utils, "qwen-vl-utils, smart_nframes", None, QWEN_FPS),
    "qwen3_vl": Sampling(_qwen3_vl, "transformers, Qwen3VLVideoProcessor.sample_frames", None, QWEN_FPS),
}
