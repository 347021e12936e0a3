"""The path that frame features take through feature space."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-6


def frame_representation(tokens: Float[Tensor, "frames tokens channels"]) -> Float[Tensor, "frames channels"]:
    """Mean token of each frame at unit length, `z[t] = mean / max(||mean||, 1e-6)`, float32.

    Source: V-CAST (arXiv:2603.27650), section 3.2; the bound is the authors' code's.
    """
    mean = tokens.mean(1, dtype=torch.float32)
    unit: Tensor = mean / torch.linalg.vector_norm(mean, dim=-1, keepdim=True).clamp_min(EPSILON)
    return unit


def curvature(points: Float[Tensor, "frames channels"], *, convention: str = "vcast") -> Float[Tensor, "frames"]:
    """How sharply a trajectory turns at each frame, `kappa[t] = 1 - cos(z[t] - z[t-1], z[t+1] - z[t])`.

    Parameters
    ----------
    points
        `[T, F]` one point per frame; V-CAST takes `frame_representation(tokens)`.
    convention
        `"vcast"`: 1 (a right angle) at both ends and where nothing moves, lengths at least 1e-6;
        `"geometric"`: NaN there.

    Returns
    -------
    `[T]` float32 in [0, 2]: 0 straight on, 1 a right angle, 2 back.

    Raises
    ------
    ValueError
        If the convention is neither.

    Source: V-CAST (arXiv:2603.27650), section 3.2, eq. 2.
    """
    if convention not in ("vcast", "geometric"):
        raise ValueError(f"convention={convention!r} given, expected 'vcast' or 'geometric'")
    z = points.float()
    step = z[1:] - z[:-1]
    length = torch.linalg.vector_norm(step, dim=-1)
    if convention == "vcast":
        length = length.clamp_min(EPSILON)
    ends = z.new_full((len(z),), 1.0 if convention == "vcast" else torch.nan)
    if len(z) > 2:
        ends[1:-1] = 1 - (step[:-1] * step[1:]).sum(-1) / (length[:-1] * length[1:])
    return ends
