"""Where the language model looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.image import AxesImage


def attention_over_frames(
    axes: Axes,
    mass: Float[np.ndarray, "layers frames"],
    time: Float[np.ndarray, "frames"],
    *,
    layers: Sequence[int],
    high: float | None = None,
) -> AxesImage:
    """Attention on each frame as a map, layers below each other.

    Parameters
    ----------
    mass
        `[layers, T]` share of a row's attention on each frame.
    time
        `[T]` s.
    layers
        Their numbers.
    high
        End of the colour scale, which begins at 0; by default the largest share.

    Returns
    -------
    The image, for a colour bar.
    """
    image = axes.imshow(mass, aspect="auto", cmap="viridis", vmin=0, vmax=high, interpolation="nearest")
    every = max(1, -(-len(time) // 8))
    axes.set_xticks(range(0, len(time), every), [f"{s:.1f}" for s in time[::every]])
    down = max(1, -(-len(layers) // 12))
    axes.set_yticks(range(0, len(layers), down), [str(layer) for layer in layers[::down]])
    axes.set(xlabel="time, s", ylabel="layer")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return image
