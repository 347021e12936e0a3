"""Frames of another size."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8


def check_size(size: int | tuple[int, int] | None) -> None:
    """Refuse a size without pixels.

    Raises
    ------
    ValueError
        If a side is not above 0.
    """
    if size is not None and min(np.ravel(size)) < 1:
        raise ValueError(f"resize is {size}, expected pixels above 0")


def resize_frames(
    frames: UInt8[np.ndarray, "frames height width 3"], size: int | tuple[int, int] | None
) -> UInt8[np.ndarray, "frames new_height new_width 3"]:
    """Resize by bilinear interpolation with antialiasing, frame by frame.

    Parameters
    ----------
    frames
        `[T, H, W, 3]` uint8.
    size
        None (the same frames), the shorter side in pixels (the longer one is rounded to the nearest pixel), or
        `(height, width)`.
    """
    height, width = frames.shape[1:3]
    if isinstance(size, int):
        scale = size / min(height, width)
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
    if size is None or size == (height, width):
        return frames
    import torch

    resized = np.empty((len(frames), *size, 3), dtype=np.uint8)
    for target, frame in zip(resized, frames, strict=True):  # one at a time: float32 needs four times the memory
        image = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
        image = torch.nn.functional.interpolate(image, size=size, mode="bilinear", antialias=True)
        target[...] = image[0].permute(1, 2, 0).round().clamp(0, 255).byte().numpy()
    return resized
