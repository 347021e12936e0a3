"""What a reduction covers of the tokens that it was made from."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

CHUNK = 4096


def reconstruction_error(
    features: Float[Tensor, "*given channels"], outputs: Float[Tensor, "kept channels"]
) -> Float[Tensor, ""]:
    """Relative error of replacing every token by its nearest output: `||X - X~||_F / ||X||_F`.

    Parameters
    ----------
    features
        Tokens before the reduction, `[T, N, D]` or `[S, D]`.
    outputs
        `[K, D]` what the reduction made of them: `reduction.apply(features)`.

    Returns
    -------
    A scalar, 0 if every token is among the outputs. Distances in float32, their squares summed in float64. NaN where
    all tokens are zero; 1 without any output.

    Source: own; METRICS.md, section 5.
    """
    tokens = features.reshape(-1, features.shape[-1]).float()
    total = tokens.double().square().sum()
    if not len(outputs):
        return (total / total).sqrt().float()
    kept = outputs.float()
    nearest = torch.cat([torch.cdist(part, kept).argmin(1) for part in torch.split(tokens, CHUNK)])
    residual = (tokens - kept[nearest]).double().square().sum()  # exact where a token is an output
    return (residual / total).sqrt().float()
