"""What `evaluate` is given: videos under names that differ, and questions about them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redundancy.checks import described, require_type
from redundancy.questions import Question
from redundancy.sources import VideoSource, list_videos
from redundancy.video import VideoClip, VideoReader

Video = VideoSource | VideoClip | str | Path
Questions = Sequence[Question] | Mapping[str, Sequence[Question]] | None


@dataclass(frozen=True)
class NamedVideo:
    """A video that may still have to be read."""

    name: str
    kind: str
    given: VideoSource | VideoClip

    @property
    def digest(self) -> object:
        """What stands for its content."""
        return self.given if isinstance(self.given, VideoClip) else [self.given.digest, self.given.record]


def videos_of(videos: Video | Sequence[Video], reader: VideoReader) -> list[NamedVideo]:
    """The videos under names that differ, files with what reads them."""
    one = VideoSource | VideoClip | str | os.PathLike  # type: ignore[type-arg]
    expected = "sources, paths, world:N or clips"
    require_type("videos", videos, one | Iterable, expected=expected)
    given = [videos] if isinstance(videos, one) else list(videos)
    for i, video in enumerate(given):
        require_type(f"videos[{i}]", video, one, expected=expected)
    found: list[VideoSource | VideoClip] = []
    for video in given:
        if isinstance(video, VideoSource) and video.reader is None:
            video = replace(video, reader=reader)
        found += list_videos([video], reader=reader) if isinstance(video, str | os.PathLike) else [video]
    named = [
        NamedVideo(v.name, v.kind, v) if isinstance(v, VideoSource) else NamedVideo(v.source, "user", v) for v in found
    ]
    names = [v.name for v in named]
    if not found or len(set(names)) < len(names):
        raise ValueError(f"videos {names} given, expected at least one, with names that differ")
    return named


def check_questions(questions: Questions) -> None:
    """Refuse what are no questions before a video is read."""
    lists: Mapping[Any, Any] = questions if isinstance(questions, Mapping) else {"every video": questions or ()}
    for name, asked in lists.items():
        if isinstance(asked, str | Question) or not all(isinstance(q, Question) for q in asked):
            raise TypeError(
                f"questions: {described(asked)} given for {name}, expected a list of "
                "redundancy.questions.Question(skill, text, answer, options)"
            )


def questions_of(
    video: VideoSource | VideoClip,
    name: str,
    questions: Questions,
) -> tuple[Question, ...]:
    """Questions about one video: those that are given for it, or those that it brings.

    Raises
    ------
    ValueError
        If there is none.
    """
    if isinstance(questions, Mapping):
        asked = tuple(questions.get(name, ()))
    elif questions is not None:
        asked = tuple(questions)
    else:
        record = video.record if isinstance(video, VideoSource) else None
        asked = () if record is None else record.questions
    if not asked:
        raise ValueError(f"no question about {name!r} given, expected questions=... or a source that brings its own")
    return asked
