"""What a user may name as videos: files, folders of files, and the bundled clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from redundancy.paths import data_folder
from redundancy.video import VideoClip
from redundancy.world.clips import ClipRecord, load_clips

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"})
RECORDS = "clips.json"


@dataclass(frozen=True)
class VideoSource:
    """One video that a study reads.

    Parameters
    ----------
    path
        The file.
    name
        Unique among the sources of a study.
    kind
        Group of videos, for example the number of scenes; `"user"` for the user's own.
    record
        What is known about a rendered clip: scene cuts, questions; None for the user's own.
    """

    path: Path
    name: str
    kind: str = "user"
    record: ClipRecord | None = None


def list_videos(names: Sequence[str | Path] = (), *, limit: int | None = None) -> list[VideoSource]:
    """Videos that the names stand for, in the order given, folders sorted by name.

    Parameters
    ----------
    names
        Files and folders; none: the bundled clips. A folder with a `clips.json` (as `python -m redundancy.world.clips`
        writes) brings its scene cuts and questions. A file that does not exist is listed: reading it gives its error.
    limit
        At most so many videos.

    Raises
    ------
    ValueError
        If a folder holds no video, or `limit` is not positive.

    Source: own.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1 video, given {limit}")
    found = [source for name in names or (data_folder() / "clips",) for source in _expand(Path(name))]
    seen: dict[str, int] = {}
    unique = []
    for source in found[:limit]:
        seen[source.name] = seen.get(source.name, 0) + 1
        name = source.name if seen[source.name] == 1 else f"{source.name} ({seen[source.name]})"
        unique.append(VideoSource(source.path, name, source.kind, source.record))
    return unique


def _expand(path: Path) -> list[VideoSource]:
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
