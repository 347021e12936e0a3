"""Labelled results of videos in the shape of every summary: means with intervals, and paired differences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from redundancy.checks import require_type, whole_number
from redundancy.evaluation.same_grid import check_comparable
from redundancy.evaluation.statistics.aggregate import STATISTIC, measure_coords
from redundancy.evaluation.statistics.gather import Results, gathered, is_list
from redundancy.evaluation.statistics.intervals import (
    RESAMPLES,
    UNBOUNDED,
    Bounds,
    Method,
    interval_name,
    mean_interval,
)
from redundancy.evaluation.statistics.measures import Measure, measure_of
from redundancy.metrics.registry import ELEMENT_DIMS
from redundancy.pruning.table import METHODS

FULL = "all tokens"  # the condition of measurements without a reduction


def summarise(
    results: Results,
    *,
    over: str = "video",
    condition: str | None = None,
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
    results
        What `measure` returned for each video, in a list (videos are named by their clips, or `video_0`, ...) or by
        name; or one dataset with the dim `over`.
    over
        What is resampled.
    condition
        Name of the condition; None: the method and its retention as results tell them, for example `FastVID(0.25)`.
    confidence
        Of the interval, in (0, 1).
    method
        Of the bootstrap: `"percentile"`, or `"BCa"`, corrected for bias and skewness.
    seed
        Of the resamples.

    Returns
    -------
    `value` with dims `condition` (one), `measure` and `statistic` (`estimate`, `low`, `high`, `n`): every variable that
    is one number for each video. `n` is how many videos entered, NaN (undefined for a video) being left out; with none
    the others are NaN. Each value of a metric's own parameter is a measure, `static_fraction(tau=0.9)`. A variable over
    frames, layers or other `ELEMENT_DIMS` keeps these: dims `condition`, its own, `statistic`. Coordinates of
    `condition`: `method`, `method_kind`, `requested`, `achieved`; of `measure`: `long_name`, `units`, `higher`.
    Variables that videos do not share, for example over frames of another grid, are left out: the attribute `left_out`
    names them. Attributes are those that all results share, `provenance` (json) has the others of each video. Summaries
    join by `join_summaries`, those with the same measures also by `xr.concat([a, b], "condition")`.

    Raises
    ------
    ValueError
        If no variable has the dim, one holds something else than finite numbers and NaN, results are of several
        methods, or a setting is unknown.

    Examples
    --------
    >>> import xarray as xr
    >>> a, b = xr.Dataset({"overlap": 0.25}), xr.Dataset({"overlap": 0.75})
    >>> summarise([a, b])["value"].sel(measure="overlap", statistic="estimate").item()
    0.5

    Source: Student 1908; scipy.stats.bootstrap over videos.
    """
    settings = _settings(confidence, method, seed)
    joined = gathered("results", results, over).compute()
    return _summary(joined, over, settings, label=condition)


def compare(
    first: Results,
    second: Results,
    *,
    over: str = "video",
    condition: str | None = None,
    confidence: float = 0.95,
    method: Method = "percentile",
    seed: int = 0,
) -> xr.Dataset:
    """Mean of `first - second` on the same videos with its interval: paired differences of two conditions.

    Parameters
    ----------
    first, second
        The same variables on the same videos, as `summarise` takes them: named, or found by their clips; their order
        may differ.
    over, confidence, method, seed
        As in `summarise`.
    condition
        Name of the result; None: both conditions with a minus between.

    Returns
    -------
    As `summarise` of the differences. `requested`, `achieved` and `method_kind` are those of both, or NaN and empty
    where they differ. Attributes are kept where both agree, others as `<name>_first` and `<name>_second`.

    Raises
    ------
    ValueError
        If videos are not named, named twice or not the same, other dims, coordinates, units or variables differ, or the
        attribute `token_grid` or a coordinate `grid` says that frames differ in number and in tokens.

    Examples
    --------
    >>> import xarray as xr
    >>> a, b = ({name: xr.Dataset({"overlap": value}) for name in ("x", "y")} for value in (0.75, 0.5))
    >>> compare(a, b)["value"].sel(measure="overlap", statistic="estimate").item()
    0.25

    Source: Student 1908; scipy.stats.bootstrap over videos.
    """
    settings = _settings(confidence, method, seed)
    for name, given in (("first", first), ("second", second)):
        if is_list(given) and not all(d.attrs.get("clip_source") for d in given):
            raise ValueError(
                f"{name}: a list of results that do not say of which clip they are given, expected them by name: "
                f"{{{over}: dataset, ...}}; pairs are found by it"
            )
    one, other = (gathered(n, given, over).compute() for n, given in (("first", first), ("second", second)))
    if set(one.data_vars) != set(other.data_vars):
        different = sorted(map(str, set(one.data_vars) ^ set(other.data_vars)))
        raise ValueError(
            f"variables {sorted(map(str, one.data_vars))} and {sorted(map(str, other.data_vars))} given, expected the "
            f"same: {different} are in one alone"
        )
    names = [str(name) for name, variable in one.data_vars.items() if over in variable.dims]
    other = other.sel({over: _labels(one, other, over)})
    for name in names:
        _same_dims(one[name], other[name])
    if "token_grid" in one.attrs and "token_grid" in other.attrs:
        check_comparable([one.attrs["token_grid"]], [other.attrs["token_grid"]])
    if "grid" in one.variables and "grid" in other.variables:
        check_comparable(one["grid"].values.ravel().tolist(), other["grid"].values.ravel().tolist())
    difference = xr.Dataset({name: _numbers(one[name]) - _numbers(other[name]) for name in names})
    for name in names:
        difference[name].attrs = dict(one[name].attrs)
        if "range" in one[name].attrs:
            low, high = (a - b for a, b in zip(_bounds(one[name]), _bounds(other[name])[::-1], strict=True))
            difference[name].attrs["range"] = f"{low:g}..{high:g}"
    difference.attrs = _joint_attrs(one.attrs, other.attrs)
    of_both = _joint_conditions(*(_condition_of(d.attrs, None) for d in (one, other)), label=condition)
    summary = _summary(difference, over, settings, of_both=of_both)
    return summary.assign_attrs(difference="first - second, paired")


def table(summary: xr.Dataset, variable: str = "value", *, digits: int = 3) -> pd.DataFrame:
    """A summary as a tidy table: one row for each condition and measure, and value of a further dim.

    Parameters
    ----------
    summary
        Of `summarise`, `compare` or a study.
    variable
        Which of its variables with the dim `statistic`.
    digits
        Behind the point of `text`.

    Returns
    -------
    Columns: `condition, method, requested, achieved, measure`, further dims, `estimate, low, high, n`, and `text` such
    as `0.512 [0.480, 0.540]` (`-` where nothing is defined). What the summary does not have is left out.

    Raises
    ------
    ValueError
        If there is no such variable.

    Examples
    --------
    >>> import xarray as xr
    >>> summary = summarise({name: xr.Dataset({"overlap": 0.5}) for name in ("x", "y")})
    >>> table(summary)[["measure", "n", "text"]].values.tolist()
    [['overlap', 2, '0.500 [0.500, 0.500]']]
    """
    require_type("summary", summary, xr.Dataset, expected="a Dataset of summarise, compare or a study")
    whole_number("digits", digits, least=0)
    summaries = [str(n) for n, v in summary.data_vars.items() if "statistic" in v.dims]
    if variable not in summaries:
        raise ValueError(f"variable={variable!r} given, expected one with the dim 'statistic': {summaries}")
    values = summary[variable]
    first = [dim for dim in ("condition", "measure") if dim in values.dims]
    dims = [*first, *(str(d) for d in values.dims if d not in (*first, "statistic"))]
    cells = values.transpose(*dims, "statistic").values.reshape(-1, len(STATISTIC))
    labels = {dim: values[dim].values if dim in values.coords else np.arange(values.sizes[dim]) for dim in dims}
    index = pd.MultiIndex.from_product(list(labels.values()), names=list(labels))
    made = index.to_frame(index=False)
    if "condition" in dims:
        place = [list(labels["condition"]).index(label) for label in made["condition"]]
        for column in [c for c in ("method", "requested", "achieved") if c in values.coords][::-1]:
            made.insert(1, column, values[column].values[place])
    made[list(STATISTIC)] = cells
    made["n"] = made["n"].fillna(0).astype(int)
    made["text"] = [interval_text(*row[:3], form=f".{digits}f") for row in cells]
    return made


def interval_text(estimate: float, low: float, high: float, *, form: str = ".3f") -> str:
    """An estimate with its interval in brackets, a dash where it is undefined; `form` is that of the numbers.

    >>> interval_text(0.5, 0.25, 0.75, form="+.2f")
    '+0.50 [+0.25, +0.75]'
    """
    return "-" if np.isnan(estimate) else f"{estimate:{form}} [{low:{form}}, {high:{form}}]"


def _settings(confidence: float, method: str, seed: int) -> dict[str, Any]:
    whole_number("seed", seed, least=0)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} given, expected a number between 0 and 1")
    if method not in ("percentile", "BCa"):
        raise ValueError(f"method={method!r} given, expected 'percentile' or 'BCa'")
    return {"confidence": confidence, "method": method, "resamples": RESAMPLES, "seed": seed}


def _summary(
    joined: xr.Dataset,
    over: str,
    settings: Mapping[str, Any],
    *,
    label: str | None = None,
    of_both: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Results with the dim `over` as a summary of one condition."""
    chosen = {str(n): _numbers(v) for n, v in joined.data_vars.items() if over in v.dims}
    if not chosen:
        raise ValueError(f"no variable with the dim {over!r} given, expected one: the dims are {list(joined.sizes)}")
    condition = dict(of_both or _condition_of(joined.attrs, label))
    left_out = [
        *joined.attrs.get("left_out", []),
        *(f"{n}: no dim {over}" for n in joined.data_vars if n not in chosen),
    ]
    scalars = [pair for name, v in chosen.items() if not _elements(v) for pair in _by_parameter(v, name, over)]
    made: dict[str, Any] = {}
    if scalars:
        cells = np.stack([_interval(v.values, _bounds(v), settings) for _, v in scalars])
        about = [_measure(name, v) for name, v in scalars]
        made["value"] = xr.DataArray(cells, dims=("measure", "statistic"), coords=measure_coords(about))
    for name, values in chosen.items():
        if _elements(values):
            made[name] = xr.apply_ufunc(
                lambda row, limits: _interval(row, limits, settings),
                values,
                kwargs={"limits": _bounds(values)},
                input_core_dims=[[over]],
                output_core_dims=[["statistic"]],
                vectorize=True,
            ).assign_attrs({k: v for k, v in values.attrs.items() if k != "range"})
    summary = xr.Dataset(made, coords={"statistic": list(STATISTIC)})
    for name in made:
        summary[name] = summary[name].expand_dims("condition")
        summary[name].attrs["interval"] = _interval_of(summary[name], settings)
    coords = {k: ("condition", [v]) for k, v in condition.items() if k != "condition"}
    summary = summary.assign_coords({"condition": [condition["condition"]], **coords})
    kept = {k: v for k, v in joined.attrs.items() if k not in ("method", "requested", "achieved", "left_out")}
    told = {"over": over, "bootstrap": settings["method"], **{k: v for k, v in settings.items() if k != "method"}}
    return summary.assign_attrs(kept | told | {"left_out": left_out})


def _elements(values: xr.DataArray) -> list[str]:
    return [str(d) for d in values.dims if d in ELEMENT_DIMS]


def _by_parameter(values: xr.DataArray, name: str, over: str) -> Iterator[tuple[str, xr.DataArray]]:
    """A variable once for each combination of its parameters, named by them."""
    dims = [str(d) for d in values.dims if d != over]
    for place in np.ndindex(*(values.sizes[d] for d in dims)):
        at = values.isel(dict(zip(dims, place, strict=True)))
        told = [f"{d}={_short(at[d].item()) if d in at.coords else i}" for d, i in zip(dims, place, strict=True)]
        yield (f"{name}({', '.join(told)})" if told else name), at


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _measure(name: str, values: xr.DataArray) -> Measure:
    """What is known of a variable of `measure`."""
    known = measure_of(str(values.name).removesuffix("_mean"))
    meaning = str(values.attrs.get("long_name", known.long_name))
    return Measure(name, meaning, str(values.attrs.get("units", known.unit)), str(values.attrs.get("higher", "")))


def _interval(
    values: Float[np.ndarray, "videos"], bounds: Bounds, settings: Mapping[str, Any]
) -> Float[np.ndarray, "4"]:
    return np.array(mean_interval(values, bounds=bounds, **settings), dtype=np.float64)


def _interval_of(values: xr.DataArray, settings: Mapping[str, Any]) -> str:
    """Which intervals a variable of a summary has, in words."""
    n = values.sel(statistic="n").values
    fewest, most = (int(n.min()), int(n.max())) if n.size else (0, 0)
    return interval_name(fewest, most, confidence=settings["confidence"], method=settings["method"])


def _condition_of(attrs: Mapping[Any, Any], label: str | None) -> dict[str, Any]:
    """Coordinates of the one condition that results are of."""
    nan = float("nan")
    if "method" in attrs:
        name, requested = str(attrs["method"]), float(attrs.get("requested", nan))
        kind = next((e.kind for e in METHODS.values() if type(e.method).__name__ == name), "method")
        made = f"{name}({requested:g})" if not np.isnan(requested) else name
        told = {"method": name, "method_kind": kind, "requested": requested}
        told["achieved"] = float(attrs.get("achieved", nan))
    elif "token_grid" in attrs or "token_grids" in attrs:
        made, told = FULL, {"method": FULL, "method_kind": "full", "requested": 1.0, "achieved": 1.0}
    else:
        made, told = "", {"method": "", "method_kind": "", "requested": nan, "achieved": nan}
    return {"condition": made if label is None else label, **told}


def _joint_conditions(first: Mapping[str, Any], second: Mapping[str, Any], *, label: str | None) -> dict[str, Any]:
    """Coordinates of the difference of two conditions."""
    both: dict[str, Any] = {}
    for name in first:
        one, other = first[name], second[name]
        if name in ("condition", "method"):
            both[name] = f"{one} - {other}" if name == "condition" or one != other else one
        else:
            both[name] = one if one == other else float("nan") if isinstance(one, float) else ""
    return both if label is None else both | {"condition": label}


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


def _joint_attrs(first: Mapping[Any, Any], second: Mapping[Any, Any]) -> dict[Any, Any]:
    """Attributes on which both agree, and the others under two names."""
    joint = {}
    for name in dict(first) | dict(second):
        if name in first and name in second and np.array_equal(first[name], second[name]):
            joint[name] = first[name]
        else:
            joint |= {
                f"{name}_{which}": attrs[name]
                for which, attrs in (("first", first), ("second", second))
                if name in attrs
            }
    return joint
