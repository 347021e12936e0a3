"""What is known about rendered clips, as their folder's `clips.json` holds it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from redundancy.questions import Question

RECORDS = "clips.json"


@dataclass(frozen=True)
class ClipRecord:
    """What is known about a rendered clip.

    Parameters
    ----------
    file
        Name in its folder.
    seed
        Of the generator that the script, the pixel noise and the questions were drawn from.
    frames, fps
        Number of frames, and frames per second of the file.
    size
        Pixels along each side before enlarging.
    kind
        Number of scenes, for example `"2 scenes"`.
    scene_cuts
        Number in the file of the last frame of each scene but the last.
    sha256
        Of the file's bytes.
    questions
        One of each skill that the video allows.
    """

    file: str
    seed: int
    frames: int
    fps: int
    size: int
    kind: str
    scene_cuts: tuple[int, ...]
    sha256: str
    questions: tuple[Question, ...]


def load_clips(folder: str | Path) -> list[ClipRecord]:
    """Records of the clips in a folder.

    Raises
    ------
    FileNotFoundError
        If the folder holds no `clips.json`.
    ValueError
        If the file is not one that this module wrote, or names a clip that is not inside the folder.
    """
    path = Path(folder) / RECORDS
    if not os.path.lexists(path):
        raise FileNotFoundError(f"{path} does not exist; python -m redundancy.world.clips --out {folder} writes it")
    try:
        if not path.is_file():
            raise ValueError("it is no regular file")
        told = json.loads(path.read_bytes())
        entries = _typed(_typed(told, dict, "it").get("clips"), list, "clips")
        records = [_record(entry, f"clips[{i}]") for i, entry in enumerate(entries)]
        for i, record in enumerate(records):
            _check_inside(record.file, path.parent, f"clips[{i}].file")
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no record of clips: {error}") from error
    if not records:
        raise ValueError(f"{path} is no record of clips: clips is empty")
    return records


def _check_inside(file: str, folder: Path, where: str) -> None:
    inside, target = os.path.realpath(folder), os.path.realpath(folder / file)  # links are followed
    parts = Path(file).parts
    if not parts or Path(file).is_absolute() or ".." in parts or not Path(target).is_relative_to(inside):
        raise ValueError(f"{where} is {file!r}, expected a file inside the folder")


def _record(entry: Any, where: str) -> ClipRecord:
    given = _fields(entry, ClipRecord, where)
    cuts, questions = given["scene_cuts"], given["questions"]
    if any(type(cut) is not int for cut in cuts):
        raise ValueError(f"{where}.scene_cuts is {cuts}, expected numbers of frames")
    if not re.fullmatch("[0-9a-f]{64}", given["sha256"]):
        raise ValueError(f"{where}.sha256 is {given['sha256']!r}, expected 64 hexadecimal digits")
    asked = tuple(_question(q, f"{where}.questions[{i}]") for i, q in enumerate(questions))
    return ClipRecord(**{**given, "scene_cuts": tuple(cuts), "questions": asked})


def _question(entry: Any, where: str) -> Question:
    given = _fields(entry, Question, where)
    options = tuple(given["options"])
    if any(not isinstance(option, str) for option in options) or given["answer"] not in options:
        raise ValueError(f"{where}.options is {given['options']}, expected texts with the answer {given['answer']!r}")
    return Question(**{**given, "options": options})


def _fields(entry: Any, kind: type, where: str) -> dict[str, Any]:
    """The fields of a record as json holds them: each there, none beside, of its type."""
    given = _typed(entry, dict, where)
    expected = {name: get_origin(hint) or hint for name, hint in get_type_hints(kind).items()}
    for name in [*expected, *given]:
        if (name in expected) != (name in given):
            raise ValueError(f"{where} {'has no' if name in expected else 'has an unknown'} field {name!r}")
    for name, type_ in expected.items():
        _typed(given[name], list if type_ is tuple else type_, f"{where}.{name}")
    return dict(given)


def _typed(value: Any, kind: type, where: str) -> Any:
    if type(value) is not kind:
        raise ValueError(f"{where} is {str(value)[:80]!r} ({type(value).__name__}), expected {kind.__name__}")
    return value
