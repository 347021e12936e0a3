"""How near the outputs of a reduction are to the tokens that it was made from; outputs are those of `video_outputs`."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.kernels.outputs import CHUNK, error_of_outputs, video_outputs
from redundancy.metrics.registry import metric
from redundancy.reduction import Reduction


class NearestDistance(NamedTuple):
    """Cosine distance to the nearest output: mean, largest (the radius of a k-centre), and per token `[T, N]`."""

    nearest_distance: Float[Tensor, ""]
    kcentre_radius: Float[Tensor, ""]
    nearest_distance_of_token: Float[Tensor, "frames tokens"]


@metric(
    dims={"nearest_distance": (), "kcentre_radius": (), "nearest_distance_of_token": ("frame", "token")},
    unit="1",
    bounds=(0, 2),
    higher="tokens are further from anything that was kept",
    source="own; radius: Sener and Savarese 2018 (arXiv:1708.00489), section 4",
    known=("keep-all: 0", "one of two orthogonal tokens kept: mean 1/2, radius 1"),
    undefined="for zero tokens; without an output that is not zero",
    scale=0,
)
def nearest_distance(tokens: Float[Tensor, "frames tokens channels"], reduction: Reduction) -> NearestDistance:
    """Cosine distance of every token to its nearest output, `min_k 1 - cos(x[t, n], y[k])`.

    Parameters
    ----------
    tokens
        `[T, N, D]` before the reduction.

    Returns
    -------
    Mean and maximum over the tokens that are not zero, and the distances; exactly 0 for a token that is an output.
    The nearest output is found in float32, its distance is `||u - v||^2 / 2` of the unit vectors.

    Raises
    ------
    ValueError
        If the tokens are not those of the reduction's video.
    """
    outputs = _unit(video_outputs(tokens, reduction))
    outputs = outputs[~outputs.isnan().any(1)]
    x = _unit(tokens.float().flatten(0, 1))
    if not len(outputs):
        nothing = torch.full_like(x[:, 0], torch.nan)
        return NearestDistance(nothing.mean(), nothing.mean(), nothing.view(tokens.shape[:2]))
    parts = torch.split(x, CHUNK)
    distance = torch.cat([(p - outputs[(p @ outputs.T).argmax(1)]).square().sum(1) / 2 for p in parts])
    known = distance[~distance.isnan()]
    radius = known.max() if len(known) else known.mean()
    return NearestDistance(known.mean(), radius, distance.view(tokens.shape[:2]))


@metric(
    dims=(),
    unit="1",
    bounds=(0, math.inf),
    higher="more of the tokens is lost",
    known=("keep-all: 0", "|(0, 4) - (3, 0)| = 5 = |X|: 1"),
    undefined="where all tokens are zero",
    scale=0,
)
def reconstruction_error(tokens: Float[Tensor, "frames tokens channels"], reduction: Reduction) -> Float[Tensor, ""]:
    """Relative error of replacing every token by its nearest output: `||X - X~||_F / ||X||_F`.

    Parameters
    ----------
    tokens
        `[T, N, D]` before the reduction.

    Returns
    -------
    A scalar, 0 if every token is among the outputs; 1 without any output; see `error_of_outputs`.

    Raises
    ------
    ValueError
        If the tokens are not those of the reduction's video.
    """
    return error_of_outputs(tokens, video_outputs(tokens, reduction))


def _unit(x: Float[Tensor, "rows channels"]) -> Float[Tensor, "rows channels"]:
    """Rows at unit length; NaN for zero rows."""
    unit: Tensor = x / torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return unit
