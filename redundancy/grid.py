"""The shape of a video's tokens."""

from __future__ import annotations

from typing import NamedTuple

from redundancy.checks import whole_number


class _Grid(NamedTuple):
    frames: int
    rows: int
    cols: int


class TokenGrid(_Grid):
    """Shape of the tokens of a video: temporal steps, grid rows and grid columns.

    Raises
    ------
    TypeError
        If one is no whole number.
    ValueError
        If a row or column is missing, or the number of frames is negative.
    """

    __slots__ = ()

    def __new__(cls, frames: int, rows: int, cols: int) -> TokenGrid:
        """Checked, and as Python's numbers."""
        return super().__new__(
            cls,
            whole_number("frames", frames, least=0),
            whole_number("rows", rows, least=1),
            whole_number("cols", cols, least=1),
        )

    def __str__(self) -> str:
        return " x ".join(map(str, self))

    @property
    def tokens_per_frame(self) -> int:
        """N = rows * cols."""
        return self.rows * self.cols
