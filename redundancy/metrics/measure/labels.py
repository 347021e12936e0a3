"""Values of metrics with names, units, facts, coordinates and a summary of the video."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.measure.compute import Settings
from redundancy.metrics.measure.inputs import Inputs
from redundancy.metrics.registry import SCALINGS, Metric

SUMMED = ("frame", "transition", "token", "kept")  # dims that a video's summary is a mean over
AXES = {"grid_axis": ("t", "row", "col"), "axis": ("row", "col"), "scaling": SCALINGS}


def labelled_metrics(
    inputs: Inputs, chosen: Sequence[Metric], values: Mapping[str, Any], *, settings: Settings
) -> xr.Dataset:
    """One variable per output of each metric, and its mean over frames, transitions, tokens and outputs.

    Parameters
    ----------
    values
        What `compute` returned, delayed or not.
    """
    data: dict[str, xr.DataArray] = {}
    for m in chosen:
        own = m.parameters | dict(settings.get(m.name, {}))
        for output in m.dims:
            data[output] = _variable(m, output, values[m.name], inputs, own)
            if set(data[output].dims) & set(SUMMED):
                data[f"{output}_mean"] = nanmean(data[output])
    zeros = _array(inputs, values["n_zero"], "n_zero", (inputs.grid.frames,))
    data["n_zero"] = xr.DataArray(zeros, dims=("frame",), attrs={"units": "tokens", "long_name": "zero tokens"})
    return xr.Dataset(data).assign_coords(_places(inputs, {str(d) for x in data.values() for d in x.dims}))


def nanmean(x: xr.DataArray) -> xr.DataArray:
    """Mean over frames, transitions, tokens and outputs, NaN left out; NaN where nothing is left."""
    axes, dims = tuple(i for i, d in enumerate(x.dims) if d in SUMMED), [d for d in x.dims if d not in SUMMED]
    # on bare arrays (of numpy or dask): a labelled mean takes twenty times as long, and a study makes thousands
    known = ~np.isnan(x.data)
    count = known.sum(axis=axes)
    total = np.where(known, x.data, x.dtype.type(0)).sum(axis=axes)
    mean = (total / np.where(count > 0, count, np.nan)).astype("float32")
    return xr.DataArray(mean, dims=dims, coords={str(d): x.coords[d] for d in dims if d in x.coords}, attrs=x.attrs)


def defined_mean(values: Float[np.ndarray, "..."]) -> float:
    """Mean of the values that are not NaN, in their own precision; NaN where there is none.

    >>> defined_mean(np.array([1.0, np.nan, 2.0]))
    1.5
    """
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def video_summary(m: Metric, values: Mapping[str, Tensor]) -> Float[Tensor, "*rest"]:
    """Mean of a metric's first output over frames, transitions, tokens and outputs, as `nanmean` of its variable."""
    value = values[m.name].cpu().float()
    dims = ("scaling", *m.dims[m.name]) if "points" in m.inputs else m.dims[m.name]
    axes = [i for i, d in enumerate(dims) if d in SUMMED]
    return value.nanmean(axes) if axes else value


def _variable(m: Metric, output: str, values: Any, inputs: Inputs, own: Mapping[str, Any]) -> xr.DataArray:
    dims = _dims(m, output, inputs)
    sizes = tuple(_size(d, own, inputs) for d in dims)
    facts = m.attrs if output == m.name else {"source": m.source}
    attrs = facts | {"settings": json.dumps(own, default=str)} | ({"undefined": m.undefined} if m.undefined else {})
    coords = {d: _coordinate(d, own, inputs) for d in dims}
    present = {d: c for d, c in coords.items() if c is not None}
    return xr.DataArray(_array(inputs, values, output, sizes), dims=dims, coords=present, attrs=attrs)


def _dims(m: Metric, output: str, inputs: Inputs) -> tuple[str, ...]:
    """Dims of an output: rows of attention as they were captured, trajectories raw and at unit length."""
    dims = m.dims[output]
    if m.group == "attention":
        lead = ("layer", "head", "query")
        return (*inputs.rows, *(d for d in dims if d not in lead))
    return ("scaling", *dims) if "points" in m.inputs else dims


def _size(dim: str, own: Mapping[str, Any], inputs: Inputs) -> int:
    T, N = inputs.grid.frames, inputs.grid.tokens_per_frame
    known = {"frame": T, "transition": max(T - 1, 0), "token": N, "lag": T // 2 + 1}
    if dim in known:
        return known[dim]
    if dim in AXES:
        return len(AXES[dim])
    if dim in inputs.rows:
        return len(inputs.rows[dim])
    if dim == "kept":
        return int(inputs.beside["reduction"].kept)
    if dim == "rope_axis":
        return len(inputs.axes)
    return len(own[dim])


def _coordinate(dim: str, own: Mapping[str, Any], inputs: Inputs) -> Any:
    if dim in AXES:
        return list(AXES[dim])
    if dim in inputs.rows:
        return inputs.rows[dim]
    if dim == "rope_axis":
        return list(inputs.axes)
    return list(own[dim]) if dim in own else None


def _array(inputs: Inputs, values: Any, output: str, sizes: tuple[int, ...]) -> Any:
    """The values, or a dask array that will hold them."""
    if not inputs.lazy:
        return _numpy(values, output)
    import dask.array as da

    return da.from_delayed(inputs.call(_numpy, values, output), shape=sizes, dtype=np.float32)


def _numpy(values: Mapping[str, Any], output: str) -> Any:
    return values[output].cpu().numpy().astype(np.float32)


def _places(inputs: Inputs, dims: set[str]) -> dict[str, Any]:
    """Seconds of frames and transitions, rows and columns of tokens and outputs."""
    T, _, cols = inputs.grid
    time = inputs.beside["frame_time"]
    coords: dict[str, Any] = {}
    seconds = {"units": "s"}
    if "frame" in dims:
        coords["frame_time"] = ("frame", _array_of(inputs, time, T), seconds)
    if "transition" in dims:
        middle = inputs.call(_middle, time)
        coords["transition_time"] = ("transition", _array_of(inputs, middle, max(T - 1, 0)), seconds)
    if "token" in dims:
        place = np.arange(inputs.grid.tokens_per_frame)
        coords |= {"row": ("token", place // cols), "col": ("token", place % cols)}
    if "kept" in dims:
        anchor = inputs.beside["reduction"].anchor_token.cpu().numpy()
        N = inputs.grid.tokens_per_frame
        for name, value in (("frame", anchor // N), ("row", anchor % N // cols), ("col", anchor % cols)):
            coords[f"anchor_{name}"] = ("kept", np.where(anchor < 0, -1, value))
    return coords


def _middle(time: Any) -> Any:
    return (time[1:] + time[:-1]) / 2


def _array_of(inputs: Inputs, x: Any, size: int) -> Any:
    if not inputs.lazy:
        return np.asarray(x.cpu(), dtype=np.float64)
    import dask.array as da

    return da.from_delayed(inputs.call(_float64, x), shape=(size,), dtype=np.float64)


def _float64(x: Any) -> Any:
    return np.asarray(x.cpu(), dtype=np.float64)
