"""What reductions do, seen on the frames: which tokens stay, and how far they stand from their content."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from redundancy.plot.frames import grey_frame

DROPPED, MERGED, KEPT = 0, 1, 2
# dropped places show the grey frame alone
_ROLE_COLOURS = ((0.0, 0.0, 0.0, 0.0), (0.92, 0.62, 0.1, 0.5), (0.0, 0.35, 0.65, 0.75))
_ARROW: dict[str, Any] = {"color": "k", "headwidth": 3.5, "headlength": 3.5, "headaxislength": 3, "minlength": 0}
_ROLE_NAMES = ("dropped", "merged into another", "kept")


def role_maps(
    axes: Shaped[np.ndarray, "methods frames"],
    frames: UInt8[np.ndarray, "frames height width 3"] | None,
    roles: dict[str, Int[np.ndarray, "frames rows cols"]],
    *,
    time: Float[np.ndarray, "frames"],
) -> None:
    """Kept, merged and dropped tokens on the frames: one row of axes per method, one column per frame.

    Parameters
    ----------
    axes
        `[methods, frames]`.
    frames
        Frames to lay the maps on; None: a grey ground.
    roles
        By the name of the method: 0 for dropped tokens, 1 for merged and 2 for kept ones.
    time
        `[T]` s, above the columns.
    """
    colours = ListedColormap(list(_ROLE_COLOURS))
    for row, (name, maps) in zip(axes, roles.items(), strict=True):
        for t, (ax, role) in enumerate(zip(row, maps, strict=True)):
            extent = _ground(ax, None if frames is None else frames[t], role.shape)
            ax.imshow(role, extent=extent, cmap=colours, vmin=DROPPED, vmax=KEPT, interpolation="nearest")
        row[0].set_ylabel(name, fontsize=6)
    for ax, seconds in zip(axes[0], time, strict=True):
        ax.set_title(f"{seconds:.1f} s", fontsize=7, loc="center")


def role_legend() -> list[Patch]:
    """Handles of a legend for `role_maps`."""
    ground = (0.85, 0.85, 0.85, 1.0)
    shown = (ground, *_ROLE_COLOURS[MERGED:])
    return [Patch(facecolor=shown[role], label=_ROLE_NAMES[role]) for role in (KEPT, MERGED, DROPPED)]


def drift_maps(
    axes: Iterable[Axes],
    frames: UInt8[np.ndarray, "frames height width 3"] | None,
    place: Int[np.ndarray, "kept 3"],
    *,
    displacement: Float[np.ndarray, "kept 3"],
    shape: tuple[int, int],
    shown: Sequence[int],
) -> None:
    """Each kept token where it stands, with an arrow to the middle of its sources, coloured by their distance in time.

    Parameters
    ----------
    axes
        One per frame shown.
    frames
        `[shown]` frames; None: a grey ground.
    place
        `[K, 3]` frame, row and column of each kept token.
    displacement
        `[K, 3]` steps, rows and columns from there to the weighted middle of its sources.
    shape
        Rows and columns of the grid.
    shown
        Number of the frame of each axes.
    """
    axes = list(axes)
    size = shape if frames is None else frames.shape[1:3]
    cell = np.array([size[0] / shape[0], size[1] / shape[1]])
    at, arrows = (place[:, 1:] + 0.5) * cell, displacement[:, 1:] * cell
    finite = np.abs(displacement[:, 0][np.isfinite(displacement[:, 0])])
    furthest = max(float(finite.max()) if finite.size else 0.0, 1e-3)
    point = min(16.0, (38 / max(shape)) ** 2)  # smaller than a cell of a frame an inch wide
    dots = None
    for i, (ax, frame) in enumerate(zip(axes, shown, strict=True)):
        _ground(ax, None if frames is None else frames[i], shape)
        here = place[:, 0] == frame
        (y, x), colour = at[here].T, displacement[here, 0]
        dots = ax.scatter(
            x, y, c=colour, s=point, vmin=-furthest, vmax=furthest, cmap="coolwarm", edgecolors="k", linewidths=0.4
        )
        moved = here & (np.abs(arrows) > 0).any(1)
        (y, x), (dy, dx) = at[moved].T, arrows[moved].T
        ax.quiver(x, y, dx, dy, angles="xy", scale_units="xy", scale=1, width=0.016, zorder=3, **_ARROW)
        ax.set(xlim=(0, size[1]), ylim=(size[0], 0))
    figure = axes[0].get_figure()
    if dots is not None and figure is not None:
        figure.colorbar(dots, ax=axes, label="time shift, steps", shrink=0.8, pad=0.01)


def _ground(
    axes: Axes, frame: UInt8[np.ndarray, "height width 3"] | None, shape: tuple[int, ...]
) -> tuple[float, float, float, float]:
    """The frame in grey, or a plain ground of the grid's size; its extent."""
    height, width = shape if frame is None else frame.shape[:2]
    extent = (0.0, float(width), float(height), 0.0)
    image = np.full((1, 1, 3), 225, dtype=np.uint8) if frame is None else grey_frame(frame)
    axes.imshow(image, extent=extent)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return extent
