"""Questions about a video whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A question with one right answer among its options.

    Parameters
    ----------
    skill
        Name in `SKILLS`.
    text
        In the words of the small models' vocabulary.
    answer
        One word.
    options
        Every possible answer, the right one among them.
    """

    skill: str
    text: str
    answer: str
    options: tuple[str, ...]

    @property
    def chance(self) -> float:
        """Accuracy of guessing among the options."""
        return 1 / len(self.options)


def one_per_skill(questions: Sequence[Question], skills: Sequence[str], *, otherwise: str) -> tuple[Question, ...]:
    """The first question of each skill, in the order of the skills; without any the text `otherwise`, of no answer.

    >>> [q.skill for q in one_per_skill([], ["digit"], otherwise="what happens ?")]
    ['prompt']
    """
    first = {q.skill: q for q in reversed(questions)}
    found = tuple(first[skill] for skill in skills if skill in first)
    return found or (Question("prompt", otherwise, "", ("",)),)
