"""Frames of a clip, with values of their tokens laid on them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes

_DARKEST = 140  # of 255: black in a frame that values are laid on


def film_strip(
    axes: Axes, frames: UInt8[np.ndarray, "frames height width 3"], time: Float[np.ndarray, "frames"], *, gap: int = 4
) -> None:
    """Frames side by side, their times in seconds below."""
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


def grey_frame(frame: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """A frame in light greys: all colour on it, and most of what is dark, is that of values (luma of ITU-R BT.601).

    Source: ITU-R BT.601.
    """
    luma = frame @ np.array([0.299, 0.587, 0.114])
    light = _DARKEST + (255 - _DARKEST) * luma / 255
    return np.repeat(light.round().astype(np.uint8)[..., None], 3, axis=2)


def token_maps(
    axes: Iterable[Axes],
    frames: UInt8[np.ndarray, "frames height width 3"] | None,
    values: Float[np.ndarray, "frames rows cols"],
    *,
    label: str,
) -> None:
    """One value per token laid over its frame, which is shown in grey, a frame per axes, one colour scale for all.

    Parameters
    ----------
    axes
        One per frame.
    frames
        `[T, H, W, 3]`; None: the values alone.
    values
        `[T, rows, cols]`; NaN shows the frame.
    label
        Of the colour scale.
    """
    axes = list(axes)
    height, width = values.shape[1:] if frames is None else frames.shape[1:3]
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    image = None
    for t, (ax, value) in enumerate(zip(axes, values, strict=True)):
        if frames is not None:
            ax.imshow(grey_frame(frames[t]))
        image = ax.imshow(
            value,
            extent=(0, width, height, 0),
            cmap="viridis",
            alpha=None if frames is None else 0.65,
            vmin=low,
            vmax=high,
            interpolation="nearest",
        )
        ax.set_axis_off()
    if image is not None:
        figure = axes[0].get_figure()
        if figure is not None:
            figure.colorbar(image, ax=axes, label=label, shrink=0.8, pad=0.01)
