"""Tables of a labelled summary: as text, as numbers in csv, as LaTeX."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from redundancy.evaluation.statistics.aggregate import STATISTIC
from redundancy.evaluation.statistics.intervals import is_marked
from redundancy.evaluation.statistics.summary import interval_text

FORMATS = {"csv": ".csv", "latex": ".tex"}


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
    starred
        In place of the interval a star where it leaves out 0 and is of videos enough.
    """

    measure: str
    form: str = ".3f"
    of: str = "value"
    alone: bool = False
    scale: float | int = 1.0
    at: Mapping[str, Any] = field(default_factory=dict)
    starred: bool = False

    def chosen(self, summary: xr.Dataset) -> xr.DataArray:
        """The variable, of the measure and at the levels of this column."""
        at = self.at if not self.measure else {"measure": self.measure, **self.at}
        return summary[self.of].sel(at)

    def cells(self, summary: xr.Dataset, places: Sequence[Mapping[str, Any]]) -> list[str]:
        """The text of every row."""
        chosen = self.chosen(summary)
        return [self._text(self.scale * chosen.sel(place), chosen.sel(place)) for place in places]

    def _text(self, cell: xr.DataArray, unscaled: xr.DataArray) -> str:
        star = self.starred and bool(is_marked(*map(float, unscaled.values[1:])))
        return cell_text(cell, self.form, alone=self.alone or self.starred) + "*" * star

    def numbers(self, summary: xr.Dataset, places: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
        """Numbers of every row by what stands behind the title: nothing for the estimate, `low`, `high`, `n`."""
        chosen = self.chosen(summary)
        each = np.array([np.atleast_1d(chosen.sel(place).values) for place in places], dtype=float)
        each = each.reshape(len(places), -1)
        names = ["", *STATISTIC[1:]][: each.shape[1]]
        return {n: [float(x * (1 if n == "n" else self.scale)) for x in each[:, i]] for i, n in enumerate(names)}


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
    only
        Dim -> its labels that are shown; others are not.
    name
        In the names of files, where a study has several tables.
    """

    columns: Mapping[str, Column] = field(default_factory=dict)
    title: str = ""
    rows: tuple[str, ...] = ("condition",)
    where: Mapping[str, Any] = field(default_factory=dict)
    nearest: Mapping[str, float] = field(default_factory=dict)
    by: Column | None = None
    only: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    name: str = ""

    def frame(self, summary: xr.Dataset, *, numbers: bool = False) -> pd.DataFrame:
        """The table; rows in which every cell is undefined are left out.

        Parameters
        ----------
        numbers
            Numbers in place of text: behind each column its `low`, `high` and `n`, NaN where it is undefined.
        """
        summary, places = self._shown(summary)
        shown: dict[str, Sequence[Any]] = {dim: [place[dim] for place in places] for dim in self.rows}
        texts = {title: c.cells(summary, places) for title, c in self.columns.items()}
        defined = [not texts or any(cell != "-" for cell in row) for row in zip(*texts.values(), strict=True)]
        if self.rows == ("condition",):
            shown |= retention_columns(summary, numbers=numbers)
        if numbers:
            of = {title: c.numbers(summary, places) for title, c in self.columns.items()}
            shown |= {f"{title} {n}".strip(): values for title, found in of.items() for n, values in found.items()}
        else:
            shown |= texts
        table = pd.DataFrame(shown)
        return table[defined] if texts else table

    def _shown(self, summary: xr.Dataset) -> tuple[xr.Dataset, list[dict[str, str]]]:
        """The part of a summary that is shown, and where its rows are."""
        summary = summary.sel({dim: list(labels) for dim, labels in self.only.items()})
        wanted = {n: v[np.nanargmin(abs(v - share))] for n, share in self.nearest.items() for v in [summary[n].values]}
        for name, value in {**self.where, **wanted}.items():
            summary = summary.isel(condition=np.flatnonzero(summary[name].values == value))
        levels = [[str(v) for v in summary[dim].values] for dim in self.rows]
        places = [dict(zip(self.rows, at, strict=True)) for at in product(*levels)]
        if self.by is not None:
            by = self.by.chosen(summary).sel(statistic="estimate")
            order = np.argsort([-float(by.sel(place)) for place in places], kind="stable")
            places = [places[i] for i in order]
            if self.rows == ("condition",):
                summary = summary.isel(condition=order)
        return summary, places

    def text(self, summary: xr.Dataset) -> str:
        """The table under its title; empty where nothing is defined."""
        table = self.frame(summary)
        return "\n".join([self.title, table.to_string(index=False)]).strip() if len(table) else ""

    def save(self, summary: xr.Dataset, path: Path, form: str) -> Path:
        """Write the table: `csv` has numbers at full precision, `latex` the text of cells between rules of booktabs.

        Parameters
        ----------
        path
            Without a suffix.
        form
            A name of `FORMATS`.

        Returns
        -------
        The file.
        """
        file = path.with_name(path.name + FORMATS[form])
        if form == "csv":
            self.frame(summary, numbers=True).to_csv(file, index=False)
        else:
            caption = _escaped(self.title) or None
            file.write_text(self.frame(summary).to_latex(index=False, escape=True, position="t", caption=caption))
        return file


def retention_columns(summary: xr.Dataset, *, numbers: bool = False) -> dict[str, list[Any]]:
    """Requested and achieved share of the tokens, of conditions that have them."""
    if "achieved" not in summary.coords:
        return {}
    requested, achieved = summary["requested"].values.tolist(), summary["achieved"].values.tolist()
    if numbers:
        return {"requested": requested, "achieved": achieved}
    return {
        "requested": ["fixed" if np.isnan(r) else f"{r:g}" for r in requested],
        "achieved": [f"{a:.3f}" for a in achieved],
    }


def cell_text(cell: xr.DataArray, form: str, *, alone: bool = False) -> str:
    """An estimate, with its interval in brackets if it has one; a dash where it is undefined."""
    if not cell.ndim or alone:
        estimate = float(cell if not cell.ndim else cell[0])
        return "-" if np.isnan(estimate) else f"{estimate:{form}}"
    return interval_text(*map(float, cell.values[:3]), form=form)


def _escaped(text: str) -> str:
    """Text as LaTeX takes it."""
    return "".join(f"\\{c}" if c in "&%$#_{}" else c for c in text)
