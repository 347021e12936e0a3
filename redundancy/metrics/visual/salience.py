"""Where salience concentrates in a frame, and whether density agrees with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.kernels.peaks import frame_peaks
from redundancy.metrics.kernels.ranks import spearman, top_count
from redundancy.metrics.registry import metric


class Concentration(NamedTuple):
    """How few tokens of each frame hold its salience: Gini, entropy deficit `[T]` and mass of the top `[T, top]`."""

    salience_concentration: Float[Tensor, "frames"]
    salience_entropy_deficit: Float[Tensor, "frames"]
    salience_top_mass: Float[Tensor, "frames top"]


class Agreement(NamedTuple):
    """Rank correlation and common top of salience and density score, `[T]` each."""

    salience_density_agreement: Float[Tensor, "frames"]
    salience_density_overlap: Float[Tensor, "frames"]


@metric(
    dims={
        "salience_concentration": ("frame",),
        "salience_entropy_deficit": ("frame",),
        "salience_top_mass": ("frame", "top"),
    },
    unit="1",
    bounds=(0, 1),
    higher="fewer tokens hold the salience of the frame",
    source="Gini 1912; own",
    known=("one-hot: 1 - 1 / N, 1, 1", "uniform: 0, 0, ceil(r N) / N"),
    undefined="with negative salience, or without any; the entropy deficit also for one token",
    scale=0,
    frame_order="equivariant",
    token_order="invariant",
    block="frame",
)
def salience_concentration(
    salience: Float[Tensor, "frames tokens"], *, top: Sequence[int | float] = (0.05, 0.1, 0.25)
) -> Concentration:
    """How unequal the tokens of a frame are in salience: Gini, entropy deficit, and mass of the most salient.

    With shares p in ascending order: Gini `sum (2 i - N - 1) p_i / N`; entropy deficit `1 - (-sum p ln p) / ln N`; mass
    of the `ceil(r N)` largest.

    Parameters
    ----------
    salience
        `[T, N]`, not negative.
    top
        Shares r of the tokens, in (0, 1].

    Returns
    -------
    `salience_concentration` (Gini) and `salience_entropy_deficit` `[T]`, `salience_top_mass` `[T, top]`, float32.

    Raises
    ------
    ValueError
        If a share is not in (0, 1].
    """
    N = salience.shape[-1]
    s = salience.double().sort(-1).values
    p = (s / s.sum(-1, keepdim=True)).masked_fill(s[:, :1] < 0, torch.nan)
    weight = torch.arange(1 - N, N, 2, dtype=p.dtype, device=p.device)
    deficit = 1 - torch.special.entr(p).sum(-1) / math.log(N) if N > 1 else p[:, 0] * torch.nan
    mass = [p[:, N - top_count(share, N) :].sum(-1) for share in top]
    return Concentration((p @ weight / N).float(), deficit.float(), torch.stack(mass, -1).float())


@metric(
    dims={"salience_density_agreement": ("frame",), "salience_density_overlap": ("frame",)},
    unit="1",
    bounds=(-1, 1),
    higher="the salient tokens are also the centres of clusters",
    known=("salience = density score: 1 and 1", "salience = -density score: -1"),
    undefined="in frames in which salience or density score is constant",
    frame_order="equivariant",
    token_order="invariant",
    block="frame",
)
def salience_density_agreement(
    salience: Float[Tensor, "frames tokens"],
    tokens: Float[Tensor, "frames tokens channels"],
    *,
    top: int | float = 0.25,
    k: int = 4,
) -> Agreement:
    """Whether salience and density score rank the tokens of a frame alike, and pick the same ones.

    Spearman's rank correlation of both; Jaccard index of the `ceil(top N)` best of each, equal ones by lowest index.

    Parameters
    ----------
    salience
        `[T, N]`.
    tokens
        `[T, N, D]`.
    top
        Share of the tokens in (0, 1].
    k
        Neighbours of the density, the token itself included.

    Returns
    -------
    `salience_density_agreement` `[T]` and `salience_density_overlap` `[T]` in [0, 1]; float32.

    Raises
    ------
    ValueError
        If top is not in (0, 1], or k is below 1.
    """
    count = top_count(top, salience.shape[-1])
    score = frame_peaks(tokens, k=k)[2]
    both = torch.stack([salience.float(), score])
    places = both.argsort(stable=True, dim=-1, descending=True)[..., :count]
    best = torch.zeros_like(both, dtype=torch.bool).scatter_(-1, places, True)
    overlap = best.all(0).sum(-1) / best.any(0).sum(-1)
    return Agreement(spearman(both[0], both[1]), overlap)
