"""How much of a frame the next one repeats: the cosine of frame features, and of the tokens of each place.

Everything is computed in float32 from whatever dtype comes in, sums over a video in float64. A zero vector has no
direction: its cosines are NaN.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.registry import NULLS, metric


@metric(
    dims=("transition",),
    unit="1",
    bounds=(-1, 1),
    higher="more redundant: the next frame looks like this one",
    source="FastVID (arXiv:2503.11187), section 3.2",
    known=("static video: 1", "features at 60 degrees: 0.5"),
    nulls=("shuffle_frames", "gaussian"),
    undefined="next to a zero vector",
    scale=0,
    block="transition",
)
def transition_similarity(frame_features: Float[Tensor, "frames channels"]) -> Float[Tensor, "transitions"]:
    """Cosine of the features of neighbouring frames, `s[t] = cos(f[t], f[t+1])`.

    Parameters
    ----------
    frame_features
        `[T, F]`.

    Returns
    -------
    `[T-1]` float32. Norms and products are summed in float64, so that equal pairs of frames have exactly equal
    similarities.

    Examples
    --------
    >>> transition_similarity(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
    tensor([1., 0.])
    """
    f = frame_features.double()
    unit = f / torch.linalg.vector_norm(f, dim=-1, keepdim=True)
    similarity: Tensor = (unit[:-1] * unit[1:]).sum(-1).float()
    return similarity


@metric(
    dims=("transition", "token"),
    unit="1",
    bounds=(-1, 1),
    higher="more redundant: the next frame holds the same content at this place",
    source="HoliTom (arXiv:2505.21334), section 3.2",
    known=("static video: 1", "tokens at 60 degrees: 0.5"),
    nulls=NULLS,
    undefined="next to a zero token",
    scale=0,
    token_order="equivariant",
    block="transition",
)
def token_persistence(tokens: Float[Tensor, "frames tokens channels"]) -> Float[Tensor, "transitions tokens"]:
    """Cosine of the tokens at the same place of neighbouring frames, `f[t, n] = cos(x[t, n], x[t+1, n])`.

    Parameters
    ----------
    tokens
        `[T, N, D]`.

    Returns
    -------
    `[T-1, N]` float32.
    """
    x = tokens.float()
    T, N, D = x.shape
    # one batched product of rows and columns: no [T, N, D] temporary
    product = torch.bmm(x[:-1].reshape(-1, 1, D), x[1:].reshape(-1, D, 1)).reshape(max(T - 1, 0), N)
    norm = torch.linalg.vector_norm(x, dim=-1)
    similarity: Tensor = product / (norm[:-1] * norm[1:])
    return similarity
