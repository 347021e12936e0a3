"""Density peaks of the tokens of one frame."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.kernels.peaks import frame_peaks
from redundancy.metrics.registry import metric

PEAKS = "FastVID (arXiv:2503.11187), section 3.3, after Rodriguez and Laio 2014"


@metric(
    dims=("frame", "token"),
    unit="1",
    bounds=(0, 1),
    higher="the token lies closer to its nearest neighbours",
    source=PEAKS,
    known=("identical tokens: 1", "two tokens at distance d, k = 2: exp(-d^2 / 2)"),
    frame_order="equivariant",
    token_order="equivariant",
    block="frame",
)
def density(tokens: Float[Tensor, "frames tokens channels"], *, k: int = 4) -> Float[Tensor, "frames tokens"]:
    """Local density of each token in its frame, `exp(-mean squared distance to its k nearest)`; see `density_peaks`.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    k
        Neighbours, the token itself included.

    Returns
    -------
    `[T, N]` float32.

    Raises
    ------
    ValueError
        If k is below 1.
    """
    return frame_peaks(tokens, k=k)[0]


@metric(
    dims=("frame", "token"),
    unit="feature units / sqrt(D)",
    bounds=(0, math.inf),
    higher="the token lies farther from any denser one",
    source=PEAKS,
    known=("identical tokens: 0", "the densest token: the largest distance in the frame"),
    frame_order="equivariant",
    token_order="equivariant",
    block="frame",
)
def parent_distance(tokens: Float[Tensor, "frames tokens channels"], *, k: int = 4) -> Float[Tensor, "frames tokens"]:
    """Distance of each token to the nearest denser one of its frame, in units of `sqrt(D)`; see `density_peaks`.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    k
        Neighbours of the density, the token itself included.

    Returns
    -------
    `[T, N]` float32; for the densest tokens the largest distance of the frame.

    Raises
    ------
    ValueError
        If k is below 1.
    """
    return frame_peaks(tokens, k=k)[1]


@metric(
    dims=("frame", "token"),
    unit="feature units / sqrt(D)",
    bounds=(0, math.inf),
    higher="the token is more of a cluster's centre",
    source=PEAKS,
    known=("identical tokens: 0", "a dense token far from denser ones: the product of both"),
    frame_order="equivariant",
    token_order="equivariant",
    block="frame",
)
def density_score(tokens: Float[Tensor, "frames tokens channels"], *, k: int = 4) -> Float[Tensor, "frames tokens"]:
    """Density times parent distance: high at the centre of each cluster of a frame; see `density_peaks`.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    k
        Neighbours of the density, the token itself included.

    Returns
    -------
    `[T, N]` float32.

    Raises
    ------
    ValueError
        If k is below 1.
    """
    return frame_peaks(tokens, k=k)[2]
