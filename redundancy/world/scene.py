"""What happens in a video of the procedural world, as a value: scenes of two things, and a digit that flashes."""

from __future__ import annotations

from dataclasses import dataclass

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
MAX_SCENES = 4


@dataclass(frozen=True)
class WorldConfig:
    """Size of the videos.

    Parameters
    ----------
    frames
        Frames of a video, at least 8; a scene lasts at least an eighth of them.
    size
        Pixels along each side; below 112 things and digits are drawn larger, so that they survive patches of 8 pixels.

    Raises
    ------
    ValueError
        If `frames` is below 8 or `size` below 32.
    """

    frames: int = 16
    size: int = 64

    def __post_init__(self) -> None:
        if self.frames < 8 or self.size < 32:
            raise ValueError(f"at least 8 frames of 32 pixels are needed, given {self.frames} of {self.size}")

    @property
    def shortest_scene(self) -> int:
        """Frames of the shortest scene; cuts lie at multiples of it."""
        return self.frames // 8

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
        Name in `BACKGROUNDS`, different in every scene of a video.
    direction
        In which the mover crosses half of the frame, centred, from the first frame of the scene to the last.
    mover, still
        The two things, of different shape and colour; the still one is drawn over the other.
    phases
        Of the texture's waves, radians.
    length
        Frames.
    """

    background: str
    direction: str
    mover: Thing
    still: Thing
    phases: tuple[float, float, float]
    length: int


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
    """Everything that is seen in one video, but for the pixel noise."""

    config: WorldConfig
    scenes: tuple[Scene, ...]
    flash: Flash

    @property
    def scene_cuts(self) -> tuple[int, ...]:
        """The last frame of every scene but the last."""
        ends = torch.tensor([s.length for s in self.scenes]).cumsum(0) - 1
        return tuple(ends[:-1].tolist())


def sample_script(config: WorldConfig, generator: torch.Generator) -> VideoScript:
    """Draw a video at random.

    One to four scenes, equally likely; their cuts are the first of three drawn without replacement among the multiples
    of the shortest scene.

    Source: own.
    """
    count = _integer(generator, 1, MAX_SCENES + 1)
    unit = config.shortest_scene
    places = config.frames // unit - 1
    cuts = torch.sort(torch.randperm(places, generator=generator)[: MAX_SCENES - 1]).values[: count - 1] + 1
    edges = [0, *(cuts * unit).tolist(), config.frames]
    backgrounds = torch.randperm(len(BACKGROUNDS), generator=generator).tolist()
    names = list(BACKGROUNDS)
    scenes = tuple(_scene(config, generator, names[backgrounds[i]], edges[i + 1] - edges[i]) for i in range(count))
    room = 0.18 if config.is_small else 0.22
    flash = Flash(
        digit=_integer(generator, 0, 10),
        onset=_integer(generator, 0, config.frames),
        length=_integer(generator, 1, 4),
        quadrant=QUADRANTS[_integer(generator, 0, 4)],
        offset=(_uniform(generator) * room, _uniform(generator) * room),
    )
    return VideoScript(config, scenes, flash)


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
