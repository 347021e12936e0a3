"""Rows of a study to means with intervals over videos, and to paired differences: one labelled shape for all.

Dims are the columns that rows are told apart by, then `measure` and `statistic` (estimate, low, high, n).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from redundancy.evaluation.statistics.intervals import (
    FEW,
    RESAMPLES,
    Bounds,
    difference_bounds,
    interval_name,
    mean_interval,
)
from redundancy.evaluation.statistics.measures import Measure, measures_of

STATISTIC = ("estimate", "low", "high", "n")
CONDITION = ("method", "method_kind", "requested")  # columns that are coordinates of the dim `condition`
INTERVAL = f"{interval_name(0, FEW)}; {RESAMPLES} resamples, seed 0; questions and seeds of a video averaged"
Over = Sequence[str] | Mapping[str, Sequence[Any] | None]
Measures = Mapping[str, Measure | str] | Iterable[Measure | str]


def aggregate(
    rows: pd.DataFrame, *, over: Over = ("condition",), measures: Measures, unit: str = "video"
) -> xr.DataArray:
    """Mean over videos with an interval, for each value of some columns.

    1. A video counts with the mean of its rows (questions, seeds), NaN left out.
    2. `mean_interval` over videos, within the bounds of the measure.

    Parameters
    ----------
    rows
        One row per question, seed and whatever else; a row with NaN in a column of `over` (a video that failed) is
        left out.
    over
        Columns that become dims, with values in order of appearance; a mapping gives the values wanted, in order, or
        None.
    measures
        Columns that are averaged: names (see `measure_of`), `Measure`s, or names with what they mean.
    unit
        Column that names what is resampled.

    Returns
    -------
    Dims: those of `over`, `measure` (with the coordinates `long_name`, `units` and `higher`) and `statistic`
    (`estimate`, `low`, `high`, `n`). Where no row is, everything is NaN; where a measure is defined for no video, `n`
    is 0.

    Raises
    ------
    ValueError
        If a column is missing, there is no row, or a value is infinite.

    Examples
    --------
    >>> rows = pd.DataFrame({"condition": "fastvid(0.25)", "video": ["a", "a", "b"], "correct": [1, 0, 1]})
    >>> aggregate(rows, measures=["correct"]).sel(statistic="estimate").item()
    0.75
    """
    about = measures_of(measures)
    levels = _levels(rows, over, [unit, *(m.name for m in about)])
    means = _unit_means(rows, list(levels), about, unit)
    cells = {key: _intervals(part, [m.bounds for m in about]) for key, part in means.items()}
    return _labelled(cells, levels, about)


def contrast(
    rows: pd.DataFrame,
    *,
    dim: str,
    minus: Hashable,
    plus: Hashable | None = None,
    over: Over = ("condition",),
    measures: Measures,
    on: Sequence[str] | None = None,
    equal: str | Mapping[str, str] | None = None,
    unit: str = "video",
) -> xr.DataArray:
    """Differences between values of one column, paired over videos, with intervals.

    Parameters
    ----------
    rows, over, measures, unit
        As in `aggregate`; `over` does not name `dim`.
    dim
        Column whose values are compared, for example `variant`.
    minus
        The value that is taken away: the control, whose seeds are averaged for each video.
    plus
        The value that it is taken away from, and then `dim` is no dim of the result; None: each of the others, and
        then it is.
    on
        Measures that are compared; None: all. Others are NaN.
    equal
        A column, for all measures or by measure: of the control, rows alone enter that have there the value that
        `plus` has for the same video (for example: as many tokens kept). `plus` needs one value for each video.

    Returns
    -------
    As `aggregate`, bounded by the differences that bounds allow; `n` is the number of videos with both.

    Raises
    ------
    ValueError
        If a column or a value is missing, or `plus` has several values in the column `equal` for one video.

    Examples
    --------
    >>> rows = pd.DataFrame({"condition": "x", "video": [*"aabb"], "variant": [*"pqpq"], "kl": [2.0, 1.0, 3.0, 1.0]})
    >>> contrast(rows, dim="variant", plus="p", minus="q", measures=["kl"]).sel(statistic="estimate").item()
    1.5
    """
    about = measures_of(measures)
    used = _chosen(about, on)
    same = dict.fromkeys(used, equal) if isinstance(equal, str) else dict(equal or {})
    levels = _levels(rows, over, [unit, dim, *(m.name for m in about), *set(same.values())])
    present = list(dict.fromkeys(rows[dim].dropna()))
    wanted = [value for value in present if value != minus] if plus is None else [plus]
    if absent := [value for value in (minus, *wanted) if value not in present]:
        raise ValueError(f"{dim}={absent} given, expected some of {present}")
    bounds = [difference_bounds(m.bounds) for m in about]
    sides = {
        value: dict(iter(rows[rows[dim] == value].groupby(list(levels), sort=False))) for value in (minus, *wanted)
    }
    cells: dict[tuple[Any, ...], Float[np.ndarray, "measures 4"]] = {}
    for value in wanted:
        for key in sides[value].keys() & sides[minus].keys():
            pair = sides[value][key], sides[minus][key]
            difference = _differences(*pair, about=about, equal=same, unit=unit)
            found = _intervals(difference, bounds)
            found[[m.name not in used for m in about]] = np.nan
            cells[(value, *key) if plus is None else key] = found
    if plus is None:
        levels = {dim: present, **levels}
    made = _labelled(cells, levels, about)
    return made.assign_attrs(contrast=f"{dim}: {'each' if plus is None else plus} minus {minus}, paired by {unit}")


def column_contrast(
    rows: pd.DataFrame,
    minus: Mapping[str, str],
    *,
    over: Over = ("condition",),
    measures: Measures,
    unit: str = "video",
) -> xr.DataArray:
    """Differences of two columns of the same rows with intervals: of each measure that `minus` names and its column.

    Parameters
    ----------
    rows, over, measures, unit
        As in `aggregate`.
    minus
        By measure the column with its control, for example `{"correct": "tokens_correct"}`; measures without one are
        NaN.
    """
    about = measures_of(measures)
    used = _chosen(about, list(minus))
    levels = _levels(rows, over, [unit, *used, *minus.values()])
    taken = {name: rows[name].astype(float) - rows[minus[name]].astype(float) for name in used}
    different = rows.assign(**taken, **{m.name: np.nan for m in about if m.name not in taken})
    means = _unit_means(different, list(levels), about, unit)
    cells = {key: _intervals(part, [difference_bounds(m.bounds) for m in about]) for key, part in means.items()}
    for found in cells.values():
        found[[m.name not in used for m in about]] = np.nan
    return _labelled(cells, levels, about).assign_attrs(contrast=f"a column minus another of its row, over {unit}s")


def with_all(rows: pd.DataFrame, column: str, name: str = "all") -> pd.DataFrame:
    """Rows, and once more all of them with `name` in a column: for means by kind or skill and over all of them."""
    if (rows[column] == name).any():
        raise ValueError(f"{column}={name!r} is there already, expected another name for all of them")
    return pd.concat([rows, rows.assign(**{column: name})], ignore_index=True)


def widened(
    rows: pd.DataFrame, *, names: str, value: str = "value", by: Sequence[str] = ("condition", "video")
) -> pd.DataFrame:
    """Rows in long form to one row per video, where each value of a column has a column of its own.

    Parameters
    ----------
    names
        Column that names the measures, for example `statistic`.
    value
        Column with their values.
    by
        Columns that tell a video's rows apart, and stay.
    """
    if rows.duplicated([*by, names]).any():
        raise ValueError(f"a value of {names!r} is given twice for the same {list(by)}, expected each once")
    order = list(dict.fromkeys(rows[names]))
    wide = rows.set_index([*by, names])[value].unstack(names)[order]  # noqa: PD010 (of unique keys nothing is averaged)
    return wide.rename_axis(columns=None).reset_index()


def condition_coords(
    rows: pd.DataFrame, *, factors: Sequence[str] = (), conditions: Sequence[str] | None = None, unit: str = "video"
) -> dict[str, Any]:
    """Coordinates of the dim `condition` from the columns of its rows.

    Parameters
    ----------
    rows
        With the columns `condition`, `method`, `method_kind`, `requested` and `achieved`, as far as there are such.
    factors
        Further columns with one value for each condition.
    conditions
        Which, in order; None: all in order of appearance.

    Returns
    -------
    `achieved` is the mean over videos of each video's mean.

    Raises
    ------
    ValueError
        If a condition has several values of a factor, or no row.
    """
    rows = rows[rows["condition"].notna()]
    labels = list(dict.fromkeys(rows["condition"])) if conditions is None else list(conditions)
    if absent := set(labels) - set(rows["condition"]):
        raise ValueError(f"conditions {sorted(map(str, absent))} without rows given")
    coords: dict[str, Any] = {"condition": labels}
    for column in (*CONDITION, *factors):
        if column not in rows and column in factors:
            raise ValueError(f"no column {column!r} in rows, expected one of the factor's values")
        if column in rows:
            coords[column] = ("condition", _one_each(rows, column, labels))
    if "achieved" in rows:
        kept = rows.groupby(["condition", unit])["achieved"].mean().groupby(level=0).mean()
        coords["achieved"] = ("condition", [float(kept[label]) for label in labels])
    return coords


def _one_each(rows: pd.DataFrame, column: str, labels: Sequence[str]) -> list[Any]:
    """The value of a column for each condition."""
    values = rows.groupby("condition", sort=False)[column]
    if several := values.nunique().loc[lambda count: count > 1].index.tolist():
        raise ValueError(f"several values of {column!r} in condition {several[0]!r}, expected one")
    return values.first().reindex(list(labels)).tolist()


def _chosen(about: Sequence[Measure], on: Sequence[str] | None) -> list[str]:
    names = [m.name for m in about]
    if on is not None and (unknown := set(on) - set(names)):
        raise ValueError(f"contrast of {sorted(unknown)} given, expected some of the measures {names}")
    return names if on is None else list(on)


def _levels(rows: pd.DataFrame, over: Over, needed: Sequence[str]) -> dict[str, list[Any]]:
    """Values of each column that becomes a dim."""
    if isinstance(over, str) or not over:
        raise ValueError(f"over={over!r} given, expected names of columns")
    wanted = over if isinstance(over, Mapping) else dict.fromkeys(over)
    if missing := sorted({*wanted, *needed} - set(rows.columns)):
        raise ValueError(f"rows without the columns {missing} given, they have {sorted(map(str, rows.columns))}")
    if not len(rows):
        raise ValueError("no row given, expected at least one")
    return {
        name: list(dict.fromkeys(rows[name].dropna())) if values is None else list(values)
        for name, values in wanted.items()
    }


def _unit_means(
    rows: pd.DataFrame, columns: list[str], about: Sequence[Measure], unit: str
) -> dict[tuple[Any, ...], pd.DataFrame]:
    """For each value of the columns, a table of units (sorted) by measures."""
    names = [m.name for m in about]
    means = rows.astype(dict.fromkeys(names, float)).groupby([*columns, unit])[names].mean()
    return {
        key: part.droplevel(list(range(len(columns)))) for key, part in means.groupby(level=list(range(len(columns))))
    }


def _differences(
    first: pd.DataFrame, second: pd.DataFrame, *, about: Sequence[Measure], equal: Mapping[str, str], unit: str
) -> pd.DataFrame:
    """Units by measures: the mean of the first minus that of the second."""
    found: dict[Any, Any] = {}
    for column in {None: 0} | dict.fromkeys(equal.values()):
        names = [m.name for m in about if equal.get(m.name) == column]
        other = second if column is None else _at_equal(first, second, column, unit)
        own, control = (rows[names].astype(float).groupby(rows[unit]).mean() for rows in (first, other))
        found |= dict((own - control.reindex(own.index)).items())
    return pd.DataFrame({m.name: found[m.name] for m in about})


def _at_equal(first: pd.DataFrame, second: pd.DataFrame, column: str, unit: str) -> pd.DataFrame:
    """Rows of the second that have in a column what the first has for the same unit."""
    values = first.groupby(unit)[column]
    if (values.transform("first") != first[column]).any():
        raise ValueError(f"several values of {column!r} for one {unit} given, expected one: pairs are found by it")
    return second[second[column] == second[unit].map(values.first())]


def _intervals(table: pd.DataFrame, bounds: Sequence[Bounds]) -> Float[np.ndarray, "measures 4"]:
    """Mean, interval and number of units of every column."""
    found = [
        mean_interval(table[name].to_numpy(float), bounds=b) for name, b in zip(table.columns, bounds, strict=True)
    ]
    return np.array(found, dtype=np.float64).reshape(-1, len(STATISTIC))


def _labelled(
    cells: Mapping[tuple[Any, ...], Float[np.ndarray, "measures 4"]],
    levels: Mapping[str, Sequence[Any]],
    about: Sequence[Measure],
) -> xr.DataArray:
    """Cells by the values of their columns as one array with names."""
    value = np.full((*(len(found) for found in levels.values()), len(about), len(STATISTIC)), np.nan)
    places = [{level: i for i, level in enumerate(found)} for found in levels.values()]
    for key, cell in cells.items():
        if all(level in place for level, place in zip(key, places, strict=True)):
            value[tuple(place[level] for level, place in zip(key, places, strict=True))] = cell
    coords: dict[str, Any] = {name: list(found) for name, found in levels.items()}
    return xr.DataArray(
        value,
        dims=(*levels, "measure", "statistic"),
        coords=coords | measure_coords(about),
        name="value",
        attrs={"interval": INTERVAL},
    )


def measure_coords(about: Sequence[Measure]) -> dict[str, Any]:
    """Coordinates of the dims `measure` and `statistic`."""
    return {
        "measure": [m.name for m in about],
        "long_name": ("measure", [m.long_name for m in about]),
        "units": ("measure", [m.unit for m in about]),
        "higher": ("measure", [m.higher for m in about]),
        "statistic": list(STATISTIC),
    }
