"""The bundled clips: rendered videos as H.264 files, with scene cuts, questions and answers in a json.

python -m redundancy.world.clips --out data/clips
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

import redundancy
from redundancy.records import RECORDS, ClipRecord
from redundancy.world.questions import ask_all
from redundancy.world.render import render_frames
from redundancy.world.scene import MAX_SCENES, VideoScript, WorldConfig, sample_script

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


def script_of(seed: int, config: WorldConfig) -> VideoScript:
    """The video of a seed."""
    return sample_script(config, torch.Generator().manual_seed(seed))


def balanced_seeds(count: int, config: WorldConfig) -> list[int]:
    """The first seeds whose videos have each number of scenes equally often, in ascending order.

    Raises
    ------
    ValueError
        If `count` is no multiple of the largest number of scenes, or `config` fixes numbers of scenes.
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
    """Write frames as H.264, every pixel enlarged."""
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
    """Render and encode the clip of a seed."""
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
    """
    config = config or WorldConfig()
    out.mkdir(parents=True, exist_ok=True)
    seeds = balanced_seeds(count, config)
    records = [make_clip(seed, config, out / f"clip_{i:03d}.mp4") for i, seed in enumerate(seeds)]
    about = {
        "made_by": "python -m redundancy.world.clips",
        "note": f"each number of scenes equally often; seeds ascend from {FIRST_SEED} and are none of the training's",
        "package": redundancy.__version__,
        "av": version("av"),
        "encoder": ENCODER,
        "enlarged": ENLARGE,
    }
    text = json.dumps({"about": about, "clips": [asdict(r) for r in records]}, indent=1)
    (out / RECORDS).write_text(text + "\n")
    return records


def render_clips(
    out: Path = Path("data/clips"),
    count: int = 64,
    frames: int = WorldConfig().frames,
    *,
    size: int = WorldConfig().size,
) -> None:
    """Render the bundled clips.

    Parameters
    ----------
    out
        Folder of the clips.
    count
        Number of clips, a multiple of four.
    frames
        Frames of each clip.
    size
        Pixels along each side before enlarging.
    """
    records = make_clips(out, count=count, config=WorldConfig(frames, size))
    print(f"{len(records)} clips in {out}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Render the clips from the command line."""
    import tyro

    tyro.cli(render_clips, args=arguments, prog="python -m redundancy.world.clips")


if __name__ == "__main__":
    main()
