"""Sentences whose numbers are those of a summary: which condition is highest and lowest, and which differ at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from redundancy.evaluation.statistics.intervals import is_marked

At = Mapping[str, Any]


def extremes(
    summary: xr.Dataset,
    measure: str,
    *,
    of: str = "value",
    at: At | None = None,
    where: At | None = None,
    dim: str = "condition",
    form: str = ".2f",
    says: str = "",
) -> str:
    """The highest and the lowest of some conditions, each with its interval; empty where nothing is defined.

    Parameters
    ----------
    measure, of, at
        Where the numbers stand: a measure of a variable, and the level of each further dim.
    where
        Coordinate -> the value of those that count.
    dim
        What is compared.
    says
        What the measure is, in words; its long name otherwise.

    Examples
    --------
    >>> extremes(summary, "correct")  # doctest: +SKIP
    'Questions answered rightly: most vcast(0.25), 0.94 [0.91, 0.97]; least random_tokens(0.25), 0.61 [0.55, 0.66].'
    """
    cells = _cells(summary, measure, of=of, at=at, where=where, dim=dim)
    known = [(name, cell) for name, cell in cells if not np.isnan(cell[0])]
    if not known:
        return ""
    high, low = max(known, key=lambda one: one[1][0]), min(known, key=lambda one: one[1][0])
    told = says or _long_name(summary, measure)
    if high[1][0] == low[1][0]:
        return f"{_first_upper(told)}: {_number(high[1], form)} in all of {len(known)}."
    return f"{_first_upper(told)}: most {high[0]}, {_number(high[1], form)}; least {low[0]}, {_number(low[1], form)}."


def differing(
    summary: xr.Dataset,
    measure: str,
    *,
    of: str,
    at: At | None = None,
    where: At | None = None,
    dim: str = "condition",
    form: str = "+.2f",
    says: str = "",
    most: int = 2,
) -> str:
    """How many differences leave out 0, and the largest of them; those that are 0 on every video are not counted.

    Parameters
    ----------
    measure, of, at, where, dim, says
        As `extremes` takes them, of a variable of differences. Where the summary has a variable `<of>_test`, a
        difference counts if its `q` is below .05; otherwise if its interval leaves out 0.
    most
        So many are named.
    """
    cells = [(n, c) for n, c in _cells(summary, measure, of=of, at=at, where=where, dim=dim) if not np.isnan(c[0])]
    q: dict[str, float] = {}
    if f"{of}_test" in summary and not at:
        tests = summary[f"{of}_test"].sel(measure=measure, test="q")
        q = dict(zip(map(str, tests["condition"].values), tests.values.tolist(), strict=True))
    moved = [(n, c) for n, c in cells if c[1] != 0 or c[2] != 0]
    clear = [(n, c) for n, c in moved if (q[n] < 0.05 if n in q else is_marked(c[1], c[2], c[3]))]
    told, rule = says or _long_name(summary, measure), "q < .05" if q else "the interval leaves out 0"
    if not moved:
        return ""
    named = sorted(clear, key=lambda one: -abs(one[1][0]))[:most]
    texts = "; ".join(f"{name} {_number(cell, form)}" for name, cell in named)
    return f"{_first_upper(told)} differs in {len(clear)} of {len(moved)} ({rule}){': ' + texts if texts else ''}."


def _cells(
    summary: xr.Dataset, measure: str, *, of: str, at: At | None, where: At | None, dim: str
) -> list[tuple[str, Any]]:
    found = summary[of]
    found = found.sel({"measure": measure, **(at or {})} if "measure" in found.dims and measure else dict(at or {}))
    for name, value in (where or {}).items():
        found = found.isel({dim: np.flatnonzero(found[name].values == value)})
    found = found.transpose(dim, "statistic")
    return list(zip(map(str, found[dim].values), found.values, strict=True))


def _number(cell: Any, form: str) -> str:
    estimate, low, high = (f"{x:{form}}" for x in cell[:3])
    return f"{estimate} [{low}, {high}]"


def _long_name(summary: xr.Dataset, measure: str) -> str:
    return str(summary["long_name"].sel(measure=measure).item()) if "long_name" in summary.coords else measure


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]
