"""What every study shares: videos in, rows out; what is stored is never computed twice, and a kill loses nothing.

A study computes, for one video, the rows of the settings it is asked for. The runner keeps one Parquet file of rows and
one json file of facts per video, written under a temporary name and renamed. The name holds a digest of everything that
the rows depend on (video, model weights, frames, version of the study), so that stored rows are either right or unused.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import xarray as xr
from tqdm import tqdm

import redundancy as rd
from redundancy.capture import model_provenance, save_dataset
from redundancy.provenance import file_sha256
from redundancy.sources import VideoSource, list_videos
from redundancy.video import VideoError

Facts = dict[str, Any]


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
        One row per setting, video and seed, sorted.
    facts
        Facts of each readable video by name.
    errors
        Message by name of each video that could not be read.
    computed, stored
        Number of videos for which something was computed, and for which everything was stored.
    provenance
        Study, model, weights and libraries.
    """

    rows: pd.DataFrame
    facts: dict[str, Facts]
    errors: dict[str, str]
    computed: int
    stored: int
    provenance: Mapping[str, Any] = field(default_factory=dict)


def run_videos(
    sources: Sequence[VideoSource],
    settings: Sequence[str],
    compute: Callable[[VideoSource, Sequence[str]], VideoResult],
    *,
    out: Path,
    context: Mapping[str, Any],
    sort_by: Sequence[str] = ("video", "setting", "seed"),
) -> StudyRun:
    """Compute what is missing for every video, and return the rows of all.

    Parameters
    ----------
    sources
        The videos.
    settings
        Names of the settings wanted.
    compute
        Rows and facts of one video for the settings that are missing. A `VideoError` becomes a row with its message.
    out
        Folder of the study's results.
    context
        Everything that rows depend on beside video and setting: weights, dtype, frames, version of the study.
    sort_by
        Columns that order the rows.

    Source: own.
    """
    cells = out / "cells"
    cells.mkdir(parents=True, exist_ok=True)
    frames, facts, errors = [], {}, {}
    computed = 0
    for source in tqdm(sources, desc=out.name, unit="video", disable=None):
        rows_file = cells / f"{_key(source, context)}.parquet"
        facts_file = rows_file.with_suffix(".json")
        table = pd.read_parquet(rows_file) if rows_file.is_file() else None
        missing = [s for s in settings if table is None or s not in set(table["setting"])]
        if missing:
            computed += 1
            try:
                result = compute(source, missing)
            except VideoError as error:  # not stored: the file may be mended before the next run
                errors[source.name] = f"{type(error).__name__}: {error}"
                continue
            fresh = pd.DataFrame(result.rows)
            table = fresh if table is None else pd.concat([table, fresh], ignore_index=True)
            write_json(result.facts, facts_file)
            _write(rows_file, table.to_parquet(index=False))
        assert table is not None
        frames.append(table[table["setting"].isin(list(settings))].assign(video=source.name, kind=source.kind))
        facts[source.name] = json.loads(facts_file.read_text())
    failed = [
        pd.DataFrame({"video": [s.name], "kind": [s.kind], "error": [errors[s.name]]})
        for s in sources
        if s.name in errors
    ]
    rows = pd.concat([*frames, *failed], ignore_index=True) if frames or failed else pd.DataFrame()
    present = [c for c in sort_by if c in rows.columns]
    rows = rows.sort_values(present, kind="stable", ignore_index=True)
    return StudyRun(rows, facts, errors, computed, len(sources) - computed)


class StudyOptions(Protocol):
    """What the options of every study of videos hold."""

    @property
    def model(self) -> str:
        """A bundled model's name, a folder, or a hub id."""

    @property
    def videos(self) -> Sequence[str | Path]:
        """Names as `list_videos` takes them."""

    @property
    def out(self) -> Path:
        """Folder of the results."""

    @property
    def limit(self) -> int | None:
        """At most so many videos."""


def run_study(
    options: StudyOptions,
    settings: Sequence[str],
    measure: Callable[..., VideoResult],
    *,
    name: str,
    version: int,
    depends: Mapping[str, Any],
    sort_by: Sequence[str] = ("video", "setting", "seed"),
) -> StudyRun:
    """Load the model, compute what is missing for every video, and write `rows.parquet`.

    Parameters
    ----------
    options
        Model, videos, folder and limit.
    settings
        Names of the settings wanted.
    measure
        Called as `measure(source, missing, model=model)`, see `run_videos`.
    name, version
        Of the study; rows of another version are computed again.
    depends
        Everything else that rows depend on, by name.
    sort_by
        Columns that order the rows.

    Raises
    ------
    ValueError
        With the message of every video, if none could be read.

    Source: own.
    """
    sources = list_videos(options.videos, limit=options.limit)
    model = rd.load_model(options.model)
    provenance = model_provenance(model)
    run = run_videos(
        sources,
        settings,
        partial(measure, model=model),
        out=options.out,
        context=context_of(name, version, provenance, **depends),
        sort_by=sort_by,
    )
    write_rows(run.rows, options.out / "rows.parquet")
    if not run.facts:
        raise ValueError(f"no video could be read: {'; '.join(run.errors.values())}")
    return replace(run, provenance={**provenance, "study": name})


def context_of(name: str, version: int, provenance: Mapping[str, Any], **settings: Any) -> dict[str, Any]:
    """Everything that the rows of a study depend on beside video and setting: its version, the weights, its settings.

    Source: own.
    """
    weights = ("weights_sha256", "dtype", "attn_implementation", "redundancy_version")
    return {"study": name, "version": version, **settings, **{k: provenance[k] for k in weights}}


def save_summary(summary: xr.Dataset, run: StudyRun, out: Path, **attributes: Any) -> xr.Dataset:
    """Write a labelled summary as `summary.zarr`; its attributes say what it was made with, of which videos, and how.

    Source: own.
    """
    unreadable = [f"{name}: {message}" for name, message in run.errors.items()]
    told = {**run.provenance, **attributes, "videos": len(run.facts), "unreadable": unreadable}
    summary = summary.assign_attrs(told)
    save_dataset(summary, out / "summary.zarr", overwrite=True)
    return summary


def say_what_ran(run: StudyRun) -> str:
    """One sentence about what was computed and what was stored before, and a line per unreadable video.

    Source: own.
    """
    read = run.computed - len(run.errors)
    lines = [f"{read} videos computed, {run.stored} taken from stored results, {len(run.errors)} could not be read."]
    if not read and run.stored and not run.errors:
        lines = [f"Nothing to compute: the results of all {run.stored} videos are stored."]
    return "\n".join(lines + [f"  {name}: {message}" for name, message in run.errors.items()])


def write_rows(rows: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, whole or not at all.

    Source: own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, rows.to_parquet(index=False))


def write_json(value: Facts, path: Path) -> None:
    """Write facts as json, whole or not at all.

    Source: own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, json.dumps(value, sort_keys=True).encode())


def _key(source: VideoSource, context: Mapping[str, Any]) -> str:
    """Digest of the video and of everything else that its rows depend on."""
    try:
        video = file_sha256(source.path)
    except OSError:
        video = f"unreadable {source.path}"
    known = None if source.record is None else str(source.record)
    text = json.dumps({"video": video, "known": known, **context}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _write(path: Path, content: bytes | None) -> None:
    if content is None:
        raise ValueError(f"nothing to write to {path}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.writing")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def command_line(options: type[Any], main: Callable[[Any], object]) -> None:
    """Run a study from the command line: options by tyro, errors of the user as one line and exit status 2.

    Source: own.
    """
    import tyro

    try:
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        program = f"python -m {spec.name}" if spec is not None else None
        main(tyro.cli(options, prog=program, description=(options.__doc__ or "").partition("\n")[0]))
    except (ValueError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nStopped. What was computed is stored; the same command goes on from there.", file=sys.stderr)
        sys.exit(130)
