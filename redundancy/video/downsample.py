"""A control that changes the clip instead of its tokens: smaller frames, or fewer."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from redundancy.video.clip import VideoClip
from redundancy.video.resize import resize_frames


@dataclass(frozen=True)
class Downsample:
    """Shrink a clip before the model sees it; no Reduction, a condition of a study beside them.

    Families that resize every frame to one size (LLaVA) give as many tokens as before, from blurred frames; families of
    native resolution (Qwen) give fewer. Studies report the number of tokens.

    Parameters
    ----------
    space
        Factor by which height and width shrink, at least 1.
    time
        Every how many frames one stays, at least 1; the first frame is one of them.

    Raises
    ------
    ValueError
        If a factor is below 1.
    """

    space: float = 2.0
    time: int = 1

    def __post_init__(self) -> None:
        if not self.space >= 1 or self.time < 1:
            raise ValueError(f"factors of at least 1 are expected, given space={self.space}, time={self.time}")

    def __call__(self, clip: VideoClip) -> VideoClip:
        """The smaller clip; its digest is that of its own frames."""
        height, width = clip.frames.shape[1:3]
        size = (max(round(height / self.space), 1), max(round(width / self.space), 1))
        frames = np.ascontiguousarray(resize_frames(clip.frames[:: self.time], size))
        return replace(
            clip,
            frames=frames,
            timestamps=clip.timestamps[:: self.time],
            indices=clip.indices[:: self.time],
            source=f"{clip.source} downsampled {self.space:g} in space, {self.time} in time",
            sha256=hashlib.sha256(frames.tobytes()).hexdigest(),
        )
