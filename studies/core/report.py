"""What a study prints: tables of its summary, and the lines under them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from redundancy.evaluation.statistics.intervals import interval_name
from redundancy.evaluation.statistics.summary import interval_text


@dataclass(frozen=True)
class Column:
    """Cells of a table: a measure of a variable of the summary, with its interval in brackets.

    Parameters
    ----------
    measure
        Its name; empty where the rows of the table are the measures.
    form
        Of the numbers: ".3f", with "+" in front for differences.
    of
        The variable.
    alone
        True for the estimate without its interval.
    scale
        What numbers are multiplied by.
    at
        Levels of further dims.
    """

    measure: str
    form: str = ".3f"
    of: str = "value"
    alone: bool = False
    scale: float = 1.0
    at: Mapping[str, Any] = field(default_factory=dict)

    def cells(self, summary: xr.Dataset, places: list[dict[str, Any]]) -> list[str]:
        """The text of every row."""
        at = self.at if not self.measure else {"measure": self.measure, **self.at}
        chosen = summary[self.of].sel(at)
        return [cell_text(self.scale * chosen.sel(place), self.form, alone=self.alone) for place in places]


@dataclass(frozen=True)
class Table:
    """A table with one row per condition, or per combination of other dims.

    Parameters
    ----------
    columns
        What stands in each, by its title.
    title
        Printed above it.
    rows
        Dims whose levels make the rows.
    where
        Coordinate of the conditions -> its value in the rows that are shown.
    nearest
        The same with the value nearest to this one.
    by
        A column of estimates by which rows are sorted, the largest first.
    """

    columns: Mapping[str, Column] = field(default_factory=dict)
    title: str = ""
    rows: tuple[str, ...] = ("condition",)
    where: Mapping[str, Any] = field(default_factory=dict)
    nearest: Mapping[str, float] = field(default_factory=dict)
    by: Column | None = None

    def frame(self, summary: xr.Dataset) -> pd.DataFrame:
        """The table; rows in which every cell is undefined are left out."""
        wanted = {n: v[np.nanargmin(abs(v - share))] for n, share in self.nearest.items() for v in [summary[n].values]}
        for name, value in {**self.where, **wanted}.items():
            summary = summary.isel(condition=np.flatnonzero(summary[name].values == value))
        levels = [[str(v) for v in summary[dim].values] for dim in self.rows]
        places = [dict(zip(self.rows, at, strict=True)) for at in product(*levels)]
        shown = {dim: [place[dim] for place in places] for dim in self.rows}
        if self.rows == ("condition",):
            shown |= retention_columns(summary)
        table = pd.DataFrame(shown | {title: c.cells(summary, places) for title, c in self.columns.items()})
        if self.by is not None:
            chosen = summary[self.by.of].sel(measure=self.by.measure, statistic="estimate", **self.by.at)
            order = np.argsort([-float(chosen.sel(place)) for place in places], kind="stable")
            table = table.iloc[order]
        defined = (table[list(self.columns)] != "-").any(axis=1) if self.columns else slice(None)
        return table[defined]

    def text(self, summary: xr.Dataset) -> str:
        """The table under its title; empty where nothing is defined."""
        table = self.frame(summary)
        return "\n".join([self.title, table.to_string(index=False)]).strip() if len(table) else ""


def retention_columns(summary: xr.Dataset) -> dict[str, list[str]]:
    """Requested and achieved share of the tokens, of conditions that have them."""
    if "achieved" not in summary.coords:
        return {}
    return {
        "requested": ["fixed" if np.isnan(r) else f"{r:g}" for r in summary["requested"].values],
        "achieved": [f"{a:.3f}" for a in summary["achieved"].values],
    }


def cell_text(cell: xr.DataArray, form: str, *, alone: bool = False) -> str:
    """An estimate, with its interval in brackets if it has one; a dash where it is undefined."""
    if not cell.ndim or alone:
        estimate = float(cell if not cell.ndim else cell[0])
        return "-" if np.isnan(estimate) else f"{estimate:{form}}"
    return interval_text(*map(float, cell.values[:3]), form=form)


def below_tables(summary: xr.Dataset, videos: int) -> str:
    """What stands under tables of means: of how many videos, and which intervals."""
    counts = [v.sel(statistic="n").values.ravel() for v in summary.data_vars.values() if "statistic" in v.dims]
    known = np.concatenate(counts) if counts else np.zeros(0)
    known = known[known > 0]  # NaN and 0: no such measure
    fewest, most = (int(known.min()), int(known.max())) if len(known) else (0, 0)
    some = f" ({fewest} to {videos} where a measure is not defined for all)" if fewest < videos else ""
    return f"Means over {videos} videos{some}; {interval_name(fewest, most)}"


def replaced_sources(rows: pd.DataFrame) -> list[str]:
    """One line for each method that read another source than it does by default."""
    noted = rows[rows["replaced"].fillna("") != ""] if "replaced" in rows else rows[:0]
    pairs = noted[["method", "replaced"]].drop_duplicates().itertuples(index=False) if len(noted) else ()
    return sorted({line for name, note in pairs for line in (note if ": " in note else f"{name}: {note}").split("; ")})
