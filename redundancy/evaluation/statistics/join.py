"""Summaries of several methods, or of several studies, as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from redundancy.checks import require_type

OUTER = ("condition", "measure")


def join_summaries(summaries: Sequence[xr.Dataset]) -> xr.Dataset:
    """Summaries with all their conditions and measures, NaN where none has a condition's measure.

    Of summaries with the same measures this is `xr.concat(summaries, "condition")`. Others have the same variables and
    dims, or variables of their own; what two of them say about the same condition and measure must agree.

    Parameters
    ----------
    summaries
        Of `summarise`, `compare` or studies.

    Returns
    -------
    Conditions and measures in order of appearance. Attributes are those that all share.

    Raises
    ------
    ValueError
        If there is no summary, or two differ in what they say about the same condition and measure.

    Examples
    --------
    >>> from redundancy.evaluation import summarise
    >>> two = [summarise([xr.Dataset({name: 0.5})], condition=name) for name in ("a", "b")]
    >>> join_summaries(two)["value"].sel(statistic="n").values.tolist()
    [[1.0, nan], [nan, 1.0]]
    """
    for i, summary in enumerate(summaries):
        require_type(f"summary {i}", summary, xr.Dataset, expected="a Dataset of summarise, compare or a study")
    if not summaries:
        raise ValueError("no summary given, expected at least one")
    dims = [d for d in OUTER if any(d in s.dims for s in summaries)]
    labels = {d: list(dict.fromkeys(v for s in summaries if d in s.dims for v in s[d].values.tolist())) for d in dims}
    made: dict[str, Any] = {}
    for name in dict.fromkeys(str(n) for s in summaries for n in s.data_vars):
        found = [s[name].reset_coords(drop=True) for s in summaries if name in s.data_vars]
        indexes = {d: labels[d] for d in dims if d in found[0].dims}
        whole = found[0].reindex(indexes)
        for other in found[1:]:
            if set(other.dims) != set(whole.dims):
                raise ValueError(f"{name!r}: dims {whole.dims} and {other.dims} given, expected the same")
            more = other.reindex(indexes)
            whole, more = xr.align(whole, more, join="outer")
            if bool(((whole - more).fillna(0) != 0).any()):
                raise ValueError(f"{name!r}: other values given for the same condition and measure, expected them once")
            whole = whole.fillna(more)
        made[name] = whole.assign_attrs(found[0].attrs)
    joined = xr.Dataset(made).assign_coords({d: labels[d] for d in dims})
    for dim in dims:
        for name in dict.fromkeys(str(n) for s in summaries for n, c in s.coords.items() if c.dims == (dim,)):
            if name != dim:
                joined = joined.assign_coords({name: (dim, _coordinate(summaries, name, dim, labels[dim]))})
    others = {str(n): c for s in summaries for n, c in s.coords.items() if n not in joined.coords and not c.dims}
    return joined.assign_coords(others).assign_attrs(_shared_attrs(summaries))


def _coordinate(summaries: Sequence[xr.Dataset], name: str, dim: str, labels: Sequence[Any]) -> list[Any]:
    """Values of a coordinate along a joined dim, of whichever summary has them."""
    known: dict[Any, Any] = {}
    for summary in (s for s in summaries if name in s.coords):
        for label, value in zip(summary[dim].values.tolist(), summary[name].values.tolist(), strict=True):
            if pd.isna(value):
                continue
            if label in known and not _equal(known[label], value):
                raise ValueError(f"{name} of {label!r} is {known[label]!r} and {value!r}, expected the same")
            known.setdefault(label, value)
    missing = "" if any(isinstance(v, str) for v in known.values()) else np.nan
    return [known.get(label, missing) for label in labels]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return bool(np.isclose(one, other, rtol=0, atol=1e-9))  # means over the same videos in another order
    return bool(one == other)


def _shared_attrs(summaries: Sequence[xr.Dataset]) -> dict[Any, Any]:
    first, *others = (s.attrs for s in summaries)
    return {
        k: v
        for k, v in first.items()
        if all(k in attrs and type(attrs[k]) is type(v) and np.array_equal(attrs[k], v) for attrs in others)
    }
