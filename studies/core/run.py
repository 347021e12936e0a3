"""The life of a study: what is missing is computed, everything is written, tables are printed, figures drawn."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import xarray as xr

from redundancy import plot
from redundancy.checks import counted, described
from redundancy.command_line import command, exit_status, parsed
from redundancy.digest import digest_of
from redundancy.evaluation.cells import NothingMeasuredError, own_folder
from redundancy.evaluation.conditions import Condition
from redundancy.evaluation.run import Run, VideoResult, run_videos, say_what_ran, write_rows
from redundancy.evaluation.session import VideoSession
from redundancy.evaluation.statistics.aggregate import STATISTIC
from redundancy.evaluation.tables import FORMATS, Table
from redundancy.models import VideoLLM
from redundancy.models.identity import memory_digest, rounding
from redundancy.recording import model_provenance, open_dataset, save_dataset
from redundancy.sources import VideoSource, list_videos
from redundancy.video import VideoClip, VideoReader

from .report import below_tables, replaced_sources
from .study import Row, Study
from .summary import summarise_rows

READ = ("frames", "decoder", "prompt")  # options that every video is read and asked with
PASSING = ("out", "fresh", "retry", "format")  # options that change no result


def run(study: Study, options: Any, *, model: VideoLLM | None = None) -> xr.Dataset:
    """Run a study: rows, facts, summary and figures in its folder; tables are printed.

    Parameters
    ----------
    study
        The study.
    options
        Of its class.
    model
        A loaded model in place of the one that options name.

    Returns
    -------
    The summary.

    Raises
    ------
    NothingMeasuredError
        With the message of every video, if all failed.
    FileExistsError, FolderInUseError
        If the folder holds something else, or results of an earlier version, or another run works there.
    """
    folder = options.out or Path("results") / study.name
    if (folder / "summary.zarr").is_dir():
        _stored_summary(folder)
    with own_folder(folder, study.name), VideoReader(decoder=options.decoder, timeout=options.decode_timeout) as reader:
        sources = list_videos(options.videos, limit=options.limit, reader=reader)
        conditions = study.conditions(options)
        given, model = model is not None, study.load(options) if model is None else model
        done = _rows(study, sources, conditions, options=options, model=model, folder=folder)
        write_rows(done.rows, folder / "rows.parquet")
        if not done.facts:
            told = "; ".join(f"{name}: {message}" for name, message in done.errors.items())
            raise NothingMeasuredError(f"no video could be measured: {told}")
        summary = _summary(study, done, conditions, options=options, model=model)
        again = command(options, without=PASSING)
        as_text = json.dumps({k: v for k, v in asdict(options).items() if k not in PASSING}, default=str)
        summary = summary.assign_attrs(options=as_text, command=again or "", model_given=int(given))
        save_dataset(summary, folder / "summary.zarr", overwrite=True)
        draw(study, folder, options.format)
        print(report(study, summary, done, folder=folder))
        return summary


def _rows(
    study: Study,
    sources: Sequence[VideoSource],
    conditions: Sequence[Condition],
    *,
    options: Any,
    model: VideoLLM,
    folder: Path,
) -> Run:
    """Rows of all videos, those that are stored from there."""
    measuring = study.rows_of or study
    told = model_provenance(model)
    how = {k: told[k] for k in ("dtype", "attn_implementation", "redundancy_version")}
    how |= {"model": memory_digest(model), "device": model.device.type, "rounding": rounding(model.device.type)}
    read = [name for name in READ if hasattr(options, name)]
    how |= {name: getattr(options, name) for name in (*read, *measuring.depends)}
    return run_videos(
        sources,
        conditions,
        partial(_measure, study, model, options),
        out=folder,
        context={"study": measuring.name, "version": measuring.version, "code": measuring.code, **how},
        columns={"model": model.name},
        also=study.also(options),
        fresh=options.fresh or not study.stored,
        retry=options.retry,
    )


def _measure(
    study: Study, model: VideoLLM, options: Any, source: VideoSource, conditions: Sequence[Condition]
) -> VideoResult:
    """Rows and facts of one video: a session for all conditions that look at the same frames."""
    rows: list[Row] = []
    facts: dict[str, Any] = {}
    questions = study.questions(source, options)
    for of_group in _alike(conditions, options.frames):
        first = of_group[0]
        clip = _changed(source.load(model, frames=first.frames or options.frames), first)
        prompt = getattr(options, "prompt", None)
        with VideoSession(model, clip, questions, prompt=prompt, source=source) as video:
            rows += [{"grid": video.grid_text, **row} for row in study.rows_on(video, of_group, options)]
            if not facts:  # of the clip as the options say, where a condition looks at it
                facts = dict(study.facts(video, options))
                facts |= {"grid": video.grid_text, "frames_read": len(clip.frames), "decoder": clip.decoder}
    return VideoResult(rows, facts)


def _alike(conditions: Sequence[Condition], frames: int) -> list[list[Condition]]:
    """Conditions that look at the same frames, those at the clip as the options say first."""

    def key(condition: Condition) -> tuple[bool, int, str]:
        number = condition.frames or frames
        if condition.clip is None:
            return number != frames, number, ""
        try:
            return True, number, digest_of(condition.clip)
        except TypeError:  # its rows are not stored either
            return True, number, str(id(condition.clip))

    return [list(group) for _, group in groupby(sorted(conditions, key=key), key=key)]


def _changed(clip: VideoClip, condition: Condition) -> VideoClip:
    """The clip as a condition changes it."""
    if condition.clip is None:
        return clip
    changed = condition.clip(clip)
    if not isinstance(changed, VideoClip):
        raise TypeError(
            f"clip of the condition {condition.label!r} returned {described(changed)}, expected a VideoClip"
        )
    return changed


def _summary(study: Study, done: Run, conditions: Sequence[Condition], *, options: Any, model: VideoLLM) -> xr.Dataset:
    """The labelled summary, with what it was made with, of which videos, and how."""
    rows = done.rows[done.rows["error"].isna()]
    if study.values and not rows["condition"].notna().any():
        raise NothingMeasuredError(
            f"every condition of {study.name} was left out for {model.name!r} on {counted(len(done.facts), 'video')}: "
            f"{', '.join(c.label for c in conditions[:3])}{', ...' if len(conditions) > 3 else ''}"
        )
    measures = study.measures_of(options)
    summary = summarise_rows(
        rows, {**study.values, **study.contrasts}, measures=measures, conditions=conditions, flags=study.flags
    )
    if study.derive is not None:
        summary = study.derive(summary, done.rows, facts=done.facts, options=options)
    told = {name: getattr(options, name) for name in ("frames", "seeds", *study.depends) if hasattr(options, name)}
    told |= {"failed": [f"{name}: {message}" for name, message in done.errors.items()]}
    told |= {"videos": len(done.facts), "replaced": replaced_sources(rows), "study": study.name}
    return summary.assign_attrs({**model_provenance(model), **told, **summary.attrs})


def report(study: Study, summary: xr.Dataset, done: Run, *, folder: Path) -> str:
    """All that a study prints."""
    texts = [part.text(summary) if isinstance(part, Table) else part for part in study.tables_of(summary)]
    seeds = f"; {counted(summary.attrs['seeds'], 'seed')} of random controls" if "seeds" in summary.attrs else ""
    below = [f"{below_tables(summary, len(done.facts))}{seeds}."] if study.stored else []  # others are no means
    given = " (with the model that was given in Python in place of --model)" if summary.attrs["model_given"] else ""
    again = [f"Again: {said}{given}"] if (said := summary.attrs["command"]) else []
    absent = [f"{name}: {v.attrs['absent']}" for name, v in summary.data_vars.items() if "absent" in v.attrs]
    last = [
        *below,
        *absent,
        *summary.attrs["replaced"],
        say_what_ran(done),
        *again,
        f"Rows, summary and figures: {folder}",
    ]
    return "\n\n".join([*(text for text in texts if text), "\n".join(last)])


def draw(study: Study, folder: Path, formats: Sequence[str] = ()) -> list[Path]:
    """Draw the study's figures, and write its tables, from what is stored in a folder.

    Parameters
    ----------
    formats
        Beside figures as PNG and SVG: "csv" and "latex" of each table, "pdf" of each figure.

    Returns
    -------
    The files.
    """
    summary = _stored_summary(folder)
    written = []
    for ending, make in study.figures.items():
        figure, name = make(summary), f"{study.name}_{ending}" if ending else study.name
        written += plot.save(figure, folder / name)
        written += plot.save(figure, folder / f"{name}.pdf") if "pdf" in formats else []
    tables = [part for part in study.tables_of(summary) if isinstance(part, Table)]
    endings = [f"_{table.name or i}" if len(tables) > 1 else "" for i, table in enumerate(tables, 1)]
    for form in (f for f in FORMATS if f in formats):
        named = [(folder / f"{study.name}{ending}", table) for ending, table in zip(endings, tables, strict=True)]
        written += [table.save(summary, path, form) for path, table in named]
    return written


def _stored_summary(folder: Path) -> xr.Dataset:
    """The summary in a folder; those of earlier versions are refused."""
    summary = open_dataset(folder / "summary.zarr").load()
    if "statistic" in summary.coords and tuple(summary["statistic"].values) != STATISTIC:
        told = "holds results of an earlier version of redundancy; give another folder, or remove this one"
        raise FileExistsError(f"the folder {folder} {told}")
    return summary


def command_line(study: Study, arguments: Sequence[str] | None = None) -> None:
    """Run a study from the command line.

    Exit status 0: everything was measured; 2: an error of the user; 3: videos failed, all or some, which are named.
    """
    with exit_status():
        if len(run(study, parsed(study.options, arguments)).attrs["failed"]):
            sys.exit(3)
