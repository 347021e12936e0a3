"""DyCoke, token temporal merging at prefill: places that changed least since an earlier frame are dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import cosine_similarity

from redundancy.pruning.base import Kind, Method, require_range
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens


@dataclass(frozen=True)
class DyCoke(Method):
    """Selection by change: every second frame, and then every fourth, keeps only its most changed places.

    Parameters
    ----------
    K
        Share of a reduced frame's places that is removed, in [0, 1]; the rate follows from it and has no field.
    parity
        As the authors' code: kept places stand in order of change, an odd last frame is lost, and fewer than five
        frames are an error. By default places stand in raster order, an odd last frame stays whole, and with fewer
        than five frames only every second frame is reduced.

    The name says merging; nothing is averaged. Outputs are numbered on. The pruning of the cache while decoding is not
    part of this.

    Example
    -------
    >>> DyCoke(K=0.5)(tokens).achieved
    0.6875

    Source: DyCoke (arXiv:2411.15024), section 3.2; details from the authors' code.
    """

    name: ClassVar[str] = "dycoke"
    paper: ClassVar[str] = "DyCoke (arXiv:2411.15024)"
    kind: ClassVar[Kind] = "baseline"
    placement_rule: ClassVar[str] = "renumbered"

    K: float = 0.7
    parity: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("K", self.K, 0, 1)

    def bounds(self, tokens: VideoTokens) -> tuple[float, float]:
        """Exact: reduced frames keep `int((1 - K) N)` places; the authors' code loses an odd last frame."""
        T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
        reduced = len(range(0, T - 1, 2)) + len(range(0, T - 4, 4))
        whole = T - reduced - (1 if self.parity and T % 2 else 0)
        share = (whole + reduced * int((1 - self.K) * N) / N) / T
        return share, share

    def _decide(self, tokens: VideoTokens) -> Reduction:
        kept = dycoke(tokens.features, K=self.K, parity=self.parity)
        T = tokens.grid.frames
        notes = []
        if not self.parity and T % 2:
            notes.append("odd number of frames: the last one stays whole")
        if not self.parity and T < 5:
            notes.append("fewer than five frames: only every second frame is reduced")
        return self._select(tokens, kept, clamped=notes)


def dycoke(
    features: Float[Tensor, "frames tokens channels"], *, K: float, parity: bool = False
) -> Int64[Tensor, "kept"]:
    """Indices into T*N of what is kept, in output order.

    1. Frames i = 0, 2, 4, ... stay whole; frame i + 1 keeps the `int((1 - K) N)` places least like those of frame i.
    2. For i = 0, 4, 8, ... < T - 4 frame i + 2 keeps the places least like those of frame i.

    Raises
    ------
    ValueError
        With `parity`, for fewer than five frames.

    Source: DyCoke (arXiv:2411.15024), section 3.2; details from the authors' code.
    """
    T, N, _ = features.shape
    if parity and T < 5:
        raise ValueError(f"the authors' code needs at least 5 frames, given {T}")
    x, m = features.float(), int((1 - K) * N)
    reduced_by: dict[int, int] = {i + 1: i for i in range(0, T - 1, 2)} | {i + 2: i for i in range(0, T - 4, 4)}
    later, earlier = list(reduced_by), list(reduced_by.values())
    change = cosine_similarity(x[later], x[earlier], dim=-1) if later else x.new_zeros(0, N)
    least_like = change.sort(dim=1, stable=True).indices[:, :m]
    if not parity:
        least_like = least_like.sort(dim=1).values
    kept, whole = dict(zip(later, least_like, strict=True)), torch.arange(N, device=x.device)
    frames = T - 1 if parity and T % 2 else T
    return torch.cat([t * N + kept.get(t, whole) for t in range(frames)])
