"""How sharply the path of the frame features turns, and where.

Differences of frames and their sums of squares are float64, results float32; `curvature`, which pruning uses, is
float32 throughout.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.metrics.registry import metric
from redundancy.metrics.trajectory.steps import ORDER_NULLS, norm, steps

EPSILON = 1e-6


def frame_representation(tokens: Float[Tensor, "frames tokens channels"]) -> Float[Tensor, "frames channels"]:
    """Mean token of each frame at unit length, `z[t] = mean / max(||mean||, 1e-6)`, float32.

    Source: V-CAST (arXiv:2603.27650), section 3.2; the bound is the authors' code's.
    """
    mean = tokens.mean(1, dtype=torch.float32)
    unit: Tensor = mean / torch.linalg.vector_norm(mean, dim=-1, keepdim=True).clamp_min(EPSILON)
    return unit


@metric(
    dims=("frame",),
    unit="degrees",
    bounds=(0, 180),
    higher="sharper turns: the next step cannot be told from the last",
    source="Henaff et al. 2019 (doi:10.1038/s41593-019-0377-4), perceptual straightening",
    known=("line: 0", "right angle: 90", "reversal: 180"),
    nulls=ORDER_NULLS,
    undefined="at both ends and next to a step without motion",
    scale=0,
)
def turning_angle(points: Float[Tensor, "frames channels"]) -> Float[Tensor, "frames"]:
    """Angle between the step to a frame and the step from it, `2 atan2(||u - v||, ||u + v||)` of the unit steps u, v.

    This form is exact to rounding at small and at flat angles, where the arc cosine is not.

    Parameters
    ----------
    points
        `[T, F]`.

    Returns
    -------
    `[T]` float32.
    """
    sine, cosine = _half_turns(points)
    return _between_the_ends(torch.rad2deg(2 * torch.atan2(sine, cosine)), len(points))


@metric(
    dims=("frame",),
    unit="1",
    bounds=(0, 2),
    higher="sharper turns: 0 straight on, 1 a right angle, 2 back",
    source="V-CAST (arXiv:2603.27650), section 3.2, eq. 2",
    known=("line: 0", "right angle: 1", "reversal: 2", "no motion: 1 (V-CAST), NaN (geometric)"),
    nulls=ORDER_NULLS,
    undefined="with the geometric convention, at both ends and next to a step without motion",
    scale=0,
)
def curvature(points: Float[Tensor, "frames channels"], *, convention: str = "vcast") -> Float[Tensor, "frames"]:
    """How sharply a trajectory turns at each frame, `kappa[t] = 1 - cos(z[t] - z[t-1], z[t+1] - z[t])`.

    Parameters
    ----------
    points
        `[T, F]` one point per frame; V-CAST takes `frame_representation(tokens)`.
    convention
        `"vcast"`: 1 (a right angle) at both ends and where nothing moves, lengths at least 1e-6 (of points far from
        unit length: in the power of two that takes them there); `"geometric"`: NaN there.

    Returns
    -------
    `[T]` float32.

    Raises
    ------
    ValueError
        If the convention is neither.

    Examples
    --------
    >>> curvature(torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0], [2.0, 1.0]]), convention="geometric")
    tensor([nan, 0., 1., nan])
    """
    if convention not in ("vcast", "geometric"):
        raise ValueError(f"convention={convention!r} given, expected 'vcast' or 'geometric'")
    z = _near_unit_length(points.float())
    step = z[1:] - z[:-1]
    length = torch.linalg.vector_norm(step, dim=-1)
    if convention == "vcast":
        length = length.clamp_min(EPSILON)
    ends = z.new_full((len(z),), 1.0 if convention == "vcast" else torch.nan)
    if len(z) > 2:
        ends[1:-1] = 1 - (step[:-1] * step[1:]).sum(-1) / (length[:-1] * length[1:])
    return ends


@metric(
    dims=("frame",),
    unit="1 / feature units",
    bounds=(0, float("inf")),
    higher="tighter turns: the radius of the circle through three frames is smaller",
    source="Menger 1930; four times the area over the product of the sides",
    known=("circle of radius R: 1/R", "line: 0"),
    nulls=ORDER_NULLS,
    undefined="at both ends and where two of the three points coincide",
    scale=-1,
)
def menger_curvature(points: Float[Tensor, "frames channels"]) -> Float[Tensor, "frames"]:
    """One over the radius of the circle through a frame and its neighbours, `4 area / (a b c)`.

    With theta the turning angle and c the side opposite to the frame this is `2 sin(theta) / c`, computed as
    `||u - v|| ||u + v|| / c` from the unit steps u, v: nothing cancels where the path is nearly straight.

    Parameters
    ----------
    points
        `[T, F]`.

    Returns
    -------
    `[T]` float32.
    """
    sine, cosine = _half_turns(points)
    f = points.double()
    chord = norm(f[2:] - f[:-2])
    values = torch.where(chord > 0, 4 * sine * cosine / chord, torch.nan)
    return _between_the_ends(values, len(points))


@metric(
    dims=("frame",),
    unit="1",
    bounds=(0, 1),
    higher="1: one of the sharpest turns",
    known=("planted corners are found",),
    undefined="for all frames, where no frame has a curvature",
    scale=0,
)
def turn_frames(points: Float[Tensor, "frames channels"], *, share: int | float = 0.1) -> Float[Tensor, "frames"]:
    """The `ceil(share T)` frames of largest geometric curvature, ties to the lowest index.

    Frames without a curvature (both ends, next to no motion) are never chosen; where fewer frames have one than are
    asked for, there are fewer turn frames.

    Parameters
    ----------
    points
        `[T, F]`.
    share
        Of all frames, in (0, 1].

    Returns
    -------
    `[T]` float32, 1 for turn frames and 0 for others.

    Raises
    ------
    ValueError
        If the share is outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share} given, expected 0 < share <= 1")
    kappa = curvature(points, convention="geometric")
    # 0.1 * 70 is 7.000000000000001
    chosen = sharpest(kappa, math.ceil(round(share * len(kappa), 9)))
    if not len(chosen):
        return torch.full_like(kappa, torch.nan)
    return torch.zeros_like(kappa).index_fill(0, chosen, 1)


def _near_unit_length(z: Float[Tensor, "frames channels"]) -> Float[Tensor, "frames channels"]:
    """The points, multiplied by one power of two if the longest is beyond 2^-10 to 2^10: it changes no rounding."""
    longest = norm(z).nan_to_num(0.0, posinf=1.0).amax() if len(z) else z.new_zeros(())
    power = torch.frexp(longest).exponent
    return torch.ldexp(z, torch.where(power.abs() > 10, -power, 0))


def _half_turns(points: Float[Tensor, "frames channels"]) -> tuple[Float[Tensor, "inner"], Float[Tensor, "inner"]]:
    """Sine and cosine of half the turning angle at each frame between the ends; NaN next to no motion."""
    step = steps(points)
    unit = step / norm(step)[:, None]
    return norm(unit[1:] - unit[:-1]) / 2, norm(unit[1:] + unit[:-1]) / 2


def _between_the_ends(values: Float[Tensor, "inner"], frames: int) -> Float[Tensor, "frames"]:
    """The values with NaN at both ends, float32."""
    padded = values.new_full((frames,), torch.nan, dtype=torch.float32)
    if frames > 2:
        padded[1:-1] = values.float()
    return padded


def sharpest(kappa: Float[Tensor, "frames"], count: int) -> Int64[Tensor, "chosen"]:
    """Frames of largest curvature, at most `count`, ties to the lowest index, never NaN."""
    order = kappa.nan_to_num(nan=-torch.inf).argsort(descending=True, stable=True)
    return order[: min(count, int((~kappa.isnan()).sum()))]
