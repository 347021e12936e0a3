"""Frames of a clip, with values of their tokens laid on them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes


def film_strip(
    axes: Axes, frames: UInt8[np.ndarray, "frames height width 3"], time: Float[np.ndarray, "frames"], *, gap: int = 4
) -> None:
    """Frames side by side, their times in seconds below.

    Source: own.
    """
    T, height, width, _ = frames.shape
    strip = np.full((height, T * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for t, frame in enumerate(frames):
        strip[:, t * (width + gap) : t * (width + gap) + width] = frame
    axes.imshow(strip)
    centres = np.arange(T) * (width + gap) + width / 2
    axes.set_xticks(centres, [f"{s:.1f}" for s in time])
    axes.set_yticks([])
    axes.set_xlabel("time, s")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def token_maps(
    axes: Iterable[Axes],
    frames: UInt8[np.ndarray, "frames height width 3"],
    values: Float[np.ndarray, "frames rows cols"],
    *,
    label: str,
) -> None:
    """One value per token laid over its frame, a frame per axes, one colour scale for all.

    Source: own.
    """
    axes = list(axes)
    height, width = frames.shape[1:3]
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    image = None
    for ax, frame, value in zip(axes, frames, values, strict=True):
        ax.imshow(frame)
        image = ax.imshow(
            value,
            extent=(0, width, height, 0),
            cmap="viridis",
            alpha=0.55,
            vmin=low,
            vmax=high,
            interpolation="nearest",
        )
        ax.set_axis_off()
    if image is not None:
        figure = axes[0].get_figure()
        if figure is not None:
            figure.colorbar(image, ax=axes, label=label, shrink=0.8, pad=0.01)
