"""What a user may name as videos: files, folders of files, the bundled clips, and videos of the procedural world."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import parse_qsl

import numpy as np
from jaxtyping import Int64

from redundancy.digest import file_sha256
from redundancy.paths import BUNDLED, data_folder
from redundancy.questions import Question
from redundancy.records import RECORDS, ClipRecord, load_clips
from redundancy.video import (
    DirectoryVideoError,
    MismatchedVideoError,
    RemoteVideoError,
    VideoClip,
    VideoError,
    VideoReader,
    load_video,
    video_path,
)
from redundancy.video.errors import printable
from redundancy.world.clip import WorldVideo
from redundancy.world.scene import WorldConfig

VIDEO_SUFFIXES = frozenset(
    {".3g2", ".3gp", ".f4v", ".m4v", ".mov", ".mp4", ".qt"}
    | {".m2t", ".m2ts", ".m2v", ".mpe", ".mpeg", ".mpg", ".mts", ".ts", ".vob"}
    | {".asf", ".avi", ".divx", ".dv", ".flv", ".mk3d", ".mkv", ".mxf", ".ogv", ".webm", ".wmv", ".y4m"}
)
WORLD = "world:"
WORLD_SEED = 2_000_000  # seeds of the bundled clips and of the models' training are others
SEED_STEP = 100_000  # videos of one `seed=`
WORLD_OPTIONS: dict[str, Callable[[str], int | float]] = {
    "frames": int,
    "size": int,
    "scenes": int,
    "drift": float,
    "noise": float,
    "tail": int,
    "duplicates": int,
    "seed": int,
}


@runtime_checkable
class Reader(Protocol):
    """What reads files by a sampling convention: a `VideoLLM`."""

    @property
    def family(self) -> Any:
        """Its `sampling` names the convention."""

    def load_video(self, path: str | Path, **arguments: Any) -> VideoClip:
        """A clip of a file."""


@dataclass(frozen=True)
class VideoSource:
    """One video that a study reads.

    Parameters
    ----------
    path
        The file; of a video of the world, its name.
    name
        Unique among the sources of a study, and printable whatever the file's name is.
    kind
        Group of videos, for example the number of scenes; `"user"` for the user's own.
    record
        What is known about a rendered clip: scene cuts, questions; None for the user's own.
    world
        The video of the world that is drawn when the source is read; None for a file.
    reader
        What reads the file, in a process beside; None: this process reads it. A video of the world needs neither.
    """

    path: Path
    name: str
    kind: str = "user"
    record: ClipRecord | None = None
    world: WorldVideo | None = None
    reader: VideoReader | None = field(default=None, compare=False, repr=False)

    @property
    def questions(self) -> tuple[Question, ...]:
        """Those that come with the video; empty for the user's own."""
        return () if self.record is None else self.record.questions

    def load(
        self, model: Reader | None = None, *, frames: int | None = None, fps: float | int | None = None
    ) -> VideoClip:
        """Read the video, by the sampling convention of the model's family if one is given.

        Parameters
        ----------
        model
            A `VideoLLM`; None: the convention of `load_video`.
        frames, fps
            As in `load_video`.

        Raises
        ------
        ValueError
            If a setting is out of its range.
        VideoError
            If the file cannot be read; `MismatchedVideoError` if it is not the one that its record speaks of.
        """
        convention = {} if model is None else {"sampling": model.family.sampling}
        if self.world is not None:
            return self.world.clip(frames, fps=fps, **convention)
        if self.reader is not None:
            clip = self.reader.load(self.path, frames=frames, fps=fps, **convention)
        else:
            read = load_video if model is None else model.load_video
            clip = read(self.path, frames=frames, fps=fps)
        if self.record is not None and clip.sha256 != self.record.sha256:
            raise MismatchedVideoError(
                self.path, f"its SHA-256 is {clip.sha256}, and {RECORDS} says {self.record.sha256}"
            )
        return clip

    @property
    def digest(self) -> str:
        """SHA-256 of the file; of a video of the world what it is drawn from: seed and options.

        Raises
        ------
        VideoError
            If there is no such regular file, or it takes longer than the reader's limit.
        OSError
            If the file cannot be read.
        """
        if self.world is not None:
            return repr(self.world)
        return file_sha256(video_path(self.path)) if self.reader is None else self.reader.digest(self.path)


def list_videos(
    names: str | Path | Sequence[str | Path] = (), *, limit: int | None = None, reader: VideoReader | None = None
) -> list[VideoSource]:
    """Videos that the names stand for, in the order given, folders sorted by name.

    Parameters
    ----------
    names
        Files and folders, `~` and `file://` among them; none: the bundled clips. A folder with a `clips.json` (as
        `python -m redundancy.world.clips` writes) brings the videos recorded there, with scene cuts and questions; of
        other folders what is named like a video, without hidden files (`._a.mp4`). What does not exist or is no regular
        file is listed: reading it gives its error. `bundled:clip_000.mp4` is one of the bundled clips, with what is
        known about it. `world:N` stands for N videos of the procedural world, drawn when they are read, with their
        questions; options follow as in
        `world:16?frames=32&size=112&scenes=3&drift=1&noise=2&tail=8&duplicates=1&seed=7`, see `WorldConfig`. Each
        `seed` (0 if none is given) has its own videos.
    limit
        At most so many videos.
    reader
        Reads the files in a process beside; None: the process that calls `load`.

    Raises
    ------
    ValueError
        If a folder holds no video or cannot be listed, its `clips.json` is none, `limit` is not positive, or a `world:`
        is not as above.
    RemoteVideoError
        If a name is a URL of another kind than `file://`.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 video, given {limit}")
    if isinstance(names, str | os.PathLike):
        names = (names,)
    found = (source for name in names or (data_folder() / "clips",) for source in _expand(name))
    taken: set[str] = set()
    unique = []
    for source in islice(found, limit):
        unique.append(replace(source, name=_unused(printable(source.name), taken), reader=reader))
        taken.add(unique[-1].name)
    return unique


def _unused(name: str, taken: set[str]) -> str:
    candidates = (name if i == 1 else f"{name} ({i})" for i in count(1))
    return next(candidate for candidate in candidates if candidate not in taken)


def _expand(name: str | Path) -> Iterable[VideoSource]:
    if str(name).startswith(WORLD):
        return map(_of_world, world_videos(str(name)))  # scripts are drawn one by one
    if str(name).startswith(BUNDLED):
        return [_of_bundled(str(name))]
    try:
        path = video_path(name)
    except DirectoryVideoError as error:
        return _of_folder(error.path)
    except RemoteVideoError:
        raise
    except VideoError:  # reading it gives the same error
        path = Path(name)
    return [VideoSource(path, path.name or str(name))]


def _of_bundled(name: str) -> VideoSource:
    """A bundled clip with its record."""
    named = {source.name: source for source in _of_folder(data_folder() / "clips")}
    if (wanted := name.removeprefix(BUNDLED)) not in named:
        raise ValueError(f"{name!r} given, expected one of the bundled clips: {', '.join(named)}")
    return named[wanted]


def _of_folder(folder: Path) -> list[VideoSource]:
    if os.path.lexists(folder / RECORDS):
        return [VideoSource(folder / r.file, r.file, r.kind, r) for r in load_clips(folder)]
    try:
        named = sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
    except OSError as error:
        raise ValueError(f"the folder {printable(folder)} cannot be listed: {error.strerror}") from error
    # by convention hidden: copies of a file's attributes (`._a.mp4`) and files that are still being written
    files = [p for p in named if not p.name.startswith(".")]
    if not files:
        hidden = f", and {len(named)} that are hidden, to be given by name" if named else ""
        raise ValueError(
            f"the folder {printable(folder)} holds no video{hidden}; expected files with a suffix of "
            f"{', '.join(sorted(VIDEO_SUFFIXES))}"
        )
    return [VideoSource(file, file.name) for file in files]


def _of_world(video: WorldVideo) -> VideoSource:
    record = video.record()
    return VideoSource(Path(video.name), video.name, record.kind, record, video)


def world_videos(name: str) -> list[WorldVideo]:
    """The videos that `world:N` with its options stands for.

    Raises
    ------
    ValueError
        If the name is not of that form, an option is unknown, given twice or out of its range.
    """
    number, _, query = name.removeprefix(WORLD).partition("?")
    pairs = [] if not query else parse_qsl(query, keep_blank_values=True)
    given = dict(pairs)
    if not re.fullmatch("[0-9]+", number) or not 1 <= int(number) <= SEED_STEP or (query and "=" not in query):
        raise ValueError(
            f"{name!r} given, expected world:N or world:N?option=value&..., with N in 1..{SEED_STEP} and options "
            f"among {', '.join(WORLD_OPTIONS)}"
        )
    unknown = [option for option, _ in pairs if option not in WORLD_OPTIONS]
    if unknown or len(given) < len(pairs):
        raise ValueError(
            f"options {[option for option, _ in pairs]} given in {name!r}, expected each once, of "
            f"{', '.join(WORLD_OPTIONS)}"
        )
    options = {option: _number(option, value, name) for option, value in pairs}
    seed = options.pop("seed", 0)
    if not 0 <= seed <= 10_000:
        raise ValueError(f"seed={seed} given in {name!r}, expected a number in [0, 10000]")
    config = WorldConfig(**options)  # type: ignore[arg-type]
    first = WORLD_SEED + int(seed) * SEED_STEP
    return [WorldVideo(first + i, config) for i in range(int(number))]


def _number(option: str, value: str, name: str) -> int | float:
    kind = WORLD_OPTIONS[option]
    try:
        return kind(value)
    except ValueError:
        expected = "a whole number" if kind is int else "a number"
        raise ValueError(f"{option}={value!r} given in {name!r}, expected {expected}") from None


def cuts_on_steps(
    scene_cuts: Sequence[int], clip: VideoClip, frame_members: Int64[np.ndarray, "frames members"]
) -> Int64[np.ndarray, "cuts"]:
    """Known scene cuts as transitions between the temporal steps that a model sees.

    Parameters
    ----------
    scene_cuts
        Number in the file of the last frame of each scene but the last.
    clip
        The sampled clip.
    frame_members
        `[T, 1 or 2]` clip frames behind each step.

    Returns
    -------
    Sorted transitions t (between steps t and t + 1), each once. A cut inside a step goes to the transition before it or
    after it, whichever side holds fewer of its frames; equal: after. Cuts outside the sampled frames are left out.
    """
    numbers = clip.indices[frame_members].mean(axis=1)
    steps = np.searchsorted(numbers, np.asarray(scene_cuts, dtype=np.float64), side="right") - 1
    return np.unique(steps[(steps >= 0) & (steps < len(numbers) - 1)]).astype(np.int64)
