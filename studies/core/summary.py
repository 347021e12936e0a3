"""The summary of a study: its variables as data, computed from its rows, in the one labelled shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import xarray as xr

from redundancy.evaluation.conditions import Condition
from redundancy.evaluation.statistics.aggregate import (
    INTERVAL,
    aggregate,
    condition_coords,
    contrast,
    measure_coords,
)
from redundancy.evaluation.statistics.measures import measures_of


@dataclass(frozen=True)
class Values:
    """Means over videos: dims `over`, `measure`, `statistic`.

    Parameters
    ----------
    over
        Columns of the rows that become dims.
    measures
        Names; none: all of the study's.
    where
        Column -> the value that rows have which enter.
    """

    over: tuple[str, ...] = ("condition",)
    measures: Sequence[str] | None = None
    where: Mapping[str, Any] = field(default_factory=dict)

    def of(self, rows: pd.DataFrame, measures: Mapping[str, Any], levels: Mapping[str, Sequence[Any]]) -> xr.DataArray:
        """The variable; `levels` gives the order of the values of a column where it is known."""
        rows, chosen, over = self._chosen(rows, measures, levels)
        return aggregate(rows, over=over, measures=chosen)

    def _chosen(self, rows: pd.DataFrame, measures: Mapping[str, Any], levels: Mapping[str, Sequence[Any]]) -> Any:
        for column, value in self.where.items():
            rows = rows[rows[column] == value]
        chosen = {name: measures[name] for name in (self.measures or measures)}
        rows = rows.reindex(columns=[*rows.columns, *(name for name in chosen if name not in rows)])
        return rows, chosen, {dim: _present(rows, dim, levels.get(dim)) for dim in self.over}


@dataclass(frozen=True)
class Contrast(Values):
    """Differences paired over videos: one level of a column minus another.

    Parameters
    ----------
    over, measures, where
        As in `Values`.
    dim
        The column.
    minus, plus
        The level that is taken away, and the one that it is taken from; None: each of the others, and `dim` is a dim.
    equal
        Columns, by measure, that rows of `minus` share with `plus`: as many tokens kept, for example.
    """

    dim: str = "variant"
    minus: str = "control"
    plus: str | None = None
    equal: Callable[[str], str | None] = lambda measure: None

    def of(self, rows: pd.DataFrame, measures: Mapping[str, Any], levels: Mapping[str, Sequence[Any]]) -> xr.DataArray:
        """The variable."""
        rows, chosen, over = self._chosen(rows, measures, levels)
        wanted = [self.minus] if self.plus is None else [self.minus, self.plus]
        if absent := [level for level in wanted if level not in set(rows[self.dim])]:
            levels_of = over if self.plus is not None else {self.dim: list(dict.fromkeys(rows[self.dim])), **over}
            nothing = aggregate(rows, over=levels_of, measures=chosen)
            nothing = nothing.where(False).where(nothing["statistic"] != "n", 0)
            return nothing.assign_attrs(absent=f"no row has {self.dim} {' or '.join(absent)}")
        equal = {name: column for name in chosen if (column := self.equal(name)) is not None}
        return contrast(rows, dim=self.dim, minus=self.minus, plus=self.plus, over=over, measures=chosen, equal=equal)


def summarise_rows(
    rows: pd.DataFrame,
    variables: Mapping[str, Values],
    *,
    measures: Mapping[str, Any],
    conditions: Sequence[Condition],
    flags: Sequence[str] = (),
) -> xr.Dataset:
    """All variables of a study; measures that a variable lacks are NaN there.

    Parameters
    ----------
    rows
        Of videos that were measured.
    variables
        By name.
    measures
        What rows hold, by name of the column.
    conditions
        In their order.
    flags
        Columns of True and False: whether any row of a condition is True becomes a coordinate.
    """
    if not variables:
        return xr.Dataset(attrs={"interval": INTERVAL})
    labels = [c.label for c in conditions]
    rows = rows[rows["condition"].isin(labels)]
    levels = {"condition": labels}
    made = {name: variable.of(rows, measures, levels) for name, variable in variables.items()}
    about = [m for m in measures_of(measures) if any(m.name in array["measure"] for array in made.values())]
    every = {
        dim: list(dict.fromkeys(value for array in made.values() if dim in array.dims for value in array[dim].values))
        for array in made.values()
        for dim in array.dims
    } | {"measure": [m.name for m in about]}
    bare = {name: array.drop_vars(["long_name", "units", "higher"]) for name, array in made.items()}
    aligned = {name: array.reindex({dim: every[dim] for dim in array.dims}) for name, array in bare.items()}
    summary = xr.Dataset(aligned).assign_coords(measure_coords(about))
    if "condition" in summary.dims:
        present = [label for label in labels if label in summary["condition"].values]
        of_present = rows[rows["condition"].isin(present)]
        factors = dict.fromkeys(name for c in conditions for name in c.factors)
        summary = summary.sel(condition=present).assign_coords(
            condition_coords(of_present, factors=list(factors), conditions=present)
        )
        for flag in flags:
            found = of_present.groupby("condition")[flag].any()
            summary = summary.assign_coords({flag: ("condition", [bool(found[label]) for label in present])})
    return summary.assign_attrs(interval=INTERVAL)


def _present(rows: pd.DataFrame, column: str, known: Sequence[Any] | None) -> list[Any]:
    """Values of a column in their order: that which is known, else numbers as numbers, texts as they appear."""
    values = list(dict.fromkeys(rows[column].dropna()))
    if known is not None:
        return [value for value in known if value in set(values)]
    numbers = [value for value in values if str(value).isdigit()]
    return [*sorted(numbers, key=int), *(value for value in values if value not in set(numbers))]
