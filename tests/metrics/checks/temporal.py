"""Checks of the temporal metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial.distance import cosine

from tests.metrics.checks.case import Checks, Known, randn


def frames(seed: int, T: int, N: int, D: int) -> dict[str, Any]:
    return {"frame_features": randn(T, D, seed=seed)}


def transition_similarity(frame_features: torch.Tensor) -> Float[np.ndarray, "transitions"]:
    f = frame_features.double().numpy()
    return np.array([1 - cosine(f[t], f[t + 1]) for t in range(len(f) - 1)])


CHECKS: dict[str, Checks] = {
    "transition_similarity": Checks(
        known=(
            Known("static", {"frame_features": randn(1, 8).expand(4, 8)}, 1.0),
            Known("at 60 degrees", {"frame_features": torch.tensor([[1.0, 0.0], [0.5, 0.75**0.5]])}, 0.5),
        ),
        oracle=transition_similarity,
        sample=frames,
    ),
}
