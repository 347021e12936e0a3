"""How a small model is trained: all that decides its weights, but for the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redundancy.training.fit import Schedule
from redundancy.training.small_models import SIZES, ModelSize, require_known

USUAL: dict[str, dict[str, Any]] = {
    "nano": {
        "videos": 16_000,
        "tower_steps": 600,
        "tower_batch": 256,
        "language_steps": 3_000,
        "language_batch": 32,
        "questions": 16,
        "drop": 0.7,
        "few_until": 0.0,
        "hint": 4.0,
        "hint_until": 0.4,
    },
    "small": {
        "videos": 4_000,
        "tower_steps": 600,
        "tower_batch": 128,
        "language_steps": 1_200,
        "language_batch": 16,
        "questions": 22,
        "drop": 0.9,
        "few_until": 0.6,
        "hint": 6.0,
        "hint_until": 0.5,
    },
}
"""Settings of a run, as `Recipe` names them: on one core `nano` takes about an hour, `small` an hour and a half."""


@dataclass(frozen=True)
class Recipe:
    """Settings of a run.

    Parameters
    ----------
    family, size
        Names in `FAMILIES` and `SIZES`.
    videos
        In the pool.
    tower
        Stage 1; a sample is a temporal step.
    language
        Stage 2; a sample is a video.
    questions
        Asked about each video of a step.
    drop
        Probability that a step of stage 2 drops tokens.
    few_until
        Share of the steps of stage 2, from the first, that keep few tokens (`language.FEW`): cheap steps, in which what
        is asked about is easily found.
    seed
        Of weights, videos and draws.
    hint
        Added at first to the attention scores of tokens that show what is asked about (`redundancy.training.hints`).
    hint_until
        Share of the steps of stage 2, from the first, over which the hint fades to nothing.
    """

    family: str
    size: str
    videos: int
    tower: Schedule
    language: Schedule
    questions: int
    drop: float
    few_until: float
    seed: int = 0
    hint: float | int = 0
    hint_until: float = 0.4

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Recipe:
        """From what `dataclasses.asdict` made."""
        stages = {name: Schedule(**given[name]) for name in ("tower", "language")}
        return cls(**{**given, **stages})

    @property
    def sizes(self) -> ModelSize:
        """Sizes of the model."""
        return SIZES[self.size]


def recipe_of(
    family: str,
    size: str,
    *,
    videos: int | None = None,
    tower_steps: int | None = None,
    tower_batch: int | None = None,
    language_steps: int | None = None,
    language_batch: int | None = None,
    seed: int = 0,
) -> Recipe:
    """The usual recipe of a family and size, or one of another length.

    Raises
    ------
    ValueError
        If a name is unknown, or a number below 1.
    """
    require_known(family, size)
    given = {
        "videos": videos,
        "tower_steps": tower_steps,
        "tower_batch": tower_batch,
        "language_steps": language_steps,
        "language_batch": language_batch,
    }
    for name, number in given.items():
        if number is not None and number < 1:
            raise ValueError(f"{name}={number} given, expected at least 1")
    chosen: dict[str, Any] = {**USUAL[size], **{name: number for name, number in given.items() if number is not None}}
    first, second = chosen["tower_steps"], chosen["language_steps"]
    warm = min(50, max(1, first // 4)), min(100, max(1, second // 4))
    return Recipe(
        family=family,
        size=size,
        videos=chosen["videos"],
        tower=Schedule(first, chosen["tower_batch"], rate=3e-2, other_rate=2e-3, warmup=warm[0], decay=0.01),
        language=Schedule(second, chosen["language_batch"], rate=1e-2, other_rate=1e-3, warmup=warm[1], decay=0.02),
        questions=chosen["questions"],
        drop=chosen["drop"],
        few_until=chosen["few_until"],
        hint=chosen["hint"],
        hint_until=chosen["hint_until"],
        seed=seed,
    )
