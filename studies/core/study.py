"""A study as a value: options, conditions, what is measured of each on each video, and what is reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import xarray as xr
from matplotlib.figure import Figure

import redundancy as rd
from redundancy.evaluation.conditions import Condition, grid
from redundancy.evaluation.session import VideoSession
from redundancy.evaluation.statistics.measures import Measure
from redundancy.evaluation.tables import Table
from redundancy.models import VideoLLM
from redundancy.plugins import load_plugin
from redundancy.pruning.table import METHODS
from redundancy.questions import Question
from redundancy.sources import VideoSource

from .summary import Contrast, Values

Row = dict[str, Any]
Facts = Mapping[str, Mapping[str, Any]]  # by video
Format = Literal["csv", "latex", "pdf"]


@dataclass(frozen=True, kw_only=True)
class StudyOptions:
    """What every study takes.

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
        Folder of the results: new, or of earlier runs of the same study, which are taken up; none: results/NAME.
    limit
        At most so many videos.
    fresh
        Compute everything again, whatever is stored.
    retry
        Names of videos that are computed again.
    plugin
        Python files, or modules, with methods, metrics and parts of your own, which are imported first.
    format
        What is written beside the rows, the summary and figures as PNG and SVG: each table as CSV or LaTeX, each figure
        as PDF.
    """

    model: str = "tiny-llava-onevision"
    videos: tuple[str | Path, ...] = ()
    frames: int = 32
    decoder: Literal["auto", "pyav", "decord"] = "auto"
    decode_timeout: float | int = 60.0
    out: Path | None = None
    limit: int | None = None
    fresh: bool = False
    retry: tuple[str, ...] = ()
    plugin: tuple[str, ...] = ()
    format: tuple[Format, ...] = ()

    def __post_init__(self) -> None:
        for plugin in self.plugin:
            load_plugin(plugin)
        if self.out is not None:
            object.__setattr__(self, "out", Path(self.out).expanduser())
        self.at_least(1, "frames", "limit")

    def at_least(self, least: int, *names: str) -> None:
        """Refuse options that are given and less."""
        for name in names:
            given = getattr(self, name)
            if given is not None and given < least:
                raise ValueError(f"{name} must be at least {least}, given {given}")

    def one_of(self, choices: Sequence[str], *names: str) -> None:
        """Refuse options of several values that name something else, nothing, or one thing twice."""
        for name in names:
            given = list(getattr(self, name))
            if not given or set(given) - set(choices) or len(set(given)) < len(given):
                raise ValueError(f"{name}={given} given, expected each once, of {list(choices)}")


@dataclass(frozen=True, kw_only=True)
class MethodOptions(StudyOptions):
    """What studies of methods take.

    Parameters
    ----------
    methods
        Names of methods and controls, with or without settings: fastvid, "fastvid:d=0.2;merger=drop".
    retentions
        Shares of the tokens that methods are asked to keep.
    seeds
        Seeds of each random control per video.
    """

    methods: tuple[str, ...] = tuple(METHODS)
    retentions: tuple[float, ...] = (0.5, 0.25, 0.1, 0.05)
    seeds: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.retentions:
            raise ValueError("no retention given, expected shares of the tokens to keep")
        self.conditions()
        self.at_least(1, "seeds")

    def conditions(self) -> list[Condition]:
        """Every method at every retention."""
        return grid(self.methods, self.retentions)


def required_questions(source: VideoSource, options: Any) -> tuple[Question, ...]:
    """All questions that a video brings; a ValueError if it brings none."""
    if not source.questions:
        raise ValueError(f"{source.name} comes without questions; give the bundled clips, world:N, or clips with them")
    return source.questions


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study: what it asks of each video, and what it reports.

    Parameters
    ----------
    name
        Of its folder of results; `python -m studies.NAME` runs it.
    version
        Of the meaning of its rows; those of another are computed again.
    options
        Class of its options.
    conditions
        The conditions that options name.
    measure
        Rows of one condition on one video.
    measure_all
        In place of it: rows of several conditions, each with its label as `condition`, where they share work.
    depends
        Names of the options that rows depend on, beside model, frames, decoder and conditions.
    questions
        The questions about a video.
    facts
        What figures need to know of a video, as json.
    measures
        What rows hold: name of the column -> what it means, or a `Measure`.
    values, contrasts
        Variables of the summary: means, and paired differences.
    derive
        Adds to the summary what is no mean: `(summary, rows, *, facts, options) -> summary`.
    flags
        Columns of True and False that become coordinates of conditions: whether any row is True.
    tables
        What is printed, and written by `--format`: tables, and functions of the summary that give texts and tables.
    figures
        What is drawn of the summary, by the ending of the file's name.
    stored
        False where rows are measurements of a moment: nothing is taken from earlier runs.
    load
        The model of the options.
    finding
        Sentences about a summary, with numbers of it alone, for the study's page; an empty one says nothing.
    published
        Ids of published tables that stand beside it, with the settings that are shown.
    caveats
        What a reader of its results must know.
    rows_of
        The study whose rows are used, and stored under whose name; `also` names folders of it.
    """

    name: str
    options: type[Any]
    conditions: Callable[[Any], Sequence[Condition]]
    version: int = 1
    measure: Callable[[VideoSession, Condition, Any], Iterable[Row]] | None = None
    measure_all: Callable[[VideoSession, Sequence[Condition], Any], Iterable[Row]] | None = None
    depends: tuple[str, ...] = ()
    questions: Callable[[VideoSource, Any], Sequence[Question]] = lambda source, options: source.questions
    facts: Callable[[VideoSession, Any], dict[str, Any]] = lambda video, options: {}
    measures: Callable[[Any], Mapping[str, str | Measure]] | Mapping[str, str | Measure] = field(default_factory=dict)
    values: Mapping[str, Values] = field(default_factory=lambda: {"value": Values()})
    contrasts: Mapping[str, Contrast] = field(default_factory=dict)
    derive: Callable[..., xr.Dataset] | None = None
    flags: tuple[str, ...] = ()
    tables: Sequence[Table | Callable[[xr.Dataset], str | Iterable[Table | str]]] = (Table(),)
    figures: Mapping[str, Callable[[xr.Dataset], Figure]] = field(default_factory=dict)
    stored: bool = True
    load: Callable[[Any], VideoLLM] = lambda options: rd.load_model(options.model)
    finding: Callable[[xr.Dataset], Sequence[str]] = lambda summary: ()
    published: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    caveats: Sequence[str] = ()
    rows_of: Study | None = None
    also: Callable[[Any], Sequence[Path]] = lambda options: ()

    def __post_init__(self) -> None:
        if (self.measure is None) == (self.measure_all is None):
            raise ValueError(f"{self.name}: expected one of measure and measure_all")

    @property
    def code(self) -> list[Any]:
        """Functions that rows depend on: of a study outside this package their code counts."""
        return [self.measure, self.measure_all, self.questions, self.facts]

    def tables_of(self, summary: xr.Dataset) -> list[Table | str]:
        """Tables of a summary, and texts between them."""
        made = [part if isinstance(part, Table) else part(summary) for part in self.tables]
        return [one for part in made for one in ([part] if isinstance(part, Table | str) else part)]

    def measures_of(self, options: Any) -> Mapping[str, str | Measure]:
        """What rows hold, under these options."""
        return self.measures(options) if callable(self.measures) else self.measures

    def command_line(self, arguments: Sequence[str] | None = None) -> None:
        """Run the study from the command line; see `studies.core.run.command_line`."""
        import_module(".run", __package__).command_line(self, arguments)

    def run(self, options: Any, *, model: VideoLLM | None = None) -> xr.Dataset:
        """Run the study; see `studies.core.run.run`."""
        summary: xr.Dataset = import_module(".run", __package__).run(self, options, model=model)
        return summary

    def rows_on(self, video: VideoSession, conditions: Sequence[Condition], options: Any) -> list[Row]:
        """Rows of some conditions on one video."""
        if self.measure_all is not None:
            return list(self.measure_all(video, conditions, options))
        assert self.measure is not None
        return [{"condition": c.label, **row} for c in conditions for row in self.measure(video, c, options)]
