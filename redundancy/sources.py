"""What a user may name as videos: files, folders of files, the bundled clips, and videos of the procedural world."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import parse_qsl

import numpy as np
from jaxtyping import Int64

from redundancy.paths import data_folder
from redundancy.provenance import file_sha256
from redundancy.video import VideoClip, load_video
from redundancy.world.clip import WorldVideo
from redundancy.world.clips import ClipRecord, load_clips
from redundancy.world.scene import WorldConfig

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"})
RECORDS = "clips.json"
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
        Unique among the sources of a study.
    kind
        Group of videos, for example the number of scenes; `"user"` for the user's own.
    record
        What is known about a rendered clip: scene cuts, questions; None for the user's own.
    world
        The video of the world that is drawn when the source is read; None for a file.
    """

    path: Path
    name: str
    kind: str = "user"
    record: ClipRecord | None = None
    world: WorldVideo | None = None

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
            If the file cannot be read.

        Source: own.
        """
        if self.world is not None:
            convention = {} if model is None else {"sampling": model.family.sampling}
            return self.world.clip(frames, fps=fps, **convention)
        read = load_video if model is None else model.load_video
        return read(self.path, frames=frames, fps=fps)

    @property
    def digest(self) -> str:
        """SHA-256 of the file; of a video of the world what it is drawn from: seed and options.

        Raises
        ------
        OSError
            If the file cannot be read.
        """
        return file_sha256(self.path) if self.world is None else repr(self.world)


def list_videos(names: Sequence[str | Path] = (), *, limit: int | None = None) -> list[VideoSource]:
    """Videos that the names stand for, in the order given, folders sorted by name.

    Parameters
    ----------
    names
        Files and folders; none: the bundled clips. A folder with a `clips.json` (as `python -m redundancy.world.clips`
        writes) brings its scene cuts and questions. A file that does not exist is listed: reading it gives its error.
        `world:N` stands for N videos of the procedural world, drawn when they are read, with their questions; options
        follow as in `world:16?frames=32&size=112&scenes=3&drift=1&noise=2&tail=8&duplicates=1&seed=7`, see
        `WorldConfig`. Each `seed` (0 if none is given) has its own videos.
    limit
        At most so many videos.

    Raises
    ------
    ValueError
        If a folder holds no video, `limit` is not positive, or a `world:` is not as above.

    Source: own.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 video, given {limit}")
    found = (source for name in names or (data_folder() / "clips",) for source in _expand(name))
    seen: dict[str, int] = {}
    unique = []
    for source in islice(found, limit):
        seen[source.name] = seen.get(source.name, 0) + 1
        name = source.name if seen[source.name] == 1 else f"{source.name} ({seen[source.name]})"
        unique.append(replace(source, name=name))
    return unique


def _expand(name: str | Path) -> Iterable[VideoSource]:
    if str(name).startswith(WORLD):
        return map(_of_world, world_videos(str(name)))  # scripts are drawn one by one
    path = Path(name)
    if not path.is_dir():
        return [VideoSource(path, path.name)]
    if (path / RECORDS).is_file():
        return [VideoSource(path / r.file, r.file, r.kind, r) for r in load_clips(path)]
    files = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
    if not files:
        raise ValueError(
            f"the folder {path} holds no video; expected files with a suffix of {', '.join(sorted(VIDEO_SUFFIXES))}"
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

    Source: own.
    """
    count, _, query = name.removeprefix(WORLD).partition("?")
    pairs = [] if not query else parse_qsl(query, keep_blank_values=True)
    given = dict(pairs)
    if not re.fullmatch("[0-9]+", count) or not 1 <= int(count) <= SEED_STEP or (query and "=" not in query):
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
    return [WorldVideo(first + i, config) for i in range(int(count))]


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

    Source: own.
    """
    numbers = clip.indices[frame_members].mean(axis=1)
    steps = np.searchsorted(numbers, np.asarray(scene_cuts, dtype=np.float64), side="right") - 1
    return np.unique(steps[(steps >= 0) & (steps < len(numbers) - 1)]).astype(np.int64)
