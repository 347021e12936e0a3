"""What `Dataset.redundancy` draws from a stored dataset of `capture` or `measure`; nothing is computed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int64, UInt8
from matplotlib.figure import Figure
from torch import Tensor

from redundancy import plot
from redundancy.checks import indices, require_type
from redundancy.labelled import from_labelled
from redundancy.metrics.coverage import token_roles
from redundancy.reduction import Reduction
from redundancy.video import VideoClip

Lengths = Sequence[int] | Int64[Tensor, "segments"]
MEASURE = "redundancy.measure(capture)"
MADE_BY = {
    "principal_components": (
        f"{MEASURE}.merge(project_trajectory(capture)), from redundancy.metrics.trajectory import project_trajectory"
    ),
    "grid_displacement": "redundancy.measure(capture, reduction)",
    "frame_mass": 'redundancy.measure(capture), of redundancy.capture(model, clip, prompt, attention_rows="last")',
}
MOST_FRAMES = 16


def similarity(
    dataset: xr.Dataset,
    segments: Mapping[str, Lengths] | Lengths | None = None,
    *,
    known_cuts: Int64[np.ndarray, "cuts"] | None = None,
) -> Figure:
    """Similarity of neighbouring frames over seconds; below it segments as bars."""
    similarity = _variable(dataset, "transition_similarity", ("transition",))
    time = _time(dataset)
    known_cuts = None if known_cuts is None else _within("known_cuts", known_cuts, len(time) - 1)
    bars = _by_name(segments, len(time))
    with plot.style():
        heights = [1.7, 0.4 + 0.22 * len(bars)][: 2 if bars else 1]
        figure, axes = plot.new_figure(len(heights), 1, height=sum(heights), height_ratios=heights)
        plot.similarity_over_time(axes[0, 0], time, similarity.values, known_cuts=known_cuts)
        axes[0, 0].set_ylabel("cosine of neighbours")
        if bars:
            palette = plot.colours(list(bars))
            plot.segment_bars(axes[1, 0], time, bars, palette=palette, known_cuts=known_cuts)
            axes[0, 0].set(xlim=axes[1, 0].get_xlim(), xlabel="")
            axes[0, 0].tick_params(labelbottom=False)
    return figure


def token_map(
    dataset: xr.Dataset, variable: str, clip: VideoClip | None = None, *, frames: Sequence[int] | None = None, **at: Any
) -> Figure:
    """A value of every token as a map of each frame; a value of a transition is laid on its earlier frame."""
    maps = _maps(dataset, variable, at)
    shown = _shown(frames, len(maps))
    label = _label(dataset[variable], variable)
    with plot.style():
        figure, axes = plot.frame_grid(len(shown), aspect=_aspect(dataset, clip))
        plot.token_maps(axes, _frames(dataset, clip, shown), maps[shown], label=label)
        _title_times(axes, _time(dataset)[shown])
    return figure


def trajectory(dataset: xr.Dataset, *, scaling: str = "raw") -> Figure:
    """The frames in their first two principal components, turn frames in rings."""
    points = _variable(dataset, "principal_components", ("frame", "component"), scaling=scaling)
    explained = _variable(dataset, "explained_variance", ("component",), scaling=scaling)
    if points.sizes["component"] < 2:
        raise ValueError(f"{points.sizes['component']} component given, expected project_trajectory(..., k=2)")
    with plot.style():
        figure, axes = plot.new_figure(1, 1, height=3.0)
        figure.set_figwidth(4.4)
        plot.trajectory(
            axes[0, 0],
            points.values[:, :2],
            _time(dataset),
            turns=_turns(dataset, scaling),
            explained=explained.values[:2],
        )
        figure.legend(loc="outside upper center", ncols=3)
    return figure


def curvature(dataset: xr.Dataset, *, scaling: str = "raw") -> Figure:
    """Curvature of each frame and speed of each transition over seconds, turn frames in rings."""
    curvature = _variable(dataset, "curvature", ("frame",), scaling=scaling)
    speed = _variable(dataset, "speed", ("transition",), scaling=scaling)
    time = _time(dataset)
    with plot.style():
        figure, axes = plot.new_figure(2, 1, height=2.8, sharex=True)
        plot.over_time(axes[0, 0], time, curvature.values, label="curvature", marked=_turns(dataset, scaling))
        plot.over_time(axes[1, 0], (time[1:] + time[:-1]) / 2, speed.values, label="speed per frame")
        axes[0, 0].set_xlabel("")
        if _turns(dataset, scaling).any():
            figure.legend(loc="outside upper center")
    return figure


def drift(dataset: xr.Dataset, clip: VideoClip | None = None, *, frames: Sequence[int] | None = None) -> Figure:
    """Kept tokens at their anchors, with arrows to the middle of their sources, coloured by distance in time."""
    moved = _variable(dataset, "grid_displacement", ("kept", "grid_axis"))
    if moved.size and not moved.notnull().any():
        raise ValueError(
            "grid_displacement is NaN throughout: outputs of a renumbered reduction have no cell; measure "
            'dataclasses.replace(reduction, placement="anchor") to see where its anchors lie'
        )
    place = np.stack([dataset[f"anchor_{n}"].values for n in ("frame", "row", "col")], 1)
    shown = _shown(frames, len(_time(dataset)))
    with plot.style():
        figure, axes = plot.frame_grid(len(shown), aspect=_aspect(dataset, clip))
        plot.drift_maps(
            axes,
            _frames(dataset, clip, shown),
            place,
            displacement=moved.values,
            shape=_shape(dataset),
            shown=shown.tolist(),
        )
        _title_times(axes, _time(dataset)[shown])
    return figure


def attention(dataset: xr.Dataset, **at: Any) -> Figure:
    """Attention of one row of the language model on each frame, layers below each other."""
    mass = _variable(dataset, "frame_mass", ("layer", "frame"), **at)
    with plot.style():
        figure, axes = plot.new_figure(1, 1, height=0.9 + 0.2 * min(mass.sizes["layer"], 12))
        layers = mass["layer"].values.tolist()
        image = plot.attention_over_frames(axes[0, 0], mass.values, _time(dataset), layers=layers)
        figure.colorbar(image, ax=axes[0, 0], label="share of attention")
    return figure


def reductions(
    dataset: xr.Dataset,
    reductions: Mapping[str, Reduction],
    clip: VideoClip | None = None,
    *,
    frames: Sequence[int] | None = None,
) -> Figure:
    """Kept, merged and dropped tokens of several methods on the frames, one row per method."""
    grid = (len(_time(dataset)), *_shape(dataset))
    roles = _roles(reductions, grid)
    shown = _shown(frames, grid[0], most=8)
    with plot.style():
        height = 0.5 + max(0.8 * _aspect(dataset, clip), 0.6) * len(roles)  # names of methods need some
        figure, axes = plot.new_figure(len(roles), len(shown), height=height)
        maps = {_with_retention(name, reductions[name]): role[shown] for name, role in roles.items()}
        plot.role_maps(axes, _frames(dataset, clip, shown), maps, time=_time(dataset)[shown])
        figure.legend(handles=plot.role_legend(), loc="outside lower center", ncols=3)
    return figure


def _variable(dataset: xr.Dataset, name: str, dims: tuple[str, ...], **at: Any) -> xr.DataArray:
    """A variable over `dims`, at the labels given; other dims of one entry are left out."""
    if name not in dataset:
        made_by = MADE_BY.get("principal_components" if name == "explained_variance" else name, MEASURE)
        raise ValueError(f"this dataset has no variable {name!r}; {made_by} makes it")
    x = dataset[name]
    unknown = [d for d in at if d not in x.dims]
    if unknown:
        raise ValueError(f"{unknown} given, but {name!r} has the dims {x.dims}")
    for dim, label in at.items():
        if label not in x[dim].values:
            raise ValueError(f"{dim}={label!r} given, {name!r} has {dim} {x[dim].values.tolist()}")
        x = x.sel({dim: label})
    x = x.squeeze([d for d in x.dims if d not in dims and x.sizes[d] == 1])
    if set(x.dims) != set(dims):
        left = [d for d in x.dims if d not in dims]
        say = ", ".join(f"{d}={x[d].values.tolist()}" for d in left)
        raise ValueError(f"{name!r} has the dims {x.dims}, expected {dims}" + (f"; name one of {say}" * bool(left)))
    if x.attrs.get("torch_dtype") == "bfloat16":  # stored as its bits
        x = x.copy(data=from_labelled(x).float().numpy())
    return x.transpose(*dims)


def _maps(dataset: xr.Dataset, name: str, at: Mapping[str, Any]) -> Float[np.ndarray, "frames rows cols"]:
    given = dataset[name].dims if name in dataset else ()
    along = "transition" if "transition" in given else "frame"
    values = _variable(dataset, name, (along, "token"), **at).values
    return values.reshape(-1, *_shape(dataset)).astype(np.float64)


def _time(dataset: xr.Dataset) -> Float[np.ndarray, "frames"]:
    if "frame_time" not in dataset:
        raise ValueError(f"this dataset has no coordinate 'frame_time'; {MEASURE} makes it")
    return dataset["frame_time"].values


def _turns(dataset: xr.Dataset, scaling: str) -> Any:
    return _variable(dataset, "turn_frames", ("frame",), scaling=scaling).values == 1


def _shape(dataset: xr.Dataset) -> tuple[int, int]:
    """Rows and columns of the grid."""
    if "row" not in dataset.coords:
        raise ValueError('this dataset has no tokens; measure(capture, metrics="default") and captures have')
    rows, cols = (int(dataset[n].values.max()) + 1 for n in ("row", "col"))
    return rows, cols


def _aspect(dataset: xr.Dataset, clip: VideoClip | None) -> float:
    """Height over width of what is shown."""
    if clip is not None:
        require_type("clip", clip, VideoClip)
    height, width = _shape(dataset) if clip is None else clip.frames.shape[1:3]
    return float(height / width)


def _frames(
    dataset: xr.Dataset, clip: VideoClip | None, shown: Int64[np.ndarray, "shown"]
) -> UInt8[np.ndarray, "shown height width 3"] | None:
    """The clip frame of each step: the latest that is not after it, which of a pair is the first."""
    if clip is None:
        return None
    own = dataset.attrs.get("clip_sha256", clip.sha256)
    time = _time(dataset)
    if own != clip.sha256 or time[0] < clip.timestamps[0] - 1e-6 or time[-1] > clip.timestamps[-1] + 1e-6:
        raise ValueError(
            f"a clip of {clip.source} given, {clip.timestamps[0]:.2f} to {clip.timestamps[-1]:.2f} s, expected the "
            f"one that was captured ({dataset.attrs.get('clip_source')}, {time[0]:.2f} to {time[-1]:.2f} s)"
        )
    step: UInt8[np.ndarray, "shown height width 3"]
    step = clip.frames[np.searchsorted(clip.timestamps, time[shown] + 1e-6, side="right") - 1]
    return step


def _by_name(segments: Mapping[str, Lengths] | Lengths | None, frames: int) -> dict[str, Sequence[int]]:
    if segments is None:
        return {}
    named = segments if isinstance(segments, Mapping) else {"segments": segments}
    lengths: dict[str, Sequence[int]] = {name: indices(str(name), given).tolist() for name, given in named.items()}
    for name, given in lengths.items():
        if sum(given) != frames:
            raise ValueError(f"segments {name!r} of {sum(given)} frames given, expected lengths that sum to {frames}")
    return lengths


def _shown(frames: Sequence[int] | None, count: int, *, most: int = MOST_FRAMES) -> Int64[np.ndarray, "shown"]:
    """Frames to show: those given, or at most so many at equal distance."""
    if frames is None:
        return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
    shown = _within("frames", frames, count)
    if not len(shown):
        raise ValueError(f"frames=[] given, expected some of 0..{count - 1}")
    return shown


def _within(name: str, given: object, count: int) -> Int64[np.ndarray, "given"]:
    numbers: Int64[np.ndarray, "given"] = indices(name, given).cpu().numpy()
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < count:
        raise ValueError(f"{name}={numbers.tolist()} given, expected some of 0..{count - 1}")
    return numbers


def _with_retention(name: str, reduction: Reduction) -> str:
    asked = "" if reduction.requested is None else f"\nasked {reduction.requested:.3g}"
    return f"{name}\nkept {reduction.achieved:.3g}{asked}"


def _label(x: xr.DataArray, name: str) -> str:
    units = x.attrs.get("units", "1")
    return name.replace("_", " ") + ("" if units == "1" else f", {units}")


def _title_times(axes: Sequence[Any], time: Float[np.ndarray, "shown"]) -> None:
    for ax, seconds in zip(axes, time, strict=True):
        ax.set_title(f"{seconds:.1f} s", fontsize=7, loc="center")


def _roles(
    reductions: Mapping[str, Reduction], grid: tuple[int, int, int]
) -> dict[str, Int64[np.ndarray, "frames rows cols"]]:
    require_type("reductions", reductions, Mapping, expected="reductions by name")
    if not reductions:
        raise ValueError("no reductions given, expected some by name")
    for name, reduction in reductions.items():
        require_type(f"reductions[{name!r}]", reduction, Reduction)
        if tuple(reduction.grid) != grid:
            raise ValueError(f"{name!r} reduces a grid of {tuple(reduction.grid)}, expected {grid}")
    return {name: token_roles(r).cpu().numpy().reshape(grid) for name, r in reductions.items()}
