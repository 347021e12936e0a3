"""Questions about a video whose answers are known."""

from __future__ import annotations

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
