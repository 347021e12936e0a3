"""How a small model is trained: all that decides its weights, but for the machine."""

from __future__ import annotations

from dataclasses import dataclass

from redundancy.world.train.fit import Schedule
from redundancy.world.train.small_models import SIZES, ModelSize, require_known


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
    seed
        Of weights, videos and draws.
    """

    family: str
    size: str
    videos: int
    tower: Schedule
    language: Schedule
    questions: int = 16
    drop: float = 0.7
    seed: int = 0

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
    language_steps: int | None = None,
    seed: int = 0,
) -> Recipe:
    """The usual recipe of a family and size, or one of another length.

    Raises
    ------
    ValueError
        If a name is unknown, or a number below 1.

    Source: own.
    """
    require_known(family, size)
    usual = {"nano": (16_000, 600, 3_000), "small": (24_000, 800, 4_000)}[size]
    given = (videos, tower_steps, language_steps)
    for name, number in zip(("videos", "tower_steps", "language_steps"), given, strict=True):
        if number is not None and number < 1:
            raise ValueError(f"{name}={number} given, expected at least 1")
    count, first, second = (u if g is None else g for u, g in zip(usual, given, strict=True))
    steps = {"nano": 256, "small": 512}[size]
    samples = {"nano": 32, "small": 64}[size]
    return Recipe(
        family=family,
        size=size,
        videos=count,
        tower=Schedule(first, batch=steps, rate=3e-2, other_rate=2e-3, warmup=min(50, first), decay=0.01),
        language=Schedule(second, batch=samples, rate=1e-2, other_rate=1e-3, warmup=min(100, second), decay=0.02),
        seed=seed,
    )
