"""What happens in a video of the procedural world, as a value: scenes of two things, and a digit that flashes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.9, 0.15, 0.15),
    "green": (0.1, 0.75, 0.2),
    "blue": (0.2, 0.35, 0.95),
    "yellow": (0.95, 0.85, 0.1),
    "purple": (0.65, 0.2, 0.8),
    "white": (0.95, 0.95, 0.95),
}
BACKGROUNDS: dict[str, tuple[float, float, float]] = {
    "grey": (0.35, 0.35, 0.38),
    "navy": (0.08, 0.1, 0.3),
    "brown": (0.35, 0.22, 0.1),
    "teal": (0.05, 0.35, 0.35),
}
SHAPES = ("circle", "square", "triangle", "cross", "ring")
DIRECTIONS: dict[str, tuple[int, int]] = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
QUADRANTS = ("northwest", "northeast", "southwest", "southeast")
MAX_SCENES = 4  # drawn where the number is not asked for
MOST_SCENES = 8
SWING = 0.15  # how far the camera drifts from the middle, in shares of the frame
JITTER = 0.02  # how far things of a near-duplicate scene are moved, in shares of the frame


@dataclass(frozen=True)
class WorldConfig:
    """Size of the videos, and what makes them harder or more redundant.

    With one seed, `drift` and `noise` change only what they say. The digit shows for one to three frames however many a
    video has: whoever samples fewer frames may miss it.

    Parameters
    ----------
    frames
        Frames of a video, at least 8 before the tail; a scene lasts at least an eighth of them.
    size
        Pixels along each side; below 112 things and digits are drawn larger, so that they survive patches of 8 pixels.
    scenes
        Number of scenes, 1 to 8; None: one to four, equally likely. Above four, two backgrounds are there once and the
        other two alternate.
    drift
        Pixels per frame at which the camera drifts to and fro along a line through the middle of the scene; the digit
        stays where it is on the screen.
    noise
        Standard deviation of the pixel noise on backgrounds, in units of the usual one (0.015 of white).
    tail
        Frames at the end that repeat the one before them to the bit.
    duplicates
        How many of the scenes are near-duplicates: the same things and motion as in an earlier one, the texture and the
        things moved by a few pixels. They come last and repeat the others in turn; at least two scenes are none.

    Raises
    ------
    ValueError
        If a number is outside its range.
    """

    frames: int = 32
    size: int = 112
    scenes: int | None = None
    drift: float | int = 0
    noise: float | int = 1
    tail: int = 0
    duplicates: int = 0

    def __post_init__(self) -> None:
        if self.frames < 8 or self.size < 32:
            raise ValueError(f"at least 8 frames of 32 pixels are needed, given {self.frames} of {self.size}")
        most = MAX_SCENES if self.scenes is None else self.scenes
        for name, value, low, high in (
            ("scenes", most, 1, MOST_SCENES),
            ("drift", self.drift, 0, self.size / 4),
            ("noise", self.noise, 0, 100),
            ("tail", self.tail, 0, self.frames - 8),
            ("duplicates", self.duplicates, 0, max(most - 2, 0)),
        ):
            if not low <= value <= high:
                raise ValueError(f"{name}={value} given, expected a number in [{low}, {high:g}]")

    @property
    def moving(self) -> int:
        """Frames before the tail."""
        return self.frames - self.tail

    @property
    def shortest_scene(self) -> int:
        """Frames of the shortest scene; cuts lie at multiples of it."""
        return self.moving // 8

    @property
    def is_small(self) -> bool:
        """Whether things are drawn larger."""
        return self.size < 112


@dataclass(frozen=True)
class Thing:
    """A coloured shape; places and radius in shares of the frame."""

    shape: str
    color: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    """One scene: a textured background, a thing that moves and one that stays.

    Parameters
    ----------
    background
        Name in `BACKGROUNDS`, different in every scene of a video of at most four that has no near-duplicates.
    direction
        In which the mover crosses half of the frame, centred, from the first frame of the scene to the last.
    mover, still
        The two things, of different shape and colour; the still one is drawn over the other.
    phases
        Of the texture's waves, radians.
    length
        Frames, the tail left out.
    copies
        Number of the earlier scene that this one is a near-duplicate of; None if it is none.
    """

    background: str
    direction: str
    mover: Thing
    still: Thing
    phases: tuple[float, float, float]
    length: int
    copies: int | None = None


@dataclass(frozen=True)
class Flash:
    """A digit that shows for a moment.

    Parameters
    ----------
    digit
        0 to 9.
    onset, length
        First frame, and number of frames; it may be cut off by the end of the video.
    quadrant
        Name in `QUADRANTS`.
    offset
        Of its corner inside the quadrant, in shares of the frame.
    """

    digit: int
    onset: int
    length: int
    quadrant: str
    offset: tuple[float, float]


@dataclass(frozen=True)
class VideoScript:
    """Everything that is seen in one video, but for the pixel noise.

    Parameters
    ----------
    config
        Size and options.
    scenes
        In order.
    flash
        The digit.
    camera
        Velocity of the drifting camera along x and y, pixels per frame.
    """

    config: WorldConfig
    scenes: tuple[Scene, ...]
    flash: Flash
    camera: tuple[float, float] = (0.0, 0.0)

    @property
    def scene_cuts(self) -> tuple[int, ...]:
        """The last frame of every scene but the last."""
        ends = torch.tensor([s.length for s in self.scenes]).cumsum(0) - 1
        return tuple(ends[:-1].tolist())


def sample_script(config: WorldConfig, generator: torch.Generator) -> VideoScript:
    """Draw a video at random.

    One to four scenes, equally likely, if `config` asks for no number; their cuts are the first of three (or as many as
    are needed) drawn without replacement among the multiples of the shortest scene.
    """
    count, edges = _edges(config, generator)
    backgrounds = torch.randperm(len(BACKGROUNDS), generator=generator).tolist()
    names = _names([list(BACKGROUNDS)[i] for i in backgrounds], count - config.duplicates)
    lengths = [stop - start for start, stop in pairwise(edges)]
    scenes = [_scene(config, generator, name, length) for name, length in zip(names, lengths, strict=False)]
    room = 0.18 if config.is_small else 0.22
    flash = Flash(
        digit=_integer(generator, 0, 10),
        onset=_integer(generator, 0, config.moving),
        length=_integer(generator, 1, 4),
        quadrant=QUADRANTS[_integer(generator, 0, 4)],
        offset=(_uniform(generator) * room, _uniform(generator) * room),
    )
    # options are drawn last, so that they change nothing else
    own = len(scenes)
    for i in range(config.duplicates):
        scenes.append(_near_duplicate(scenes, i % own, lengths[own + i], generator))
    angle = 6.28 * _uniform(generator) if config.drift else 0.0
    camera = (config.drift * math.cos(angle), config.drift * math.sin(angle))
    return VideoScript(config, tuple(scenes), flash, camera)


def _edges(config: WorldConfig, generator: torch.Generator) -> tuple[int, list[int]]:
    """Number of scenes, and first frames of all of them and of what follows."""
    least = 1 if not config.duplicates else config.duplicates + 2
    count = _integer(generator, least, MAX_SCENES + 1) if config.scenes is None else config.scenes
    unit = config.shortest_scene
    drawn = torch.randperm(config.moving // unit - 1, generator=generator)[: max(MAX_SCENES, count) - 1]
    cuts = torch.sort(drawn).values[: count - 1] + 1
    return count, [0, *(cuts * unit).tolist(), config.moving]


def _names(drawn: list[str], count: int) -> list[str]:
    """Backgrounds of scenes: each once where there are enough; else the first two once, between the others in turn."""
    if count <= len(drawn):
        return drawn[:count]
    one, other, *rest = drawn
    names = [rest[i % len(rest)] for i in range(count - 2)]
    half = len(names) // 2
    return [one, *names[:half], other, *names[half:]]


def _near_duplicate(scenes: list[Scene], number: int, length: int, generator: torch.Generator) -> Scene:
    """A scene with the things and the motion of an earlier one, moved a little."""
    like = scenes[number]

    def moved(thing: Thing) -> Thing:
        dx, dy = (JITTER * (2 * _uniform(generator) - 1) for _ in range(2))
        return replace(thing, x=min(max(thing.x + dx, 0.22), 0.78), y=min(max(thing.y + dy, 0.22), 0.78))

    first, second, third = (phase + 0.3 * (2 * _uniform(generator) - 1) for phase in like.phases)
    return replace(
        like,
        mover=moved(like.mover),
        still=moved(like.still),
        phases=(first, second, third),
        length=length,
        copies=number,
    )


def _scene(config: WorldConfig, generator: torch.Generator, background: str, length: int) -> Scene:
    shapes = torch.randperm(len(SHAPES), generator=generator)[:2].tolist()
    colors = torch.randperm(len(COLORS), generator=generator)[:2].tolist()
    smallest = 0.12 if config.is_small else 0.09
    mover, still = (
        Thing(
            shape=SHAPES[shape],
            color=list(COLORS)[color],
            x=0.22 + 0.56 * _uniform(generator),
            y=0.22 + 0.56 * _uniform(generator),
            radius=smallest + 0.05 * _uniform(generator),
        )
        for shape, color in zip(shapes, colors, strict=True)
    )
    direction = list(DIRECTIONS)[_integer(generator, 0, len(DIRECTIONS))]
    first, second, third = (6.28 * _uniform(generator) for _ in range(3))
    return Scene(background, direction, mover, still, (first, second, third), length)


def _uniform(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator))


def _integer(generator: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high, (), generator=generator))
