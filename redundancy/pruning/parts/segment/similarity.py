"""DySeg, FastVID's segments: cuts at the least similar transitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.metrics.temporal import transition_similarity
from redundancy.pruning.base import Needs, require_frames, require_range
from redundancy.pruning.host import to_host
from redundancy.pruning.parts.segment.base import Segmenter, cuts_to_lengths, frame_features
from redundancy.tokens import TokenLayout, VideoTokens


@dataclass(frozen=True)
class DySeg(Segmenter):
    """Cuts at the least similar transitions and at those below tau; see `dyseg`.

    Example
    -------
    >>> DySeg(c=2)(tokens).tolist()
    [5, 3]

    Source: FastVID (arXiv:2503.11187), section 3.2, eq. 2.
    """

    name: ClassVar[str] = "dyseg"
    source: ClassVar[str] = "FastVID (arXiv:2503.11187), section 3.2"

    c: int = 8
    tau: float = 0.9
    features: str = "mean"
    parity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("c", self.c, 1)

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Segment lengths of one video."""
        require_frames(tokens)
        similarity = transition_similarity(frame_features(tokens, self.features))
        return dyseg(similarity, c=self.c, tau=self.tau, parity=self.parity)

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """The frame features that it compares; those of the tokens' means need nothing."""
        return Needs(frame_features=None if self.features == "mean" else self.features)


def dyseg(
    similarity: Float[Tensor, "transitions"], *, c: int, tau: float, parity: bool = False
) -> Int64[Tensor, "segments"]:
    """Cut the c-1 least similar transitions and every transition below tau.

    Parameters
    ----------
    similarity
        `[T-1]` transition similarity; NaN where a frame feature is zero.
    c
        Smallest number of segments; at most T of them exist, so c counts as `min(c, T)`.
    tau
        Transitions with a similarity strictly below are cuts as well.
    parity
        As the authors' code: a NaN is never a cut. By default it counts as similarity 0.

    Returns
    -------
    `[segments]` lengths; equal similarities are cut from the lowest index.

    Source: FastVID (arXiv:2503.11187), section 3.2, eq. 2.
    """
    s = to_host(similarity.float()).nan_to_num(torch.inf if parity else 0.0)
    least = s.sort(stable=True).indices[: max(min(c, len(s) + 1) - 1, 0)]
    cut = s < tau
    cut[least[torch.isfinite(s[least])]] = True
    return cuts_to_lengths(cut.nonzero().flatten(), len(s) + 1)
