"""Questions about a video whose answers are known, one skill each."""

from __future__ import annotations

import random
from collections.abc import Callable

from redundancy.questions import Question
from redundancy.world.scene import COLORS, DIRECTIONS, MAX_SCENES, QUADRANTS, SHAPES, Scene, VideoScript

NUMBERS = ("one", "two", "three", "four")
QUARTERS = ("quarter1", "quarter2", "quarter3", "quarter4")
DIGITS = tuple(str(i) for i in range(10))


def ask_all(script: VideoScript, *, seed: int) -> tuple[Question, ...]:
    """One question of every skill that the video allows; scenes and things asked about are drawn from the seed."""
    draw = random.Random(seed)
    asked = (ask(script, draw) for ask in _ASK.values())
    return tuple(question for question in asked if question is not None)


def ask(script: VideoScript, skill: str, draw: random.Random) -> Question | None:
    """A question of one skill about a scene and thing drawn at random; None where the video allows none.

    Raises
    ------
    ValueError
        If there is no such skill.
    """
    if skill not in _ASK:
        raise ValueError(f"skill={skill!r} given, expected one of {', '.join(_ASK)}")
    return _ASK[skill](script, draw)


def _named(script: VideoScript) -> tuple[Scene, ...]:
    """Scenes that their background tells from all others, near-duplicates left out: they give the same answers."""
    scenes = tuple(scene for scene in script.scenes if scene.copies is None)
    backgrounds = [scene.background for scene in scenes]
    return tuple(scene for scene in scenes if backgrounds.count(scene.background) == 1)


def _pick(script: VideoScript, draw: random.Random) -> Scene:
    return draw.choice(_named(script))


def _shape(script: VideoScript, draw: random.Random) -> Question:
    scene = _pick(script, draw)
    thing = draw.choice((scene.mover, scene.still))
    return Question("shape", f"in {scene.background} scene shape of {thing.color} ?", thing.shape, SHAPES)


def _direction(script: VideoScript, draw: random.Random) -> Question | None:
    moving = [scene for scene in _named(script) if scene.length > 1]  # nothing moves within one frame
    if not moving:
        return None
    scene = draw.choice(moving)
    return Question("direction", f"in {scene.background} scene which direction ?", scene.direction, tuple(DIRECTIONS))


def _color(script: VideoScript, draw: random.Random) -> Question:
    scene = _pick(script, draw)
    thing = draw.choice((scene.mover, scene.still))
    return Question("color", f"in {scene.background} scene color of {thing.shape} ?", thing.color, tuple(COLORS))


def _digit(script: VideoScript, draw: random.Random) -> Question:
    return Question("digit", "which digit flash ?", str(script.flash.digit), DIGITS)


def _when(script: VideoScript, draw: random.Random) -> Question:
    return Question("when", "when digit flash ?", QUARTERS[script.flash.onset * 4 // script.config.frames], QUARTERS)


def _where(script: VideoScript, draw: random.Random) -> Question:
    return Question("where", "where digit flash ?", script.flash.quadrant, QUADRANTS)


def _count(script: VideoScript, draw: random.Random) -> Question | None:
    if len(script.scenes) > MAX_SCENES:  # the small models' vocabulary counts to four
        return None
    return Question("count", "how many scenes ?", NUMBERS[len(script.scenes) - 1], NUMBERS[:MAX_SCENES])


def _first(script: VideoScript, draw: random.Random) -> Question | None:
    scenes = _named(script)  # in order
    if len(scenes) < 2:
        return None
    one, other = draw.sample(range(len(scenes)), 2)
    names = (scenes[one].background, scenes[other].background)
    return Question("first", f"which scene first {names[0]} or {names[1]} ?", scenes[min(one, other)].background, names)


_ASK: dict[str, Callable[[VideoScript, random.Random], Question | None]] = {
    "shape": _shape,
    "direction": _direction,
    "color": _color,
    "digit": _digit,
    "when": _when,
    "where": _where,
    "count": _count,
    "first": _first,
}
SKILLS = tuple(_ASK)
