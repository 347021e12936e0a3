"""Places that hold an outlying token in most frames."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from redundancy.metrics.kernels.gram import ROUNDING, frame_blocks, quantiles
from redundancy.metrics.registry import metric

NORMAL_MAD = 1.4826  # the standard deviation of a normal distribution over its median absolute deviation


class Sinks(NamedTuple):
    """Places of outlying norm: 1 or 0, and the share of frames in which each one is an outlier, `[N]` each."""

    sinks: Float[Tensor, "tokens"]
    sink_share: Float[Tensor, "tokens"]


class SalienceSinks(NamedTuple):
    """Places of outlying salience: 1 or 0, and the share of frames in which each one is an outlier, `[N]` each."""

    sinks_salience: Float[Tensor, "tokens"]
    sink_share_salience: Float[Tensor, "tokens"]


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
    """
    return SalienceSinks(*_usual(_outlying(salience.float(), factor), share))
