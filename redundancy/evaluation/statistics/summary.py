"""Labelled results over videos: means with intervals, and paired differences of two conditions."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int64

from redundancy.checks import require_type, whole_number
from redundancy.evaluation.same_grid import check_comparable
from redundancy.evaluation.statistics.intervals import (
    RESAMPLES,
    UNBOUNDED,
    Bounds,
    Method,
    interval_name,
    mean_interval,
)

BOUNDS = ("mean", "low", "high")
DATASET = "a Dataset: what measure returns, joined over videos by xr.concat"


def summarise(
    dataset: xr.Dataset,
    *,
    over: str = "video",
    confidence: float = 0.95,
    method: Method = "percentile",
    seed: int = 0,
) -> xr.Dataset:
    """Mean of every variable over videos with an interval: a bootstrap's, below 20 videos Student's t.

    The attribute `range` of a variable (`"0..1"`) bounds Student's t; `mean_interval` says what covers how well. Every
    element is resampled by itself with the same seed, so that elements defined for the same videos share their
    resamples; 9,999 resamples of 100 videos take some 10 ms per element.

    Parameters
    ----------
    dataset
        Variables with the dim `over`; those without it are kept as they are.
    over
        What is resampled.
    confidence
        Of the interval, in (0, 1).
    method
        Of the bootstrap: `"percentile"`, or `"BCa"`, corrected for bias and skewness.
    seed
        Of the resamples.

    Returns
    -------
    Each variable with a dim `bound` (`mean`, `low`, `high`) in place of `over`, and `<variable>_videos` (by the name of
    `over`): how many values entered, NaN (undefined for a video) being left out; with none everything is NaN.
    Attributes are kept; confidence, method, resamples and seed are added, and to each variable its `interval`.

    Raises
    ------
    ValueError
        If no variable has the dim, one holds something else than finite numbers and NaN, or a setting is unknown.

    Source: Student 1908; scipy.stats.bootstrap over videos.
    """
    require_type("dataset", dataset, xr.Dataset, expected=DATASET)
    whole_number("seed", seed, least=0)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} given, expected a number between 0 and 1")
    if method not in ("percentile", "BCa"):
        raise ValueError(f"method={method!r} given, expected 'percentile' or 'BCa'")
    dataset = dataset.compute()
    settings = {"confidence": confidence, "method": method, "resamples": RESAMPLES, "seed": seed}
    summary = dataset.drop_dims(over) if over in dataset.dims else dataset
    chosen = [str(name) for name, variable in dataset.data_vars.items() if over in variable.dims]
    if not chosen:
        raise ValueError(f"no variable with the dim {over!r} given, dims are {sorted(map(str, dataset.dims))}")
    for name in chosen:
        summary = summary.merge(_summary_of(dataset[name], over, settings), combine_attrs="override")
    return summary.assign_attrs(dataset.attrs, over=over, **settings)


def compare(
    first: xr.Dataset,
    second: xr.Dataset,
    *,
    over: str = "video",
    confidence: float = 0.95,
    method: Method = "percentile",
    seed: int = 0,
) -> xr.Dataset:
    """Mean of `first - second` on the same videos with its interval: paired differences of two conditions.

    Parameters
    ----------
    first, second
        The same variables on the same videos, which are named by a coordinate `over`; its order may differ.
    over, confidence, method, seed
        As in `summarise`.

    Returns
    -------
    As `summarise` of the differences, without the variables that lack the dim. Attributes of variables are those of
    `first` without `range`, which a difference does not keep; those of the datasets are kept where both agree, others
    as `<name>_first` and `<name>_second`.

    Raises
    ------
    ValueError
        If videos are not named, named twice or not the same, other dims, coordinates, units or variables differ, or the
        attribute `token_grid` or a coordinate `grid` says that frames differ in number and in tokens.

    Source: Student 1908; scipy.stats.bootstrap over videos.
    """
    for name, given in (("first", first), ("second", second)):
        require_type(name, given, xr.Dataset, expected=DATASET)
    if set(first.data_vars) != set(second.data_vars):
        raise ValueError(
            f"variables {sorted(map(str, first.data_vars))} and {sorted(map(str, second.data_vars))} given"
        )
    names = [str(name) for name, variable in first.data_vars.items() if over in variable.dims]
    second = second.sel({over: _labels(first, second, over)})
    for name in names:
        _same_dims(first[name], second[name])
    if "token_grid" in first.attrs and "token_grid" in second.attrs:
        check_comparable([first.attrs["token_grid"]], [second.attrs["token_grid"]])
    if "grid" in first.variables and "grid" in second.variables:
        check_comparable(first["grid"].values.ravel().tolist(), second["grid"].values.ravel().tolist())
    difference = xr.Dataset({name: _numbers(first[name]) - _numbers(second[name]) for name in names})
    for name in names:
        difference[name].attrs = first[name].attrs | {"difference": "first - second"}
        if "range" in first[name].attrs:
            one, other = _bounds(first[name]), _bounds(second[name])
            low, high = one[0] - other[1], one[1] - other[0]
            difference[name].attrs["range"] = f"{low:g}..{high:g}"
    difference.attrs = _joint_attrs(first.attrs, second.attrs)
    summary = summarise(difference, over=over, confidence=confidence, method=method, seed=seed)
    for name in names:
        summary[name].attrs.pop("range", None)
    return summary


def _summary_of(values: xr.DataArray, over: str, settings: dict[str, Any]) -> xr.Dataset:
    """A variable's means, bounds and numbers of videos."""
    keyword = {name: settings[name] for name in ("confidence", "method", "resamples", "seed")}
    keyword["bounds"] = _bounds(values)

    def interval(row: Float[np.ndarray, "videos"]) -> tuple[Float[np.ndarray, "3"], Int64[np.ndarray, ""]]:
        mean, low, high, videos = mean_interval(row, **keyword)
        return np.array([mean, low, high]), np.array(videos)

    bounds, videos = xr.apply_ufunc(
        interval, _numbers(values), input_core_dims=[[over]], output_core_dims=[["bound"], []], vectorize=True
    )
    number = videos.values if videos.size else np.zeros(1, dtype=np.int64)
    kind = {"confidence": settings["confidence"], "method": settings["method"]}
    what = interval_name(int(number.min()), int(number.max()), **kind)
    bounds = bounds.assign_coords(bound=list(BOUNDS)).assign_attrs(values.attrs, interval=what)
    videos.attrs = {"units": "1", "long_name": f"number along {over} that entered the mean of {values.name}"}
    return xr.Dataset({values.name: bounds, f"{values.name}_{over}s": videos})


def _bounds(values: xr.DataArray) -> Bounds:
    """Least and largest value, from the attribute `range`."""
    if "range" not in values.attrs:
        return UNBOUNDED
    low, high = (float(bound) for bound in str(values.attrs["range"]).split(".."))
    return low, high


def _numbers(values: xr.DataArray) -> xr.DataArray:
    """The values as float64, if they are finite or NaN."""
    if values.dtype.kind not in "biuf":
        raise ValueError(f"variable {values.name!r} of type {values.dtype} given, expected numbers")
    if np.isinf(values).any():
        raise ValueError(f"variable {values.name!r} holds an infinite value, which has no interval")
    return values.astype(np.float64)


def _labels(first: xr.Dataset, second: xr.Dataset, over: str) -> xr.DataArray:
    """What `over` names in both, in the order of the first."""
    for dataset in (first, second):
        if over not in dataset.indexes:
            raise ValueError(f"no coordinate {over!r} given: pairs are found by it")
        if not dataset.indexes[over].is_unique:
            raise ValueError(f"a name along {over!r} is given twice, expected each once")
    if different := set(first.indexes[over]) ^ set(second.indexes[over]):
        raise ValueError(f"the same {over}s are expected in both, {sorted(map(str, different))} are in one alone")
    return first[over]


def _same_dims(first: xr.DataArray, second: xr.DataArray) -> None:
    """Refuse what arithmetic would broadcast or cut to the common part."""
    if set(first.dims) != set(second.dims):
        raise ValueError(f"{first.name!r}: dims {first.dims} and {second.dims} given, expected the same")
    units = [values.attrs.get("units", "") for values in (first, second)]
    if all(units) and units[0] != units[1]:
        raise ValueError(f"{first.name!r}: units {units[0]!r} and {units[1]!r} given, expected the same")
    xr.align(first, second, join="exact")


def _joint_attrs(first: dict[Any, Any], second: dict[Any, Any]) -> dict[Any, Any]:
    """Attributes on which both agree, and the others under two names."""
    joint = {}
    for name in first | second:
        if name in first and name in second and np.array_equal(first[name], second[name]):
            joint[name] = first[name]
        else:
            joint |= {
                f"{name}_{which}": attrs[name]
                for which, attrs in (("first", first), ("second", second))
                if name in attrs
            }
    return joint
