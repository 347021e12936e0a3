"""Comparisons over numbers of frames, on families that give a video of fewer frames more tokens in each (Qwen3-VL)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Int

from redundancy.models.video_llm import VideoLLM
from redundancy.tokens import TokenGrid
from redundancy.video import VideoClip
from redundancy.video.resize import resize_frames


def grid_of(model: VideoLLM, clip: VideoClip) -> TokenGrid:
    """Temporal steps, rows and columns of the tokens that a model makes of a clip; the model is not run."""
    inputs = model.prepare(clip).tensors
    return model.family.video_grids(inputs, inputs.get("video_grid_thw"))[0]


class GridError(ValueError):
    """A processor does not show clips of several numbers of frames on one grid."""


def on_one_grid(model: VideoLLM, clips: Sequence[VideoClip]) -> list[VideoClip]:
    """The clips such that every frame of each is as many rows and columns of tokens as those of the first.

    Where the model's processor sizes a video by a budget of pixels over all its frames, clips of other numbers of
    frames get other grids. Then all of them, the first too, are resized alike to the size that the first gets.

    Raises
    ------
    GridError
        If the processor changes that size again, naming both grids.
    """
    first, *others = (grid_of(model, clip) for clip in clips)
    if all(grid[1:] == first[1:] for grid in others):
        return list(clips)
    processor = model.processor.video_processor
    pixels = int(processor.patch_size) * int(processor.merge_size)
    size = (first.rows * pixels, first.cols * pixels)
    resized = [replace(clip, frames=resize_frames(clip.frames, size)) for clip in clips]
    for grid in (grid_of(model, clip) for clip in resized):
        if grid[1:] != first[1:]:
            raise GridError(
                f"{model.name!r} gives {first.rows} x {first.cols} tokens to each of {first.frames} steps and "
                f"{grid.rows} x {grid.cols} to each of {grid.frames}, whatever size the frames have: what changes with "
                "their number cannot be told from what changes with the grid"
            )
    return resized


def check_comparable(first: Iterable[str], second: Iterable[str]) -> None:
    """Refuse pairs of grids, as in `"16x7x7"`, that differ in the number of steps and in the cells of a frame.

    Such are the rows of two numbers of frames on a family with a budget of pixels: what the frames do cannot be told
    from what the grid does. Grids that differ in cells alone are those of a clip made smaller, which may be compared.

    Raises
    ------
    ValueError
        Naming both grids of the first such pair.
    """
    for pair in dict.fromkeys(zip(first, second, strict=True)):
        one, other = (_sizes(grid) for grid in pair)
        if len(one) == len(other) == 3 and one[0] != other[0] and (one[1:] != other[1:]).any():
            raise ValueError(
                f"grids {pair[0]} and {pair[1]} (steps x rows x columns) given: both the number of frames and the "
                "tokens of a frame differ, so that neither can be compared; give both the same grid"
            )


def _sizes(grid: str) -> Int[np.ndarray, "axes"]:
    parts = str(grid).split("x")
    return np.array([int(part) for part in parts] if all(part.isdigit() for part in parts) else [], dtype=np.int64)
