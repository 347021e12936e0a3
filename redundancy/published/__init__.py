"""Numbers that papers printed, as data with their sources: to stand beside one's own, never mixed with them.

A table is what a paper, its figures or its code print, cell by cell, with a tag of how it is known: S stated, C in the
code, F read off a figure, V recomputed and equal, I inferred, NF not found. Scores are per cent; a percentage of the
full model is comparable inside one table only, since harnesses differ (`contradictions`).

Examples
--------
>>> table("fastvid/table-7-ov").frame("merge")["videomme"].tolist()
[58.6, 56.4, 57.3, 57.3]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

import pandas as pd

PAPERS = ("fastvid", "holitom", "vcast", "reruns")
TAGS = {
    "S": "stated",
    "C": "in the code",
    "F": "read off a figure",
    "V": "recomputed and equal",
    "I": "inferred",
    "NF": "not found",
}
__all__ = ["PAPERS", "TAGS", "PublishedTable", "contradictions", "disagreements", "table", "tables"]


@dataclass(frozen=True)
class PublishedTable:
    """One table or figure of a paper.

    Parameters
    ----------
    id
        `paper/table`.
    what, source
        What it compares, and where it is printed.
    paper
        Title and arXiv number of the paper.
    model, frames
        As printed; None: they vary between rows, see the settings.
    columns
        Of each column of numbers `name`, `unit`, `benchmark`, `split`.
    rows
        Of each row `method`, `setting` (its knobs), `values` (None: not printed), `approximate` (read off a curve),
        `tag`, and where needed `cell_tags` and `missing`.
    notes
        What a reader must know.
    """

    id: str
    what: str
    source: str
    paper: str
    model: str | None
    frames: int | str | None
    columns: Sequence[Mapping[str, Any]]
    rows: Sequence[Mapping[str, Any]]
    notes: Sequence[str] = ()

    @property
    def citation(self) -> str:
        """Where the numbers are from, for a caption."""
        return f"{self.paper}, {self.source}"

    def frame(self, *settings: str) -> pd.DataFrame:
        """Rows as printed: `method`, `requested` (share of tokens), the settings that are named, and all columns.

        Raises
        ------
        ValueError
            If no row has a setting.
        """
        known = {name: None for row in self.rows for name in row["setting"]}
        if unknown := [name for name in settings if name not in known]:
            raise ValueError(f"settings {unknown} given, expected some of {[*known]} ({self.id})")
        return pd.DataFrame(
            [
                {
                    "method": row["method"],
                    "requested": row["setting"].get("retention_requested"),
                    **{name: row["setting"].get(name) for name in settings},
                    **row["values"],
                }
                for row in self.rows
            ]
        )

    def cells(self) -> pd.DataFrame:
        """One row per number that is printed, with its benchmark, unit and tag."""
        about = {str(column["name"]): column for column in self.columns}
        return pd.DataFrame(
            [
                {
                    "table": self.id,
                    "method": row["method"],
                    "requested": row["setting"].get("retention_requested"),
                    "column": name,
                    **{key: about[name][key] for key in ("benchmark", "split", "unit")},
                    "value": value,
                    "approximate": row["approximate"],
                    "tag": row.get("cell_tags", {}).get(name, row["tag"]),
                }
                for row in self.rows
                for name, value in row["values"].items()
                if value is not None
            ]
        )


def _read(name: str) -> Any:
    return json.loads(files(__name__).joinpath(f"{name}.json").read_text(encoding="utf-8"))


@cache
def _tables() -> dict[str, PublishedTable]:
    found: dict[str, PublishedTable] = {}
    for paper in PAPERS:
        read = _read(paper)
        title, arxiv = read["paper"]["title"], read["paper"]["arxiv"]
        for given in read["tables"]:
            fields = {n: given[n] for n in ("id", "what", "source", "model", "frames", "columns", "rows", "notes")}
            found[given["id"]] = PublishedTable(paper=f"{title} (arXiv:{arxiv})" if arxiv else title, **fields)
    return found


def tables(paper: str | None = None) -> list[str]:
    """Ids of all tables, or of those of a paper of `PAPERS`.

    Examples
    --------
    >>> tables("fastvid")[:2]
    ['fastvid/table-1', 'fastvid/table-2']
    """
    if paper is not None and paper not in PAPERS:
        raise ValueError(f"paper={paper!r} given, expected one of {list(PAPERS)}")
    return [name for name in _tables() if paper is None or name.startswith(f"{paper}/")]


def table(name: str) -> PublishedTable:
    """A published table by its id.

    Raises
    ------
    ValueError
        If there is none of that id.
    """
    if name not in _tables():
        near = get_close_matches(name, _tables(), n=1)
        said = f" (did you mean {near[0]!r}?)" if near else ""
        raise ValueError(f"no published table has the id {name!r}{said}; `tables()` lists all")
    return _tables()[name]


def contradictions() -> dict[str, list[dict[str, Any]]]:
    """Where papers disagree with each other (`between_papers`) or with themselves (`inside_papers`), and why."""
    found: dict[str, list[dict[str, Any]]] = _read("contradictions")
    return found


def disagreements() -> list[dict[str, Any]]:
    """Printed cells that do not follow from the cells they are made of, and how that was settled."""
    found: list[dict[str, Any]] = _read("disagreements")
    return found
