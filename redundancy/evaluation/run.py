"""Videos in, rows out: what is stored is never computed twice, a kill loses nothing, a video that fails is a row.

A cell of rows and facts is kept for each video. Its name holds a digest of everything that all its rows depend on
(video, model, frames, version of the study), and beside each condition stands the digest of its own settings, so that
stored rows are either right or unused. A video that fails is not stored, and stops no other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import pandas as pd
from tqdm import tqdm

from redundancy.digest import digest_of
from redundancy.evaluation.cells import CannotStoreError, Cell, Cells, Facts, open_cells, write_whole
from redundancy.evaluation.failures import FAILURE, failure_of, with_failures
from redundancy.provenance import commit
from redundancy.sources import VideoSource

SORT = ("video", "condition", "seed")


class Runnable(Protocol):
    """What `run_videos` needs to know of a condition.

    `digest` stands for every setting; where it is None or raises TypeError (a class whose source cannot be read, say),
    the condition's rows are computed and not stored. `factors` become columns of its rows, `method` among them.
    """

    @property
    def label(self) -> str:
        """Name, unique in a run; the column `condition` of its rows."""

    @property
    def digest(self) -> str | None:
        """Digest of every setting."""

    @property
    def factors(self) -> Mapping[str, Any]:
        """Columns of its rows."""


if TYPE_CHECKING:
    C = TypeVar("C", bound=Runnable)
else:  # tests check types as they run, and such a check would ask for the digest, which may raise
    C = TypeVar("C")


@dataclass(frozen=True)
class VideoResult:
    """Rows of one video (each with its `condition`), and facts about the video that figures need."""

    rows: list[dict[str, Any]]
    facts: Facts


@dataclass(frozen=True)
class Run:
    """All rows and facts of a run.

    Parameters
    ----------
    rows
        One row per condition, video and seed, sorted; one per video that failed, with `error` and `error_type`.
    facts
        Facts of each measured video by name.
    errors
        Type and message by name of each video that failed.
    computed, stored
        Number of videos for which something was computed, and for which everything was stored.
    provenance
        Study, model, weights and libraries.
    damaged
        Stored files that were not what had been written, and were computed again.
    not_stored
        By label of a condition why its rows are not stored.
    """

    rows: pd.DataFrame
    facts: dict[str, Facts]
    errors: dict[str, str]
    computed: int
    stored: int
    provenance: Mapping[str, Any] = field(default_factory=dict)
    damaged: tuple[Path, ...] = ()
    not_stored: Mapping[str, str] = field(default_factory=dict)

    @property
    def commits(self) -> list[str]:
        """Commits at which rows were computed, in order of appearance."""
        return [] if "commit" not in self.rows else list(dict.fromkeys(self.rows["commit"].dropna()))


def run_videos(
    sources: Sequence[VideoSource],
    conditions: Sequence[C],
    compute: Callable[[VideoSource, Sequence[C]], VideoResult],
    *,
    out: Path,
    context: Mapping[str, Any],
    sort_by: Sequence[str] = SORT,
    columns: Mapping[str, str] | None = None,
    also: Sequence[Path] = (),
    fresh: bool = False,
    retry: Collection[str] = (),
) -> Run:
    """Compute what is missing for every video, and return the rows of all.

    Parameters
    ----------
    sources
        The videos.
    conditions
        The conditions wanted, see `Runnable`: stored rows of another digest are computed again.
    compute
        Rows and facts of one video for the conditions that are missing. Any exception becomes a row with its message;
        columns that the run adds are refused. A fact `grid` becomes a column, where rows have none of
        their own.
    out
        Folder of the study's results.
    context
        Everything that rows depend on beside video and condition: weights, dtype, frames, version of the study.
    sort_by
        Columns that order the rows.
    columns
        Further columns, the same in all rows.
    also
        Folders of results whose stored rows are taken where `out` has none; nothing is written there.
    fresh
        Compute everything, whatever is stored.
    retry
        Names of videos of which everything is computed again.

    Returns
    -------
    Rows have the columns `video`, `kind` (of the video), `grid`, `condition`, the conditions' factors (`method` first;
    what `compute` gives under the same name must be the same) and what `compute` gave; `commit`, `error` and
    `error_type`.

    Raises
    ------
    ValueError
        If two conditions have one label, or `retry` names no video.
    FolderInUseError
        If another run works in the folder.
    """
    wanted, not_stored = _digests(conditions)
    if unknown := set(retry) - {s.name for s in sources}:
        raise ValueError(f"retry={sorted(unknown)} given, expected names of the videos: {[s.name for s in sources]}")
    by_label = {c.label: c for c in conditions}
    frames, facts, failures = [], {}, {}
    computed = 0
    with open_store(out / "cells", also=[folder / "cells" for folder in also]) as store:
        for source in tqdm(sources, desc=out.name, unit="video", disable=None):
            make = partial(_rows_of, compute, source, by_label)
            try:
                key = digest_of({"video": source.digest, "known": source.record, **context})[:24]
                cell, something = store.cell_of(key, wanted, make, again=fresh or source.name in retry)
            except CannotStoreError:
                raise
            except Exception as error:  # not stored: the file may be mended before the next run
                failures[source.name] = failure_of(error)
                computed += 1
                continue
            computed += something
            facts[source.name] = cell.facts
            known: dict[str, Any] = {"video": source.name, "kind": source.kind}
            if "grid" not in cell.rows:
                known["grid"] = cell.facts.get("grid")
            frames.append(cell.rows[cell.rows["condition"].isin(list(wanted))].assign(**known, **(columns or {})))
    told = [
        {"video": s.name, "kind": s.kind, "commit": commit(), **(columns or {}), **failures[s.name]}
        for s in sources
        if s.name in failures
    ]
    rows = _table(frames, told, conditions, sort_by)
    errors = {name: f"{told['error_type']}: {told['error']}" for name, told in failures.items()}
    return Run(
        rows,
        facts,
        errors,
        computed,
        len(sources) - computed,
        damaged=tuple(store.damaged),
        not_stored=not_stored,
    )


def say_what_ran(run: Run) -> str:
    """What was measured, stored before, and failed, with a line per video that failed and per damaged file."""
    lines = [f"{len(run.facts)} measured, {len(run.errors)} failed; {run.stored} taken from stored results."]
    if not run.computed:
        videos = "the video" if run.stored == 1 else f"all {run.stored} videos"
        lines = [f"Nothing to compute: the results of {videos} are stored."]
    lines += [f"  {name}: {message}" for name, message in run.errors.items()]
    lines += [f"  {file} was damaged and was computed again" for file in run.damaged]
    if len(run.commits) > 1:
        lines.append(f"  rows were computed at several commits: {', '.join(run.commits)}; `fresh` computes all again")
    for why in dict.fromkeys(run.not_stored.values()):
        labels = [label for label, reason in run.not_stored.items() if reason == why]
        lines.append(f"  not stored, as it has no digest: {', '.join(labels)} ({why})")
    return "\n".join(lines)


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, rows.to_parquet(index=False))


class Store(NamedTuple):
    """The cells of a run, and those of other folders, from which it only reads."""

    own: Cells
    others: Sequence[Cells]

    @property
    def damaged(self) -> list[Path]:
        """Files whose content is not what was written."""
        return [file for cells in (self.own, *self.others) for file in cells.damaged]

    def cell_of(
        self,
        key: str,
        wanted: Mapping[str, str | None],
        compute: Callable[[Sequence[str]], tuple[pd.DataFrame, Facts]],
        *,
        again: bool = False,
    ) -> tuple[Cell, bool]:
        """The cell of a key with all conditions, and whether something was computed for it.

        Parameters
        ----------
        wanted
            By label of a condition its digest; None: what is computed for it is not stored.
        compute
            Rows (with a column `condition`) and facts for the labels that are missing.
        again
            Compute all of them, whatever is stored.

        Raises
        ------
        CannotStoreError
            If the cell cannot be written, or is not what was written when it is read back.
        """
        cell = self.own.load(key)
        for other in () if again else self.others:
            if (missing := _missing(cell, wanted)) and (found := other.load(key)) is not None:
                cell = _joined(cell, found, [name for name in missing if found.settings.get(name) == wanted[name]])
        passing = [name for name, digest in wanted.items() if digest is None]
        missing = [name for name, digest in wanted.items() if digest] if again else _missing(cell, wanted)
        if cell is not None and not missing and not passing:
            return cell, False
        rows, facts = compute([*missing, *passing])
        if missing:
            digests = {name: digest for name in missing if (digest := wanted[name]) is not None}
            cell = self._saved(key, _joined(cell, Cell(rows, facts, digests), missing))
        if passing:
            cell = _joined(cell, Cell(rows, facts, dict.fromkeys(passing, "")), passing)
        return cell if cell is not None else Cell(rows, facts, {}), True

    def rows_of(self, key: str, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """The rows of a key that stands for everything they depend on, computed and stored if they are not there yet.

        Raises
        ------
        CannotStoreError
            As `cell_of`.
        """
        cell = self.own.load(key)
        return (self._saved(key, Cell(compute(), {}, {})) if cell is None else cell).rows

    def _saved(self, key: str, cell: Cell) -> Cell:
        """A cell as it is read back from the disk."""
        self.own.save(key, cell)
        stored = self.own.load(key)
        if stored is None:
            raise CannotStoreError(f"{self.own.damaged[-1]} is not what was written: does the disk fail?")
        return stored


@contextmanager
def open_store(folder: Path, *, also: Sequence[Path] = ()) -> Iterator[Store]:
    """The cells of a folder, which no other run can open meanwhile, and of folders `also` to read from."""
    with open_cells(folder) as cells:
        yield Store(cells, [Cells(other) for other in also])


def _digests(conditions: Sequence[C]) -> tuple[dict[str, str | None], dict[str, str]]:
    """By label the digest of each condition, and why it has none."""
    digests: dict[str, str | None] = {}
    reasons: dict[str, str] = {}
    for condition in conditions:
        if condition.label in digests:
            raise ValueError(f"condition {condition.label!r} given more than once, expected labels that differ")
        try:
            digests[condition.label] = condition.digest
        except TypeError as error:
            digests[condition.label], reasons[condition.label] = None, str(error)
        if digests[condition.label] is None:
            reasons.setdefault(condition.label, "the source of its code cannot be read")
    return digests, reasons


def _rows_of(
    compute: Callable[[VideoSource, Sequence[C]], VideoResult],
    source: VideoSource,
    conditions: Mapping[str, C],
    labels: Sequence[str],
) -> tuple[pd.DataFrame, Facts]:
    """Rows and facts of one video for the labels that are missing."""
    result = compute(source, [conditions[label] for label in labels])
    _check_columns(result.rows, source)
    if strange := {row.get("condition") for row in result.rows} - set(labels):
        raise ValueError(f"rows of the conditions {sorted(map(str, strange))} made, expected those of {list(labels)}")
    rows = pd.DataFrame(result.rows) if result.rows else pd.DataFrame({"condition": pd.Series(dtype=str)})
    return rows.assign(commit=commit()), result.facts


def _check_columns(rows: Sequence[Mapping[str, Any]], source: VideoSource) -> None:
    """Refuse columns that a run adds with another meaning; a row may say that its condition failed."""
    known = {"video": source.name, "kind": source.kind}
    taken = {n for row in rows for n in ("video", "kind", "model", "commit") if n in row and row[n] != known.get(n)}
    taken |= {n for row in rows for n in FAILURE if not isinstance(row.get(n), str | None)}
    if taken:
        raise ValueError(f"rows with the columns {sorted(taken)} made, expected other names: they are the runner's own")


def _missing(cell: Cell | None, wanted: Mapping[str, str | None]) -> list[str]:
    return [
        n for n, digest in wanted.items() if digest is not None and (cell is None or cell.settings.get(n) != digest)
    ]


def _joined(cell: Cell | None, more: Cell, names: Sequence[str]) -> Cell:
    """A cell with some conditions of another in place of its own."""
    rows = more.rows[more.rows["condition"].isin(list(names))]
    taken = {name: digest for name, digest in more.settings.items() if name in names}
    if cell is None:
        return Cell(rows, more.facts, taken)
    kept = cell.rows[~cell.rows["condition"].isin(list(taken))]
    parts = [part for part in (kept, rows) if len(part)] or [rows]
    return Cell(pd.concat(parts, ignore_index=True), more.facts, {**cell.settings, **taken})


def _table(
    frames: Sequence[pd.DataFrame],
    failed: Sequence[Mapping[str, Any]],
    conditions: Sequence[C],
    sort_by: Sequence[str],
) -> pd.DataFrame:
    """Rows of all videos in order, with factors and failures."""
    parts = [*frames, *([pd.DataFrame(failed)] if failed else [])]
    rows = with_failures(pd.concat(parts, ignore_index=True) if parts else pd.DataFrame())
    if frames:
        factors = {n: rows["condition"].map(of) for n, of in _factors(conditions).items()}
        if measured := [n for n, values in factors.items() if n in rows and not _agree(rows[n], values)]:
            raise ValueError(f"rows have columns {measured} with other values than the factors of these names: rename")
        rows = rows.assign(**factors)
    first = [c for c in ("video", "kind", "grid", "condition", *_factors(conditions)) if c in rows]
    rows = rows[[*first, *(c for c in rows.columns if c not in first)]]
    present = [c for c in sort_by if c in rows.columns]
    return rows.sort_values(present, kind="stable", ignore_index=True) if present else rows


def _agree(column: pd.Series[Any], factor: pd.Series[Any]) -> bool:
    """Whether a column has the values of a factor wherever it has any."""
    known = column.notna() & factor.notna()
    return bool((column[known].astype(str) == factor[known].astype(str)).all())


def _factors(conditions: Sequence[C]) -> dict[str, dict[str, Any]]:
    """By factor its value for each condition: all numbers, or all text."""
    each = {c.label: {"method": c.label, **c.factors} for c in conditions}
    names = dict.fromkeys(name for factors in each.values() for name in factors)
    found = {}
    for name in names:
        values = {label: factors[name] for label, factors in each.items() if name in factors}
        if any(isinstance(v, str) for v in values.values()):
            values = {label: v if v is None or isinstance(v, str) else f"{v:g}" for label, v in values.items()}
        found[name] = values
    return found
