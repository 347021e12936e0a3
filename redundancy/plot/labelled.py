"""What figures read of a summary: a measure of a variable at some place, as an array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from redundancy.plot.methods import names_of

At = Mapping[str, Any]
INTERVAL = ["estimate", "low", "high"]


def values(summary: xr.Dataset, measure: str | None, *, variable: str = "value", at: At | None = None) -> xr.DataArray:
    """Estimate, low and high of a measure (None: of all), with the dim statistic last.

    Parameters
    ----------
    at
        What to choose: an entry of a dim, or the conditions whose coordinate has this value.

    Raises
    ------
    ValueError
        If the summary has no such measure, dim or coordinate.
    """
    found, at = summary[variable], dict(at or {}) if measure is None else {"measure": measure, **(at or {})}
    for name, value in at.items():
        if name not in found.coords or (name in found.dims and value not in found[name].values):
            known = names_of(found[name]) if name in found.coords else [*map(str, found.coords)]
            raise ValueError(f"{variable} at {name}={value!r} given, expected one of {[*map(str, known)]}")
        held = names_of(found[name]) == value if isinstance(value, str) else found[name].values == value
        found = found.sel({name: value}) if name in found.dims else found.isel(condition=np.flatnonzero(held))
    return found.sel(statistic=INTERVAL).transpose(..., "statistic")


def retention_near(summary: xr.Dataset, share: float | int = 0.25) -> float:
    """The requested retention below 1 that is nearest to `share`; NaN if all rates are fixed."""
    asked = summary["requested"].values
    stored = asked[asked < 1]
    return float(stored[np.argmin(abs(stored - share))]) if len(stored) else float("nan")
