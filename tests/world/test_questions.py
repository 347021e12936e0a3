"""Answers follow from the script, told by other means than the questions' code."""

from __future__ import annotations

import pytest

from redundancy.world.clips import script_of
from redundancy.world.questions import SKILLS, ask_all
from redundancy.world.scene import VideoScript, WorldConfig

CHANCE = {
    "shape": 1 / 5,
    "direction": 1 / 4,
    "color": 1 / 6,
    "digit": 1 / 10,
    "when": 1 / 4,
    "where": 1 / 4,
    "count": 1 / 4,
    "first": 1 / 2,
}


def answer(text: str, script: VideoScript) -> str:
    """The right answer, read off the words of the question."""
    words = text.split()
    by_background = {s.background: s for s in script.scenes}
    if words[0] == "in":
        scene = by_background[words[1]]
        if words[3] == "which":
            return scene.direction
        things = (scene.mover, scene.still)
        if words[3] == "shape":
            (thing,) = [t for t in things if t.color == words[5]]
            return thing.shape
        (thing,) = [t for t in things if t.shape == words[5]]
        return thing.color
    if words[0] == "which" and words[1] == "digit":
        return str(script.flash.digit)
    if words[0] == "which":
        order = [s.background for s in script.scenes]
        return min(words[3], words[5], key=order.index)
    if words[0] == "when":
        return f"quarter{1 + int(4 * script.flash.onset / script.config.frames)}"
    if words[0] == "where":
        return script.flash.quadrant
    return ["one", "two", "three", "four"][len(script.scenes) - 1]


@pytest.mark.parametrize("frames", [16, 32])
def test_answers_are_right_and_among_the_options(frames: int):
    for seed in range(200):
        script = script_of(seed, WorldConfig(frames, 64))
        questions = ask_all(script, seed=seed)
        expected = [s for s in SKILLS if s != "first" or len(script.scenes) > 1]
        assert [q.skill for q in questions] == expected
        for question in questions:
            assert question.answer == answer(question.text, script)
            assert question.answer in question.options
            assert question.chance == pytest.approx(CHANCE[question.skill])


def test_direction_is_asked_only_where_something_moves():
    lengths = []
    for seed in range(100):
        script = script_of(seed, WorldConfig(8, 64))
        by_background = {s.background: s.length for s in script.scenes}
        asked = [q for q in ask_all(script, seed=seed) if q.skill == "direction"]
        lengths += [by_background[q.text.split()[1]] for q in asked]
        assert bool(asked) == (max(by_background.values()) > 1)
    assert min(lengths) == 2
    assert min(s.length for seed in range(100) for s in script_of(seed, WorldConfig(8, 64)).scenes) == 1


def test_same_seed_same_questions():
    script = script_of(7, WorldConfig(16, 64))
    assert ask_all(script, seed=1) == ask_all(script, seed=1)
    assert len({ask_all(script, seed=s) for s in range(20)}) > 1


def test_words_are_those_of_the_bundled_model():
    from redundancy.models import load_model

    vocabulary = load_model("tiny-llava-onevision", device="cpu").processor.tokenizer.get_vocab()
    for seed in range(50):
        for question in ask_all(script_of(seed, WorldConfig(16, 64)), seed=seed):
            assert set(question.text.split()) | set(question.options) <= set(vocabulary)
