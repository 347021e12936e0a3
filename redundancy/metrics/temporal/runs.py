"""How long the content of a place stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.registry import NULLS, metric
from redundancy.metrics.temporal.memory import mean_step


@metric(
    dims=("tau",),
    unit="1",
    bounds=(0, 1),
    higher="more redundant: more places of more transitions stay as they are",
    source="own, after HoliTom (arXiv:2505.21334), section 3.2",
    known=("static video: 1", "persistence .55, .65, .75, .85 at tau .5, .6, .7, .8, .9: 1, .75, .5, .25, 0"),
    nulls=NULLS,
    undefined="without a transition between tokens that have a direction",
    scale=0,
    token_order="invariant",
)
def static_fraction(
    token_persistence: Float[Tensor, "transitions tokens"],
    *,
    tau: Sequence[int | float] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
) -> Float[Tensor, "tau"]:
    """Share of places and transitions whose persistence is at least `tau`, a curve over tau.

    Parameters
    ----------
    token_persistence
        `[T-1, N]`; NaN is left out.
    tau
        Thresholds in [-1, 1].

    Returns
    -------
    `[len(tau)]` float32.

    Raises
    ------
    ValueError
        If a threshold is no cosine.
    """
    _require_cosines(tau)
    known = token_persistence[~token_persistence.isnan()]
    none = known.new_empty(0, dtype=torch.float32)
    return torch.stack([(known >= t).float().mean() for t in tau]) if len(tau) else none


def _require_cosines(tau: Sequence[int | float] | int | float) -> None:
    """Refuse thresholds that are no cosines."""
    if not all(-1 <= t <= 1 for t in (tau if isinstance(tau, Sequence) else [tau])):
        raise ValueError(f"tau={tau} given, expected cosines in [-1, 1]")


class RunLength(NamedTuple):
    """Mean length of the runs of each place, `[N]`, in frames and in seconds."""

    run_length: Float[Tensor, "tokens"]
    run_length_seconds: Float[Tensor, "tokens"]


@metric(
    dims={"run_length": ("token",), "run_length_seconds": ("token",)},
    unit="frames; run_length_seconds in s",
    bounds=(1, float("inf")),
    higher="more redundant: the content of a place stays for longer",
    source="own, after HoliTom (arXiv:2505.21334), section 3.2",
    known=("static video: T", "two halves with one cut between: T/2", "cut at every transition: 1"),
    nulls=NULLS,
    undefined="in s for one frame; at a place none of whose T-1 persistences is defined",
    scale=None,
)
def run_length(
    token_persistence: Float[Tensor, "transitions tokens"],
    frame_time: Float[Tensor, "times"],
    *,
    tau: int | float = 0.8,
) -> RunLength:
    """Mean length of the maximal runs of frames in which the persistence of a place stays at least `tau`.

    The runs of a place part its T frames, so their mean length is T / (1 + transitions below tau). A transition of
    undefined persistence ends a run. In seconds a frame lasts one mean step of `frame_time`, the last one as well: a
    run of k frames lasts k steps, a run of one frame one step.

    Parameters
    ----------
    token_persistence
        `[T-1, N]`.
    frame_time
        `[T]` seconds, ascending.
    tau
        Threshold in [-1, 1].

    Returns
    -------
    `[N]` frames, at most T, and `[N]` seconds, float32. A video of one frame has runs of 1 frame.

    Raises
    ------
    ValueError
        If tau is no cosine, or `frame_time` is not `[T]` or does not ascend.
    """
    _require_cosines(tau)
    transitions = len(token_persistence)
    step = mean_step(frame_time, transitions + 1).to(token_persistence.device)
    runs = 1 + (~(token_persistence >= tau)).sum(0)
    frames = (transitions + 1) / runs.double()
    if transitions:
        frames = frames.masked_fill(token_persistence.isnan().all(0), torch.nan)
    return RunLength(frames.float(), (frames * step).float())
