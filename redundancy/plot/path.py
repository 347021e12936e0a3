"""The path of a video through feature space, and how it bends and hurries."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.axes import Axes

TURN = "tab:red"


def trajectory(
    axes: Axes,
    points: Float[np.ndarray, "frames two"],
    time: Float[np.ndarray, "frames"],
    *,
    turns: Bool[np.ndarray, "frames"] | None = None,
    explained: Float[np.ndarray, "two"] | None = None,
) -> None:
    """Frames as points along two axes, joined in order and coloured by their time in seconds.

    Parameters
    ----------
    points
        `[T, 2]` coordinates.
    time
        `[T]` s.
    turns
        `[T]` frames to mark.
    explained
        Share of variance along each axis, for its label.
    """
    axes.plot(points[:, 0], points[:, 1], color="0.7", linewidth=0.8, zorder=1)
    dots = axes.scatter(points[:, 0], points[:, 1], c=time, cmap="viridis", s=14, zorder=2)
    if turns is not None and turns.any():
        axes.scatter(
            points[turns, 0], points[turns, 1], s=60, facecolors="none", edgecolors=TURN, zorder=3, label="turn frame"
        )
    for index, marker, where in ((0, "s", "first frame"), (len(points) - 1, "D", "last frame")):
        x, y = points[index]
        axes.scatter([x], [y], s=36, marker=marker, facecolors="none", edgecolors="k", zorder=4, label=where)
    names = [f"component {i + 1}" for i in range(2)]
    if explained is not None and np.isfinite(explained).all():
        names = [f"{name} ({share:.0%} of variance)" for name, share in zip(names, explained, strict=True)]
    axes.set(xlabel=names[0], ylabel=names[1])
    axes.margins(0.12)
    axes.set_aspect("equal", adjustable="datalim")  # lengths are comparable along both
    figure = axes.get_figure()
    if figure is not None:
        figure.colorbar(dots, ax=axes, label="time, s")


def over_time(
    axes: Axes,
    time: Float[np.ndarray, "steps"],
    values: Float[np.ndarray, "steps"],
    *,
    label: str,
    marked: Bool[np.ndarray, "steps"] | None = None,
) -> None:
    """One value per frame or transition over seconds; some of them marked.

    Parameters
    ----------
    time, values
        `[steps]`, seconds and values.
    label
        Of the values, with their unit.
    marked
        `[steps]` steps in a ring, the turn frames.
    """
    axes.plot(time, values, color="0.2", marker="o")
    if marked is not None and marked.any():
        axes.plot(
            time[marked],
            values[marked],
            linestyle="none",
            marker="o",
            markersize=8,
            markerfacecolor="none",
            markeredgecolor=TURN,
            label="turn frame",
        )
    axes.margins(y=0.2)
    axes.set(xlabel="time, s", ylabel=label)
