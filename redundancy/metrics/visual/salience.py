"""Where salience concentrates, whether density agrees with it, and places that attract it in every frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from redundancy.metrics.kernels.gram import ROUNDING, frame_blocks, quantiles
from redundancy.metrics.kernels.peaks import frame_peaks
from redundancy.metrics.kernels.ranks import spearman, top_count
from redundancy.metrics.registry import metric

NORMAL_MAD = 1.4826  # the standard deviation of a normal distribution over its median absolute deviation


class Concentration(NamedTuple):
    """How few tokens of each frame hold its salience: Gini, entropy deficit `[T]` and mass of the top `[T, top]`."""

    salience_concentration: Float[Tensor, "frames"]
    salience_entropy_deficit: Float[Tensor, "frames"]
    salience_top_mass: Float[Tensor, "frames top"]


class Agreement(NamedTuple):
    """Rank correlation and common top of salience and density score, `[T]` each."""

    salience_density_agreement: Float[Tensor, "frames"]
    salience_density_overlap: Float[Tensor, "frames"]


class Sinks(NamedTuple):
    """Places of outlying norm: 1 or 0, and the share of frames in which each one is an outlier, `[N]` each."""

    sinks: Float[Tensor, "tokens"]
    sink_share: Float[Tensor, "tokens"]


class SalienceSinks(NamedTuple):
    """Places of outlying salience: 1 or 0, and the share of frames in which each one is an outlier, `[N]` each."""

    sinks_salience: Float[Tensor, "tokens"]
    sink_share_salience: Float[Tensor, "tokens"]


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
    `salience_concentration` (Gini) and `salience_entropy_deficit` `[T]`, `salience_top_mass` `[T, top]`, float32 in
    [0, 1]; NaN in frames with negative salience or without any, the entropy deficit also for one token.

    Raises
    ------
    ValueError
        If a share is not in (0, 1].

    Source: Gini 1912; own.
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
    source="own",
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
    `salience_density_agreement` `[T]` in [-1, 1], NaN where salience or score is constant;
    `salience_density_overlap` `[T]` in [0, 1]; float32.

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


def _outlying(values: Float[Tensor, "frames tokens"], factor: int | float) -> Bool[Tensor, "frames tokens"]:
    """Whether a value lies above `median + factor * 1.4826 * MAD` of its frame, by more than rounding."""
    if factor < 0:
        raise ValueError(f"factor={factor} given, expected a number of deviations, at least 0")
    middle = quantiles(values, [0.5])
    deviation = NORMAL_MAD * quantiles((values - middle).abs(), [0.5])
    return values > middle + factor * deviation + ROUNDING * middle.abs()


def _usual(
    flags: Bool[Tensor, "frames tokens"], share: int | float
) -> tuple[Float[Tensor, "tokens"], Float[Tensor, "tokens"]]:
    """Places flagged in at least that share of the frames, 1 or 0, and the shares."""
    if not 0 < share <= 1:
        raise ValueError(f"share={share} given, expected a share of the frames in (0, 1]")
    found = flags.double().mean(0)
    return (found >= share - 1e-9).float(), found.float()  # 3 * (1 / 3) need not be 1


def _outlying_norms(
    carry: Tensor | None, block: Tensor, before: Tensor | None, *, factor: int | float, share: int | float
) -> Tensor:
    norms = torch.cat([torch.linalg.vector_norm(part.float(), dim=-1) for part in frame_blocks(block)])
    outlying = _outlying(norms, factor)
    return outlying if carry is None else torch.cat([carry, outlying])


def _sinks(outlying: Tensor, *, factor: int | float, share: int | float) -> Sinks:
    return Sinks(*_usual(outlying, share))


@metric(
    dims={"sinks": ("token",), "sink_share": ("token",)},
    unit="1",
    bounds=(0, 1),
    higher="the place holds a token of outlying norm in most frames",
    source="own, after Darcet et al. 2024 (arXiv:2309.16588)",
    known=("a place of 20 times the norm in 4 of 5 frames: 1, share 0.8", "other places: 0"),
    scale=0,
    frame_order="invariant",
    token_order="equivariant",
    parts=(_outlying_norms, _sinks),
)
def sinks(
    tokens: Float[Tensor, "frames tokens channels"], *, factor: int | float = 6.0, share: int | float = 0.8
) -> Sinks:
    """Grid places whose token has an outlying norm, frame after frame.

    Outlying is a norm above `median + factor * 1.4826 * MAD` of its frame (MAD: median absolute deviation from the
    median), rounding aside; a sink is a place where that is so in at least `share` of the frames.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    factor
        Robust standard deviations.
    share
        Of the frames, in (0, 1].

    Returns
    -------
    `[N]` each, float32: `sinks` 1 or 0, `sink_share` the share of frames.

    Raises
    ------
    ValueError
        If factor or share is out of range.

    Source: own, after Darcet et al. 2024 (arXiv:2309.16588).
    """
    return _sinks(_outlying_norms(None, tokens, None, factor=factor, share=share), factor=factor, share=share)


@metric(
    dims={"sinks_salience": ("token",), "sink_share_salience": ("token",)},
    unit="1",
    bounds=(0, 1),
    higher="the place holds a token of outlying salience in most frames",
    source="own, after Darcet et al. 2024 (arXiv:2309.16588)",
    known=("a place of 20 times the salience in 4 of 5 frames: 1, share 0.8", "other places: 0"),
    scale=0,
    frame_order="invariant",
    token_order="equivariant",
)
def sinks_salience(
    salience: Float[Tensor, "frames tokens"], *, factor: int | float = 6.0, share: int | float = 0.8
) -> SalienceSinks:
    """Grid places whose token has outlying salience, frame after frame; as `sinks`, of salience instead of norm.

    Parameters
    ----------
    salience
        `[T, N]`.
    factor
        Robust standard deviations.
    share
        Of the frames, in (0, 1].

    Returns
    -------
    `[N]` each, float32: `sinks_salience` 1 or 0, `sink_share_salience` the share of frames.

    Raises
    ------
    ValueError
        If factor or share is out of range.

    Source: own, after Darcet et al. 2024 (arXiv:2309.16588).
    """
    return SalienceSinks(*_usual(_outlying(salience.float(), factor), share))
