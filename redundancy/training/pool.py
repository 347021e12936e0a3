"""The training videos: pixels, cell labels and questions, drawn once from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from redundancy.training.hints import asked_about
from redundancy.training.small_models import ModelSize, frames_per_step
from redundancy.world.labels import CHANNELS, DIGIT, cell_labels
from redundancy.world.questions import SKILLS, ask
from redundancy.world.render import render
from redundancy.world.scene import VideoScript, WorldConfig, sample_script

ASKED = {"shape": 6, "direction": 4, "color": 6, "digit": 1, "when": 1, "where": 1, "count": 1, "first": 2}
"""Questions of each skill about each training video."""
IGNORED = -100  # the answer of a question that a video does not allow
AT_ONCE, AT_ONCE_ON_CPU = 64, 2  # videos that are drawn together: few enough for the caches of a CPU


@dataclass(frozen=True)
class Questions:
    """Encoded questions about videos.

    Parameters
    ----------
    words
        Token ids `q ... a`, padded with 0 at the end.
    asked_at
        Index of the word `a`, whose next word is the answer.
    answers
        Token ids; `IGNORED` where the video does not allow the question.
    skills
        Index in `SKILLS` of each column.
    shown
        Channels of the labels that show what is asked about, see `asked_about`.
    scenes
        Background of the scene that is asked about, or -1.
    """

    words: Int64[Tensor, "videos questions words"]
    asked_at: Int64[Tensor, "videos questions"]
    answers: Int64[Tensor, "videos questions"]
    skills: Int64[Tensor, " questions"]
    shown: Bool[Tensor, "videos questions channels"]
    scenes: Int64[Tensor, "videos questions"]

    def to(self, device: torch.device) -> Questions:
        """The same on another device."""
        return Questions(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Pool:
    """Videos to train on.

    Parameters
    ----------
    frames
        Pixels.
    labels
        What each cell shows (`cell_labels`), any of the frames that share a temporal step.
    questions
        What is asked.
    """

    frames: UInt8[Tensor, "videos frames 3 height width"]
    labels: Bool[Tensor, "videos steps cells cells channels"]
    questions: Questions

    def __len__(self) -> int:
        return len(self.frames)

    @cached_property
    def flashes(self) -> Int64[Tensor, "flashes 2"]:
        """Video and temporal step of every step that shows the digit, on the CPU."""
        return self.labels[..., DIGIT].any(-1).flatten(2).any(-1).nonzero().cpu()


def make_pool(
    family: str, size: ModelSize, count: int, *, tokenizer: Any, seed: int, device: torch.device
) -> Iterator[int | Pool]:
    """Draw videos with their labels and questions; yields the number drawn so far, and the pool at last.

    Parameters
    ----------
    family, size
        Of the model.
    count
        Number of videos.
    tokenizer
        Of the model.
    seed
        Of scripts, pixel noise and questions. The bundled clips and held-out videos have seeds of their own generators.
    device
        Where pixels are drawn and kept.
    """
    config = WorldConfig(size.frames, size.pixels)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.Generator(device=device).manual_seed(seed)
    draw = random.Random(seed)
    joined = frames_per_step(family)
    frames = torch.empty(count, size.frames, 3, size.pixels, size.pixels, dtype=torch.uint8, device=device)
    scripts: list[VideoScript] = []
    labels = []
    together = AT_ONCE_ON_CPU if device.type == "cpu" else AT_ONCE
    for start in range(0, count, together):
        some = [sample_script(config, generator) for _ in range(min(together, count - start))]
        image = render(some, generator=noise, device=device)
        frames[start : start + len(some)] = (image * 255).round().byte()
        cells = cell_labels(some, size.cells, device=device)
        labels.append(cells.unflatten(1, (-1, joined)).any(2))  # type: ignore[no-untyped-call]
        scripts += some
        yield len(scripts)
    yield Pool(frames, torch.cat(labels), encode_questions(scripts, tokenizer, draw).to(device))


def encode_questions(scripts: Sequence[VideoScript], tokenizer: Any, draw: random.Random) -> Questions:
    """Ask `ASKED` questions about every video."""
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    skills = [skill for skill in SKILLS for _ in range(ASKED[skill])]
    rows: list[list[tuple[list[int], int]]] = []
    shown = torch.zeros(len(scripts), len(skills), CHANNELS, dtype=torch.bool)
    scenes = torch.full(shown.shape[:2], -1)
    for i, script in enumerate(scripts):
        row = []
        for j, skill in enumerate(skills):
            question = ask(script, skill, draw)
            if question is None:
                row.append(([vocabulary["q"], vocabulary["a"]], IGNORED))
            else:
                words = ["q", *question.text.split(), "a"]
                row.append(([vocabulary[w] for w in words], vocabulary[question.answer]))
                shown[i, j], scenes[i, j] = asked_about(question)
        rows.append(row)
    longest = max(len(words) for row in rows for words, _ in row)
    padded = [[words + [0] * (longest - len(words)) for words, _ in row] for row in rows]
    return Questions(
        words=torch.tensor(padded),
        asked_at=torch.tensor([[len(words) - 1 for words, _ in row] for row in rows]),
        answers=torch.tensor([[answer for _, answer in row] for row in rows]),
        skills=torch.tensor([SKILLS.index(skill) for skill in skills]),
        shown=shown,
        scenes=scenes,
    )
