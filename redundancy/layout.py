"""Where the tokens of a video stand: grid, rotary positions as data, and what is around them in a family's prompt.

All names are found in `redundancy.tokens` too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

from jaxtyping import Float, Int
from torch import Tensor

from redundancy.checks import check_fields, require_tensor, whole_number

Newline = Literal["none", "end", "row"]
FastVIDVariant = Literal["onevision", "llava_video", "qwen"]


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


@dataclass(frozen=True)
class RotaryLayout:
    """Rotary position embedding as data: inverse frequencies, and the position axis that each one turns with.

    Parameters
    ----------
    inverse_frequency
        Radians per step of position, one per rotated pair of channels.
    axis
        For each frequency the row of `VideoTokens.positions` that drives it.
    axes
        Names of the position axes, in the order of those rows: `("position",)` or `("t", "h", "w")`.
    """

    inverse_frequency: Float[Tensor, "frequency"]
    axis: Int[Tensor, "frequency"]
    axes: tuple[str, ...] = ("position",)

    def __repr__(self) -> str:
        return f"RotaryLayout({len(self.axis)} frequencies on the axes {', '.join(self.axes)})"

    def __post_init__(self) -> None:
        check_fields(self)
        require_tensor("inverse_frequency", self.inverse_frequency, of="floating-point numbers", shape=("frequency",))
        require_tensor("axis", self.axis, of="whole numbers", shape=("frequency",))
        if self.inverse_frequency.shape != self.axis.shape:
            raise ValueError(
                f"one axis per frequency is expected: {len(self.inverse_frequency)} frequencies, {len(self.axis)} axes"
            )
        if self.axis.is_meta or self.inverse_frequency.is_meta:
            raise ValueError("tensors on the meta device given, expected frequencies and axes that have values")
        if len(self.axis) and not 0 <= int(self.axis.min()) <= int(self.axis.max()) < len(self.axes):
            raise ValueError(
                f"rotary axis must lie in 0..{len(self.axes) - 1}, given {sorted(set(self.axis.tolist()))}"
            )


@dataclass(frozen=True)
class TokenLayout:
    """What stands around the video tokens in the prompt of a model family, and what methods must know of the family.

    Parameters
    ----------
    family
        Name of the adapter, for example `"llava_onevision"`; nothing is decided by it.
    newline
        Where the family puts its newline embedding: `"row"` after each grid row of each frame (LLaVA-Video), `"end"`
        once after the video, where it counts as following text (LLaVA-OneVision), `"none"` (Qwen).
    frame_text
        True where text (a timestamp) stands between the frames, so that each frame is a run of its own (Qwen3-VL).
    salience, frame_features
        Sources that are native to the family's tower: what methods read that leave the source to the family.
    grid_positions
        True where position ids follow the grid (three axes), False where tokens are numbered through.
    fastvid
        The budgets that FastVID's authors wrote for the family.
    """

    family: str
    newline: Newline = "none"
    frame_text: bool = False
    salience: str = "pooling_head"
    frame_features: str = "pooling_head"
    grid_positions: bool = False
    fastvid: FastVIDVariant = "onevision"

    def __post_init__(self) -> None:
        check_fields(self)
        for name, allowed in (("newline", get_args(Newline)), ("fastvid", get_args(FastVIDVariant))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name}={getattr(self, name)!r} given, expected one of {allowed}")

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> TokenLayout:
        """The layout that a capture holds; of one stored before a layout held all facts, those of its family.

        Raises
        ------
        ValueError
            If facts are missing and the family is none whose facts are known, or if there are unknown ones.
        """
        names = {f.name for f in fields(cls)}
        if unknown := sorted(set(stored) - names):
            raise ValueError(f"a layout with {unknown} given, expected {sorted(names)}: it is of a newer version")
        missing = names - set(stored)
        if not missing:
            return cls(**stored)
        family = str(stored.get("family"))
        if "family" not in stored or family not in _BEFORE_FACTS:
            raise ValueError(
                f"the layout of the family {family!r} given without {sorted(missing)}: it was stored by an older "
                f"version, which knew {', '.join(_BEFORE_FACTS)}; capture the clip again"
            )
        return cls(**{**_BEFORE_FACTS[family], **stored})


# Facts of the families as of the version that stored a layout without them; adapters of today say their own.
_QWEN = {"salience": "mean_query", "frame_features": "mean", "grid_positions": True, "fastvid": "qwen"}
_BEFORE_FACTS: dict[str, dict[str, Any]] = {
    "unknown": {},
    "llava_onevision": {},
    "llava_video": {"fastvid": "llava_video"},
    **dict.fromkeys(("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe"), _QWEN),
}
