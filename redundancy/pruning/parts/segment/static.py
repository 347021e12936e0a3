"""HoliTom's windows of static places as segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Int64
from torch import Tensor

from redundancy.metrics.temporal import token_persistence
from redundancy.pruning.base import require_frames, require_range
from redundancy.pruning.parts.segment.base import Segmenter
from redundancy.pruning.parts.windows import static_windows
from redundancy.tokens import VideoTokens


@dataclass(frozen=True)
class StaticWindows(Segmenter):
    """Windows that save the most static tokens; see `static_windows`.

    Example
    -------
    >>> StaticWindows(tau=0.8)(tokens).tolist()
    [5, 3]

    Source: HoliTom (arXiv:2505.21334), section 3.2.
    """

    name: ClassVar[str] = "static_windows"
    source: ClassVar[str] = "HoliTom (arXiv:2505.21334), section 3.2"

    tau: float = 0.8
    max_window: int = 1024

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("max_window", self.max_window, 0)

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Window lengths of one video."""
        require_frames(tokens)
        return static_windows(token_persistence(tokens.features), tau=self.tau, max_window=self.max_window).lengths
