"""How well the rotary position of an output fits the positions of its sources.

Newlines and entries of weight 0 are no sources, the weights of the others are normalised. Computed in float64, returned
in float32.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Complex128, Float, Float64, Shaped
from torch import Tensor

from redundancy.metrics.kernels.placement import (
    assigned_positions,
    check_positions,
    on_device,
    position_coordinates,
    video_sources,
)
from redundancy.metrics.position.displacement import NO_PLACE, NO_SOURCE, NOT_GIVEN
from redundancy.metrics.registry import metric
from redundancy.reduction import Reduction
from redundancy.tokens import RotaryLayout

CHUNK = 1 << 16
# A sum of unit numbers below this is rounding of float64: it has no direction.
ROUNDING = 1e-12


class Alignment(NamedTuple):
    """Alignment per position axis `[K, A]` and over all frequencies `[K]`."""

    alignment: Float[Tensor, "kept rope_axis"]
    alignment_all: Float[Tensor, "kept"]


@metric(
    dims={"alignment": ("kept", "rope_axis"), "alignment_all": ("kept",)},
    unit="1",
    bounds=(-1, 1),
    higher="the output sits where its content came from",
    known=(
        "keep-all: 1",
        "two tokens dt apart, equal weights, placed on the first: mean (1 + cos(theta dt))/2 on that axis",
        "one source dt away: mean cos(theta dt)",
    ),
    undefined=NO_PLACE + NOT_GIVEN + "; axes that no frequency turns with",
)
def alignment(
    reduction: Reduction,
    positions: Shaped[Tensor, "axes frames tokens"],
    rotary: RotaryLayout,
    *,
    assigned: Shaped[Tensor, "axes kept"] | None = None,
) -> Alignment:
    """How well an output's rotation fits its sources': mean over frequencies of `sum_n w_kn cos(theta_f (p_n - q_k))`.

    Parameters
    ----------
    positions
        `[A, T, N]` the model's ids.
    rotary
        Its inverse frequencies, and the axis of each.
    assigned
        `[A, K]` ids of the outputs where they are known; `assigned_positions` says what is taken otherwise.

    Returns
    -------
    Per axis over its frequencies, and over all frequencies (axes weigh by how many they have).

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    reduction = on_device(reduction, positions.device)
    place = assigned_positions(reduction, positions, assigned=assigned)
    return Alignment(*_over_frequencies(_phase_sums(reduction, positions, rotary, place).real, rotary))


class Coherence(NamedTuple):
    """Coherence per position axis `[K, A]` and over all frequencies `[K]`."""

    coherence: Float[Tensor, "kept rope_axis"]
    coherence_all: Float[Tensor, "kept"]


@metric(
    dims={"coherence": ("kept", "rope_axis"), "coherence_all": ("kept",)},
    unit="1",
    bounds=(0, 1),
    higher="the sources of an output agree on its rotation, wherever it stands",
    known=("keep-all: 1", "two tokens dt apart, equal weights: mean |cos(theta dt / 2)|", "one source: 1"),
    undefined=NO_SOURCE + "; axes that no frequency turns with",
)
def coherence(reduction: Reduction, positions: Shaped[Tensor, "axes frames tokens"], rotary: RotaryLayout) -> Coherence:
    """Agreement of an output's sources in rotation: mean over frequencies of `|sum_n w_kn exp(i theta_f p_n)|`.

    Parameters
    ----------
    positions
        `[A, T, N]` the model's ids.
    rotary
        Its inverse frequencies, and the axis of each.

    Returns
    -------
    Per axis over its frequencies, and over all frequencies; whatever the placement.

    Raises
    ------
    ValueError
        If the positions are not those of the reduction's video.
    """
    check_positions(reduction, positions)
    reduction = on_device(reduction, positions.device)
    origin = torch.zeros(reduction.kept, positions.shape[0], dtype=torch.float64, device=positions.device)
    return Coherence(*_over_frequencies(_phase_sums(reduction, positions, rotary, origin).abs(), rotary))


class PhaseError(NamedTuple):
    """Phase error per position axis `[K, A]` and over all frequencies `[K]`."""

    phase_error: Float[Tensor, "kept rope_axis"]
    phase_error_all: Float[Tensor, "kept"]


@metric(
    dims={"phase_error": ("kept", "rope_axis"), "phase_error_all": ("kept",)},
    unit="rad",
    bounds=(0, math.pi),
    higher="the output is turned away from its sources' mean rotation",
    known=("keep-all: 0", "one source dt away, theta dt < pi: mean theta dt"),
    undefined=NO_PLACE + NOT_GIVEN + "; frequencies whose sources cancel; axes that no frequency turns with",
)
def phase_error(
    reduction: Reduction,
    positions: Shaped[Tensor, "axes frames tokens"],
    rotary: RotaryLayout,
    *,
    assigned: Shaped[Tensor, "axes kept"] | None = None,
) -> PhaseError:
    """Angle between an output's rotation and its sources': mean over frequencies of `|angle of sum_n w_kn exp(...)|`.

    Parameters
    ----------
    positions
        `[A, T, N]` the model's ids.
    rotary
        Its inverse frequencies, and the axis of each.
    assigned
        `[A, K]` ids of the outputs where they are known; `assigned_positions` says what is taken otherwise.

    Returns
    -------
    Per axis over its frequencies, and over all frequencies. Frequencies at which the sources cancel have no angle and
    are left out.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    reduction = on_device(reduction, positions.device)
    place = assigned_positions(reduction, positions, assigned=assigned)
    sums = _phase_sums(reduction, positions, rotary, place)
    angle = sums.angle().abs().masked_fill(sums.abs() < ROUNDING, torch.nan)
    return PhaseError(*_over_frequencies(angle, rotary))


def _phase_sums(
    reduction: Reduction, positions: Tensor, rotary: RotaryLayout, place: Float64[Tensor, "kept axes"]
) -> Complex128[Tensor, "kept frequencies"]:
    """`sum_n w_kn exp(i theta_f (p_n - q_k))` for every output and frequency; NaN without a source or a place."""
    sources = video_sources(reduction)
    axis, frequency = rotary.axis.to(positions.device), rotary.inverse_frequency.to(positions.device).double()
    if positions.shape[0] != len(rotary.axes):
        raise ValueError(f"positions on {positions.shape[0]} axes given, expected {len(rotary.axes)}: {rotary.axes}")
    sums = torch.zeros(reduction.kept, len(frequency), dtype=torch.complex128, device=positions.device)
    for token, output, weight in zip(*(torch.split(x, CHUNK) for x in sources[:3]), strict=True):
        offset = (position_coordinates(token, positions) - place[output])[:, axis] * frequency
        sums.index_add_(0, output, torch.polar(weight[:, None].expand_as(offset), offset))
    return sums / sources.total[:, None]


def _over_frequencies(values: Float64[Tensor, "kept frequencies"], rotary: RotaryLayout) -> tuple[Tensor, Tensor]:
    """Means over the frequencies of each axis, and over all of them; NaN is left out."""
    axis, known = rotary.axis.to(values.device), ~values.isnan()
    start = values.new_zeros(len(values), len(rotary.axes))
    total = start.index_add(1, axis, values.masked_fill(~known, 0))
    count = start.index_add(1, axis, known.double())
    return (total / count).float(), (total.sum(1) / count.sum(1)).float()
