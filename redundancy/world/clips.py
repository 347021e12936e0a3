"""The bundled clips: rendered videos as H.264 files, with scene cuts, questions and answers in a json.

python -m redundancy.world.clips --out data/clips
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import numpy as np
import torch
from jaxtyping import UInt8

from redundancy.world.questions import Question, ask_all
from redundancy.world.render import render_frames
from redundancy.world.scene import MAX_SCENES, VideoScript, WorldConfig, sample_script

RECORDS = "clips.json"
FIRST_SEED = 1_000_000
FPS = 2
ENLARGE = 2  # chroma is stored at half resolution: enlarged pixels keep their colours
ENCODER = {
    "codec": "libx264",
    "pix_fmt": "yuv420p",
    "crf": "23",
    "preset": "medium",
    "threads": "1",
    "x264-params": "no-asm=1",  # with it, widths that are no multiple of 64 gave other bytes in every run
}


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


def script_of(seed: int, config: WorldConfig) -> VideoScript:
    """The video of a seed.

    Source: own.
    """
    return sample_script(config, torch.Generator().manual_seed(seed))


def balanced_seeds(count: int, config: WorldConfig) -> list[int]:
    """The first seeds whose videos have each number of scenes equally often, in ascending order.

    Raises
    ------
    ValueError
        If `count` is no multiple of the largest number of scenes, or `config` fixes numbers of scenes.

    Source: own.
    """
    if config.scenes is not None or config.duplicates:
        raise ValueError(
            f"scenes={config.scenes}, duplicates={config.duplicates} given, expected a free number of scenes"
        )
    if count < 1 or count % MAX_SCENES:
        raise ValueError(f"the number of clips must be a multiple of {MAX_SCENES}, given {count}")
    left = dict.fromkeys(range(1, MAX_SCENES + 1), count // MAX_SCENES)
    chosen: list[int] = []
    seed = FIRST_SEED
    while len(chosen) < count:
        scenes = len(script_of(seed, config).scenes)
        if left[scenes]:
            left[scenes] -= 1
            chosen.append(seed)
        seed += 1
    return chosen


def encode(frames: UInt8[np.ndarray, "frames height width 3"], path: Path) -> None:
    """Write frames as H.264, every pixel enlarged.

    Source: own.
    """
    import av

    large = frames.repeat(ENLARGE, axis=1).repeat(ENLARGE, axis=2)
    with av.open(str(path), "w") as container:
        options = {k: v for k, v in ENCODER.items() if k not in ("codec", "pix_fmt")}
        stream = container.add_stream(ENCODER["codec"], rate=Fraction(FPS), options=options)
        stream.width, stream.height, stream.pix_fmt = large.shape[2], large.shape[1], ENCODER["pix_fmt"]
        for image in large:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))


def make_clip(seed: int, config: WorldConfig, path: Path) -> ClipRecord:
    """Render and encode the clip of a seed.

    Source: own.
    """
    script = script_of(seed, config)
    encode(render_frames(script, seed=seed), path)
    scenes = len(script.scenes)
    return ClipRecord(
        file=path.name,
        seed=seed,
        frames=config.frames,
        fps=FPS,
        size=config.size,
        kind=f"{scenes} scene{'s' * (scenes > 1)}",
        scene_cuts=script.scene_cuts,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        questions=ask_all(script, seed=seed),
    )


def make_clips(out: Path, *, count: int = 64, config: WorldConfig | None = None) -> list[ClipRecord]:
    """Render clips into a folder, with their records in `clips.json`.

    Raises
    ------
    ValueError
        If `count` is no multiple of the largest number of scenes.

    Source: own.
    """
    config = config or WorldConfig()
    out.mkdir(parents=True, exist_ok=True)
    seeds = balanced_seeds(count, config)
    records = [make_clip(seed, config, out / f"clip_{i:03d}.mp4") for i, seed in enumerate(seeds)]
    about = {
        "made_by": "python -m redundancy.world.clips",
        "note": f"each number of scenes equally often; seeds ascend from {FIRST_SEED} and are none of the training's",
        "package": version("redundancy"),
        "av": version("av"),
        "encoder": ENCODER,
        "enlarged": ENLARGE,
    }
    text = json.dumps({"about": about, "clips": [asdict(r) for r in records]}, indent=1)
    (out / RECORDS).write_text(text + "\n")
    return records


def load_clips(folder: str | Path) -> list[ClipRecord]:
    """Records of the clips in a folder.

    Raises
    ------
    FileNotFoundError
        If the folder holds no `clips.json`.
    ValueError
        If the file is not one that this module wrote, or names a clip that is not inside the folder.

    Source: own.
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Render the clips from the command line.

    Source: own.
    """
    parser = argparse.ArgumentParser(prog="python -m redundancy.world.clips", description="Render the bundled clips.")
    parser.add_argument("--out", type=Path, default=Path("data/clips"), help="folder of the clips")
    parser.add_argument("--count", type=int, default=64, help="number of clips, a multiple of four")
    parser.add_argument("--frames", type=int, default=WorldConfig().frames, help="frames of each clip")
    parser.add_argument("--size", type=int, default=WorldConfig().size, help="pixels along each side before enlarging")
    given = parser.parse_args(arguments)
    records = make_clips(given.out, count=given.count, config=WorldConfig(given.frames, given.size))
    print(f"{len(records)} clips in {given.out}")


if __name__ == "__main__":
    main()
