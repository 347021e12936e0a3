"""What every study shares: videos in, rows out; what is stored is never computed twice, and a kill loses nothing.

A study computes, for one video, the rows of the settings it is asked for. The runner keeps one cell of rows and facts
per video. Its name holds a digest of everything that the rows depend on (video, model, frames, version of the study),
and beside each setting stands the digest of its own, so that stored rows are either right or unused. A video that fails
is a row with the error, is not stored, and stops no other.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import pandas as pd
import xarray as xr
from tqdm import tqdm

import redundancy as rd
from redundancy.evaluation.cells import (
    CannotStoreError,
    Cell,
    Cells,
    Facts,
    NothingMeasuredError,
    open_cells,
    own_folder,
)
from redundancy.evaluation.cells import write_whole as _write
from redundancy.evaluation.failures import failure_of, with_failures
from redundancy.models import VideoLLM
from redundancy.models.identity import model_digest
from redundancy.provenance import commit, digest_of
from redundancy.recording import model_provenance, save_dataset
from redundancy.sources import VideoSource, list_videos
from redundancy.video import VideoError, VideoReader

_Main = TypeVar("_Main", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What every study of videos takes.

    Parameters
    ----------
    model
        A bundled model's name, a Hugging Face folder, or a hub id.
    videos
        Files, folders and `world:N`; none: the bundled clips.
    frames
        Frames sampled from each video.
    decoder
        What reads files: "auto" and "pyav" are PyAV; "decord" is for plain MP4 and Matroska files, see `load_video`.
    decode_timeout
        Seconds that reading one video may take.
    out
        Folder of the results: new, or of earlier runs of the same study, which are taken up.
    limit
        At most so many videos.
    """

    model: str = "tiny-llava-onevision"
    videos: tuple[str | Path, ...] = ()
    frames: int = 32
    decoder: Literal["auto", "pyav", "decord"] = "auto"
    decode_timeout: float | int = 60.0
    out: Path = Path("results")
    limit: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "out", Path(self.out).expanduser())
        self.at_least(1, "frames", "limit")

    def at_least(self, least: int, *names: str) -> None:
        """Refuse options that are given and less."""
        for name in names:
            given = getattr(self, name)
            if given is not None and given < least:
                raise ValueError(f"{name} must be at least {least}, given {given}")


@dataclass(frozen=True)
class VideoResult:
    """Rows of one video (each with its `setting`), and facts about the video that figures need."""

    rows: list[dict[str, Any]]
    facts: Facts


@dataclass(frozen=True)
class StudyRun:
    """All rows and facts of a run.

    Parameters
    ----------
    rows
        One row per setting, video and seed, sorted; one per video that failed, with `error` and `error_type`.
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
    """

    rows: pd.DataFrame
    facts: dict[str, Facts]
    errors: dict[str, str]
    computed: int
    stored: int
    provenance: Mapping[str, Any] = field(default_factory=dict)
    damaged: tuple[Path, ...] = ()


def run_videos(
    sources: Sequence[VideoSource],
    settings: Sequence[str] | Mapping[str, object],
    compute: Callable[[VideoSource, Sequence[str]], VideoResult],
    *,
    out: Path,
    context: Mapping[str, Any],
    sort_by: Sequence[str] = ("video", "setting", "seed"),
    columns: Mapping[str, str] | None = None,
    also: Sequence[Path] = (),
) -> StudyRun:
    """Compute what is missing for every video, and return the rows of all.

    Parameters
    ----------
    sources
        The videos.
    settings
        Names of the settings wanted, with what each stands for: stored rows of another one are computed again.
    compute
        Rows and facts of one video for the settings that are missing. Any exception becomes a row with its message. A
        fact `grid` becomes a column.
    out
        Folder of the study's results.
    context
        Everything that rows depend on beside video and setting: weights, dtype, frames, version of the study.
    sort_by
        Columns that order the rows.
    columns
        Further columns, the same in all rows.
    also
        Folders of results whose stored rows are taken where `out` has none; nothing is written there.

    Raises
    ------
    FolderInUseError
        If another run works in the folder.
    """
    named = settings if isinstance(settings, Mapping) else dict.fromkeys(settings)
    wanted = {name: digest_of(setting) for name, setting in named.items()}
    frames, facts, failures = [], {}, {}
    computed = 0
    with open_cells(out / "cells") as cells:
        store = _Store(cells, [Cells(folder / "cells") for folder in also])
        for source in tqdm(sources, desc=out.name, unit="video", disable=None):
            try:
                cell, fresh = store.cell_of(source, wanted, partial(compute, source), context)
            except CannotStoreError:
                raise
            except Exception as error:  # not stored: the file may be mended before the next run
                failures[source.name] = failure_of(error)
                computed += 1
                continue
            computed += fresh
            facts[source.name] = cell.facts
            known: dict[str, Any] = {"video": source.name, "kind": source.kind, "grid": cell.facts.get("grid")}
            frames.append(cell.rows[cell.rows["setting"].isin(list(wanted))].assign(**known, **(columns or {})))
    told = [
        {"video": s.name, "kind": s.kind, "commit": commit(), **(columns or {}), **failures[s.name]}
        for s in sources
        if s.name in failures
    ]
    failed = [pd.DataFrame(told)] if told else []
    rows = pd.concat([*frames, *failed], ignore_index=True) if frames or failed else pd.DataFrame()
    rows = with_failures(rows)
    present = [c for c in sort_by if c in rows.columns]
    rows = rows.sort_values(present, kind="stable", ignore_index=True)
    errors = {name: f"{told['error_type']}: {told['error']}" for name, told in failures.items()}
    return StudyRun(rows, facts, errors, computed, len(sources) - computed, damaged=tuple(store.damaged))


class _Store(NamedTuple):
    """The cells of a run, and those of other folders, from which it only reads."""

    own: Cells
    others: Sequence[Cells]

    @property
    def damaged(self) -> list[Path]:
        return [file for cells in (self.own, *self.others) for file in cells.damaged]

    def cell_of(
        self,
        source: VideoSource,
        wanted: Mapping[str, str],
        compute: Callable[[Sequence[str]], VideoResult],
        context: Mapping[str, Any],
    ) -> tuple[Cell, bool]:
        """The cell of a video with all settings, and whether something was computed for it."""
        key = _key(source, context)
        cell = self.own.load(key)
        for other in self.others:
            if _missing(cell, wanted) and (found := other.load(key)) is not None:
                cell = _joined(cell, found, _missing(cell, wanted))
        missing = _missing(cell, wanted)
        if cell is None or missing:
            result = compute(missing)
            rows = pd.DataFrame(result.rows).assign(commit=commit())
            fresh = Cell(rows, result.facts, {name: wanted[name] for name in missing})
            self.own.save(key, _joined(cell, fresh, missing))
            cell = self.own.load(key)
            if cell is None:
                raise CannotStoreError(f"{self.own.damaged[-1]} is not what was written: does the disk fail?")
        return cell, bool(missing)


def _missing(cell: Cell | None, wanted: Mapping[str, str]) -> list[str]:
    return [name for name, digest in wanted.items() if cell is None or cell.settings.get(name) != digest]


def _joined(cell: Cell | None, more: Cell, names: Sequence[str]) -> Cell:
    """A cell with some settings of another in place of its own."""
    rows = more.rows[more.rows["setting"].isin(list(names))]
    taken = {name: digest for name, digest in more.settings.items() if name in names}
    if cell is None:
        return Cell(rows, more.facts, taken)
    kept = cell.rows[~cell.rows["setting"].isin(list(taken))]
    return Cell(pd.concat([kept, rows], ignore_index=True), more.facts, {**cell.settings, **taken})


@contextmanager
def videos_of(options: StudyOptions) -> Iterator[list[VideoSource]]:
    """The videos that options name, each read in a process beside, within the options' limits."""
    with VideoReader(decoder=options.decoder, timeout=options.decode_timeout) as reader:
        yield list_videos(options.videos, limit=options.limit, reader=reader)


def run_study(
    options: StudyOptions,
    settings: Sequence[str] | Mapping[str, object],
    measure: Callable[..., VideoResult],
    *,
    name: str,
    version: int,
    depends: Mapping[str, Any],
    sort_by: Sequence[str] = ("video", "setting", "seed"),
    also: Sequence[Path] = (),
) -> StudyRun:
    """Load the model, compute what is missing for every video, and write `rows.parquet`.

    Parameters
    ----------
    options
        Model, videos, frames, decoder, folder and limits.
    settings
        Names of the settings wanted, with what each stands for.
    measure
        Called as `measure(source, missing, model=model)`, see `run_videos`.
    name, version
        Of the study; rows of another version are computed again.
    depends
        Everything else that rows depend on, by name.
    sort_by
        Columns that order the rows.
    also
        Folders of the same study from which stored rows are taken, too.

    Raises
    ------
    NothingMeasuredError
        With the message of every video, if all failed.
    """
    read = {"frames": options.frames, "decoder": options.decoder}
    with videos_of(options) as sources:
        model = rd.load_model(options.model)
        run = run_videos(
            sources,
            settings,
            partial(measure, model=model),
            out=options.out,
            context=context_of(name, version, model, **{**read, **depends}),
            sort_by=sort_by,
            columns={"model": model.name},
            also=also,
        )
    write_rows(run.rows, options.out / "rows.parquet")
    if not run.facts:
        raise NothingMeasuredError(f"no video could be measured: {_listed(run.errors)}")
    return replace(run, provenance={**model_provenance(model), "study": name})


def context_of(name: str, version: int, model: VideoLLM, **settings: Any) -> dict[str, Any]:
    """Everything that the rows of a study depend on beside video and setting: its version, the model, its settings.

    The model is told by its files, not by its name.
    """
    told = model_provenance(model)
    how = {k: told[k] for k in ("dtype", "attn_implementation", "redundancy_version")}
    how |= {"model": model_digest(model), "device": model.device.type}
    return {"study": name, "version": version, **settings, **how}


def _listed(errors: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {message}" for name, message in errors.items())


def save_summary(summary: xr.Dataset, run: StudyRun, out: Path, **attributes: Any) -> xr.Dataset:
    """Write a summary as `summary.zarr`; its attributes say what it was made with, of which videos, and how."""
    failed = [f"{name}: {message}" for name, message in run.errors.items()]
    told = {**run.provenance, **attributes, "videos": len(run.facts), "failed": failed}
    summary = summary.assign_attrs(told)
    save_dataset(summary, out / "summary.zarr", overwrite=True)
    return summary


def say_what_ran(run: StudyRun) -> str:
    """What was measured, stored before, and failed, with a line per video that failed and per damaged file."""
    lines = [f"{len(run.facts)} measured, {len(run.errors)} failed; {run.stored} taken from stored results."]
    if not run.computed:
        lines = [f"Nothing to compute: the results of all {run.stored} videos are stored."]
    lines += [f"  {name}: {message}" for name, message in run.errors.items()]
    return "\n".join(lines + [f"  {file} was damaged and was computed again" for file in run.damaged])


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, rows.to_parquet(index=False))


def write_json(value: Facts, path: Path) -> None:
    """Write facts as json, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, json.dumps(value, sort_keys=True).encode())


def _key(source: VideoSource, context: Mapping[str, Any]) -> str:
    """Digest of the video and of everything else that its rows depend on."""
    return digest_of({"video": source.digest, "known": source.record, **context})[:24]


def study_main(name: str) -> Callable[[_Main], _Main]:
    """Decorator of a study's `main`: while it runs, the options' folder `out` is its own, see `own_folder`."""

    def decorate(main: _Main) -> _Main:
        @wraps(main)
        def run(options: Any) -> Any:
            with own_folder(options.out, name):
                return main(options)

        return run  # type: ignore[return-value]

    return decorate


def command_line(options: type[Any], main: Callable[[Any], object]) -> None:
    """Run a study from the command line: options by tyro, errors as one line.

    Exit status 0: everything was measured; 2: an error of the user; 3: videos failed, all or some, which are named.
    """
    import tyro

    try:
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        program = f"python -m {spec.name}" if spec is not None else None
        result = main(tyro.cli(options, prog=program, description=(options.__doc__ or "").partition("\n")[0]))
        failed = len(getattr(result, "attrs", {}).get("failed", ()))
    except NothingMeasuredError as error:
        print(error, file=sys.stderr)
        sys.exit(3)
    except (ValueError, OSError, VideoError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nStopped. What was computed is stored; the same command goes on from there.", file=sys.stderr)
        sys.exit(130)
    if failed:
        sys.exit(3)
