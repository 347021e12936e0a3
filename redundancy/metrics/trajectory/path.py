"""The path that frame features take through feature space.

`points` are frame features, raw or at unit length (`frame_representation`); lengths are in the units of the features.
Differences of frames and their sums of squares are float64, results float32; `curvature`, which pruning uses, is
float32 throughout.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.metrics.kernels.polyline import best_vertices, polyline_error_of, uniform_vertices
from redundancy.metrics.kernels.sample import fixed_sample
from redundancy.metrics.kernels.twonn import twonn_fit
from redundancy.metrics.registry import metric

EPSILON = 1e-6
ORDER_NULLS = ("shuffle_frames", "gaussian")


def frame_representation(tokens: Float[Tensor, "frames tokens channels"]) -> Float[Tensor, "frames channels"]:
    """Mean token of each frame at unit length, `z[t] = mean / max(||mean||, 1e-6)`, float32.

    Source: V-CAST (arXiv:2603.27650), section 3.2; the bound is the authors' code's.
    """
    mean = tokens.mean(1, dtype=torch.float32)
    unit: Tensor = mean / torch.linalg.vector_norm(mean, dim=-1, keepdim=True).clamp_min(EPSILON)
    return unit


class Speed(NamedTuple):
    """Length of each step, per frame and per second."""

    speed: Float[Tensor, "transitions"]
    speed_per_second: Float[Tensor, "transitions"]


@metric(
    dims={"speed": ("transition",), "speed_per_second": ("transition",)},
    unit="feature units per frame, or per second where the name says so",
    bounds=(0, float("inf")),
    higher="more change from frame to frame",
    source="own",
    known=("straight and uniform: constant",),
    nulls=ORDER_NULLS,
    undefined="per second between frames at the same time",
    scale=1,
    block="transition",
)
def speed(points: Float[Tensor, "frames channels"], frame_time: Float[Tensor, "frames"]) -> Speed:
    """Length of each step, `||f[t+1] - f[t]||`, and the same divided by the time between the two frames.

    Parameters
    ----------
    points
        `[T, F]`.
    frame_time
        `[T]` seconds.

    Returns
    -------
    Two `[T-1]` float32, per frame and per second; the second is NaN where the time does not advance.
    """
    length = _norm(_steps(points))
    seconds = frame_time.double().diff().to(length.device)
    per_second = torch.where(seconds > 0, length / seconds, torch.nan)
    return Speed(length.float(), per_second.float())


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
    `[T]` float32 in degrees; NaN at both ends and where one of the two steps has no length.

    Source: Henaff et al. 2019 (Nature Neuroscience 22), perceptual straightening.
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
    `[T]` float32 in [0, 2]: 0 straight on, 1 a right angle, 2 back.

    Raises
    ------
    ValueError
        If the convention is neither.

    Source: V-CAST (arXiv:2603.27650), section 3.2, eq. 2.
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
    `[T]` float32 per feature unit; NaN at both ends and where two of the three points coincide.

    Source: Menger 1930 (Mathematische Annalen 103).
    """
    sine, cosine = _half_turns(points)
    f = points.double()
    chord = _norm(f[2:] - f[:-2])
    values = torch.where(chord > 0, 4 * sine * cosine / chord, torch.nan)
    return _between_the_ends(values, len(points))


@metric(
    dims=(),
    unit="feature units",
    bounds=(0, float("inf")),
    higher="a longer way through feature space",
    source="own",
    known=("line: its length", "closed square: its circumference", "no motion: 0"),
    nulls=ORDER_NULLS,
    undefined="with a single frame",
    scale=1,
)
def arc_length(points: Float[Tensor, "frames channels"]) -> Float[Tensor, ""]:
    """Sum of the lengths of all steps.

    Parameters
    ----------
    points
        `[T, F]`.

    Returns
    -------
    A scalar in feature units; NaN with a single frame, 0 where nothing moves.
    """
    length: Tensor = _norm(_steps(points)).sum()
    return length.float() if len(points) > 1 else torch.full_like(length, torch.nan, dtype=torch.float32)


@metric(
    dims=(),
    unit="1",
    bounds=(0, 1),
    higher="a straighter path: 1 a line walked in one direction",
    source="own",
    known=("line: 1", "closed loop: 0", "two sides of a square: sqrt(2) / 2"),
    nulls=ORDER_NULLS,
    undefined="with a single frame and where nothing moves",
    scale=0,
)
def straightness(points: Float[Tensor, "frames channels"]) -> Float[Tensor, ""]:
    """Distance from the first frame to the last over the arc length.

    Parameters
    ----------
    points
        `[T, F]`.

    Returns
    -------
    A scalar in [0, 1]; NaN with a single frame and where nothing moves.
    """
    f = points.double()
    ratio: Tensor = _norm(f[-1] - f[0]) / _norm(_steps(points)).sum()  # 0 / 0 is NaN: no motion
    return ratio.float()


@metric(
    dims=("frame",),
    unit="1",
    bounds=(0, 1),
    higher="1: one of the sharpest turns",
    source="own",
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
    `[T]` float32, 1 for turn frames and 0 for others; NaN throughout where no frame has a curvature: T < 3, no motion.

    Raises
    ------
    ValueError
        If the share is outside (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share} given, expected 0 < share <= 1")
    kappa = curvature(points, convention="geometric")
    # 0.1 * 70 is 7.000000000000001
    chosen = _sharpest(kappa, math.ceil(round(share * len(kappa), 9)))
    if not len(chosen):
        return torch.full_like(kappa, torch.nan)
    return torch.zeros_like(kappa).index_fill(0, chosen, 1)


@metric(
    dims=(),
    unit="dimensions",
    bounds=(1, float("inf")),
    higher="frames spread over more directions",
    source="participation ratio of the covariance eigenvalues; Gao et al. 2017 (doi:10.1101/214262)",
    known=("k equal variances: k", "line: 1"),
    nulls=("gaussian",),
    undefined="with a single frame and where all frames are equal",
    scale=0,
    frame_order="invariant",
)
def intrinsic_dimension(points: Float[Tensor, "frames channels"]) -> Float[Tensor, ""]:
    """Participation ratio of the covariance eigenvalues, `(sum l)^2 / sum l^2`.

    The eigenvalues are those of the Gram matrix of centred points, whose trace and squared Frobenius norm are the two
    sums: no decomposition is needed.

    Parameters
    ----------
    points
        `[T, F]`.

    Returns
    -------
    A scalar from 1 to min(T - 1, F); NaN with a single frame and where all frames are equal.

    Source: Gao et al. 2017 (bioRxiv 214262), dimensionality of neural population activity.
    """
    f = points.double()
    f = f - f.mean(0)
    gram = f @ f.T
    ratio: Tensor = gram.trace().square() / gram.square().sum()
    return ratio.float()


@metric(
    dims=(),
    unit="dimensions",
    bounds=(0, float("inf")),
    higher="tokens lie on a manifold of more dimensions",
    source="Facco et al. 2017 (doi:10.1038/s41598-017-11873-y), TwoNN",
    known=("uniform on a k-cube: k within 15% at 2,000 points",),
    nulls=("gaussian",),
    undefined="with fewer than three different tokens, or where all nearest two are equally far",
    scale=0,
    frame_order="invariant",
    token_order="invariant",
    default=False,
)
def twonn_dimension(
    tokens: Float[Tensor, "frames tokens channels"],
    *,
    sample: int = 2000,
    seed: int = 0,
    discarded: int | float = 0.1,
) -> Float[Tensor, ""]:
    """Dimension of the manifold of tokens from the distances r1, r2 to the two nearest others.

    A random sample of tokens, each different vector once, goes through `twonn_fit`.

    Parameters
    ----------
    tokens
        `[T, N, D]`.
    sample
        Most tokens that enter, at least 3; distances cost sample^2 D.
    seed
        Of the sample.
    discarded
        Share of the largest ratios that is left out of the fit, in (0, 1).

    Returns
    -------
    A scalar; NaN with fewer than three different tokens, or where r1 = r2 for all that enter the fit.

    Raises
    ------
    ValueError
        If a setting is outside its range.

    Source: Facco et al. 2017 (Scientific Reports 7, 12140), "Estimating the intrinsic dimension of datasets".
    """
    if sample < 3:
        raise ValueError(f"sample={sample} given, expected at least 3 tokens")
    return twonn_fit(fixed_sample(tokens, seed=seed, sample=sample), discarded=discarded)


class PolylineError(NamedTuple):
    """Least error of a polyline of k vertices, and those of two other choices of as many."""

    polyline_error: Float[Tensor, "k"]
    polyline_uniform_error: Float[Tensor, "k"]
    polyline_turn_error: Float[Tensor, "k"]


@metric(
    dims={"polyline_error": ("k",), "polyline_uniform_error": ("k",), "polyline_turn_error": ("k",)},
    unit="squared feature units",
    bounds=(0, float("inf")),
    higher="the path is less well drawn through k of its frames",
    source="own",
    known=("piecewise linear with k corners: 0 at k",),
    nulls=ORDER_NULLS,
    undefined="where k exceeds the number of frames; with turn frames, also the number that have a curvature",
    scale=2,
    default=False,
)
def polyline_error(
    points: Float[Tensor, "frames channels"], *, k: tuple[int, ...] = (2, 3, 4, 6, 8, 12, 16)
) -> PolylineError:
    """Least `sum_t ||f[t] - f~[t]||^2` of linear interpolation in time between exactly k frames, both ends included.

    Beside the best choice (`best_vertices`, exact) the error of k frames at equal distance, and of both ends with the
    k - 2 frames of largest geometric curvature; other choices go through `polyline_error_of`. More vertices may raise
    the error: a path must pass through each of them.

    Parameters
    ----------
    points
        `[T, F]`.
    k
        Numbers of vertices, each at least 2.

    Returns
    -------
    Three `[k]` float32 in squared feature units; NaN where k exceeds the number of frames.

    Raises
    ------
    ValueError
        If a k is below 2.
    """
    if not k or min(k) < 2:
        raise ValueError(f"k={k} given, expected numbers of at least 2")
    possible = tuple(count for count in k if count <= len(points))
    best = dict(zip(possible, best_vertices(points, k=possible), strict=True))
    uniform = {count: uniform_vertices(len(points), count) for count in possible}
    turns = _turn_vertices(points, possible)
    return PolylineError(*(_errors(points, chosen, k) for chosen in (best, uniform, turns)))


def _near_unit_length(z: Float[Tensor, "frames channels"]) -> Float[Tensor, "frames channels"]:
    """The points, multiplied by one power of two if the longest is beyond 2^-10 to 2^10: it changes no rounding."""
    longest = _norm(z).nan_to_num(0.0, posinf=1.0).amax() if len(z) else z.new_zeros(())
    power = torch.frexp(longest).exponent
    return torch.ldexp(z, torch.where(power.abs() > 10, -power, 0))


def _steps(points: Float[Tensor, "frames channels"]) -> Float[Tensor, "transitions channels"]:
    """Differences of neighbouring frames, float64."""
    return points.double().diff(dim=0)


def _norm(x: Float[Tensor, "*others channels"]) -> Float[Tensor, "*others"]:
    """Euclidean length of the last axis."""
    length: Tensor = torch.linalg.vector_norm(x, dim=-1)
    return length


def _half_turns(points: Float[Tensor, "frames channels"]) -> tuple[Float[Tensor, "inner"], Float[Tensor, "inner"]]:
    """Sine and cosine of half the turning angle at each frame between the ends; NaN next to no motion."""
    step = _steps(points)
    unit = step / _norm(step)[:, None]
    return _norm(unit[1:] - unit[:-1]) / 2, _norm(unit[1:] + unit[:-1]) / 2


def _between_the_ends(values: Float[Tensor, "inner"], frames: int) -> Float[Tensor, "frames"]:
    """The values with NaN at both ends, float32."""
    padded = values.new_full((frames,), torch.nan, dtype=torch.float32)
    if frames > 2:
        padded[1:-1] = values.float()
    return padded


def _sharpest(kappa: Float[Tensor, "frames"], count: int) -> Int64[Tensor, "chosen"]:
    """Frames of largest curvature, at most `count`, ties to the lowest index, never NaN."""
    order = kappa.nan_to_num(nan=-torch.inf).argsort(descending=True, stable=True)
    return order[: min(count, int((~kappa.isnan()).sum()))]


def _turn_vertices(points: Float[Tensor, "frames channels"], k: tuple[int, ...]) -> dict[int, Int64[Tensor, "_"]]:
    """Both ends and the k - 2 sharpest turns, for each k for which there are as many."""
    kappa = curvature(points, convention="geometric")
    inner = {count: _sharpest(kappa, count - 2).sort().values for count in k}
    last = len(points) - 1
    return {
        count: torch.tensor([0, *frames.tolist(), last]) for count, frames in inner.items() if len(frames) == count - 2
    }


def _errors(
    points: Float[Tensor, "frames channels"], vertices: dict[int, Int64[Tensor, "_"]], k: tuple[int, ...]
) -> Float[Tensor, "k"]:
    """Error for each k, NaN where no vertices are given."""
    nothing = points.new_full((), torch.nan, dtype=torch.float32)
    return torch.stack([polyline_error_of(points, vertices[n]) if n in vertices else nothing for n in k])
