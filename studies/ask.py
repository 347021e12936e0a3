"""Ask one question about one video, with all tokens and with those that a method keeps.

python -m studies.ask --method fastvid --retention 0.25
python -m studies.ask --model FOLDER --video clip.mp4 --prompt "What happens?" --method random_tokens
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median
from typing import Literal

import torch

import redundancy as rd
from redundancy.apply import prune
from redundancy.command_line import exit_status, parsed
from redundancy.evaluation.cells import NothingMeasuredError
from redundancy.models import Prepared, VideoLLM
from redundancy.pruning.base import Method
from redundancy.pruning.named import named_settings
from redundancy.pruning.table import METHODS
from redundancy.reduction import Reduction
from redundancy.sources import VideoSource, list_videos
from redundancy.video import VideoReader


@dataclass(frozen=True)
class Options:
    """Ask one question about one video.

    Parameters
    ----------
    model
        A bundled model's name, a Hugging Face folder, or a hub id.
    video
        The file; none: the first bundled clip.
    prompt
        The question.
    method
        Name of a method, with or without settings ("fastvid(c=4)"), or "none".
    retention
        Share of the tokens to keep; none: the method's own default.
    frames
        Frames sampled from the video.
    max_new_tokens
        Longest answer.
    repeats
        Runs from which the median time to the first token is taken.
    decoder
        What reads the file, as in `load_video`.
    decode_timeout
        Seconds that reading it may take.
    """

    model: str = "tiny-llava-onevision"
    video: str | Path | None = None
    prompt: str = "how many scenes ?"
    method: str = "fastvid"
    retention: float | None = None
    frames: int = 32
    max_new_tokens: int = 1
    repeats: int = 5
    decoder: Literal["auto", "pyav", "decord"] = "auto"
    decode_timeout: float | int = 60.0


@dataclass(frozen=True)
class Answer:
    """What one way of running the model gave.

    `tokens_before` and `tokens_after` count video tokens; `seconds` is the median time to the first token, vision tower
    included.
    """

    text: str
    tokens_before: int
    tokens_after: int
    seconds: float


def method_of(name: str, retention: float | None) -> Method | None:
    """The method of that name at that retention; None for "none".

    Raises
    ------
    ValueError
        If there is no such method, or it has a fixed rate and a retention is given.
    """
    if name == "none":
        return None
    key, settings = named_settings(name)
    method = replace(METHODS[key].method, **settings)
    if retention is None:
        return method
    if "retention" not in {f.name for f in fields(method)}:
        raise ValueError(f"{name} has a fixed rate and takes no retention, given {retention}")
    return replace(method, retention=retention)  # type: ignore[call-arg]


def time_to_first_token(model: VideoLLM, inputs: Prepared, repeats: int) -> float:
    """Median seconds from prepared inputs to the first token, after one run that is not counted."""

    def once() -> float:
        begin = time.perf_counter()
        model.generate(inputs, max_new_tokens=1)
        if model.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    once()
    return median(once() for _ in range(repeats))


def run(
    model: VideoLLM, inputs: Prepared, *, method: Callable[[rd.VideoTokens], Reduction] | None, options: Options
) -> Answer:
    """The answer with a method, or without one."""
    if method is None:
        grids = rd.video_tokens(model, inputs.clips[0][0], options.prompt).grid
        size = grids.frames * grids.tokens_per_frame
        text = model.generate(inputs, max_new_tokens=options.max_new_tokens)
        return Answer(text, size, size, time_to_first_token(model, inputs, options.repeats))
    with prune(model, method) as pruned:
        text = model.generate(inputs, max_new_tokens=options.max_new_tokens)
        reduction = pruned.reductions[-1]
        seconds = time_to_first_token(model, inputs, options.repeats)
    return Answer(text, reduction.grid.frames * reduction.grid.tokens_per_frame, reduction.kept, seconds)


def answers_of(model: VideoLLM, source: VideoSource, *, method: Method | None, options: Options) -> dict[str, Answer]:
    """The answers about a video with all tokens and with the method."""
    inputs = model.prepare(source.load(model, frames=options.frames), options.prompt)
    answers = {"all tokens": run(model, inputs, method=None, options=options)}
    if method is not None:
        answers[options.method] = run(model, inputs, method=method, options=options)
    return answers


def main(options: Options) -> dict[str, Answer]:
    """Print the answers, the tokens and the times, with all tokens and with the method's.

    Raises
    ------
    NothingMeasuredError
        If the video cannot be read, or not be answered about.
    """
    method = method_of(options.method, options.retention)
    with VideoReader(decoder=options.decoder, timeout=options.decode_timeout) as reader:
        source = list_videos(() if options.video is None else (options.video,), limit=1, reader=reader)[0]
        model = rd.load_model(options.model)
        try:
            answers = answers_of(model, source, method=method, options=options)
        except Exception as error:
            raise NothingMeasuredError(f"{source.name}: {type(error).__name__}: {error}") from error
    print(f"{source.path}\n{options.prompt}\n")
    print(f"{'':18s}{'answer':20s}{'video tokens':>14s}{'kept':>8s}{'first token':>14s}")
    for name, a in answers.items():
        kept = a.tokens_after / a.tokens_before
        print(f"{name:18s}{a.text:20s}{a.tokens_after:14d}{kept:8.1%}{1000 * a.seconds:11.1f} ms")
    if options.retention is not None:
        print(f"\nRequested retention {options.retention:.1%}.")
    print(f"Times: median of {options.repeats}, vision tower included, {model.device}, {model.dtype}.")
    return answers


if __name__ == "__main__":
    with exit_status():
        main(parsed(Options))
