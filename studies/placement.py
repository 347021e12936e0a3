"""Does it cost answers where outputs stand? The same outputs at their anchors, at centroids, renumbered, and moved.

Merging is said to drift off the grid of positions (V-CAST). Here what is kept stays the same and its position ids alone
change: those of the anchors, the mean of the sources', consecutive numbers, the anchors' ids exchanged among the
outputs, and ids moved at random by up to so many in time or in space (where ids have a space). Text keeps its ids,
unless outputs are renumbered. Beside the answers stand drift, rotary alignment and coherence: does drift cost answers,
and how much? A method that prunes (V-CAST), one that merges into anchors (FastVID) and one that clusters (HoliTom) are
moved. Run it on models with one position axis and with three: they are different problems.

    python -m studies.placement
    python -m studies.placement --model tiny-qwen3-vl --only vcast
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy.metrics.kernels.placement import assigned_positions
from redundancy.plot import compose
from redundancy.plot.labelled import values
from redundancy.plot.looks import looks
from redundancy.plot.methods import names_of
from redundancy.pruning import as_method
from redundancy.pruning.base import Method
from redundancy.reduction import Reduction

from . import VideoSession
from .core.ablation import AblationOptions, Change, ablation

METRICS = ("alignment_all", "coherence_all", "position_displacement_time", "reconstruction_error")
SHOWN = (("kl", "its change", "difference"), ("alignment_all", "alignment", "value"))


@dataclass(frozen=True, kw_only=True)
class Options(AblationOptions):
    """Move what methods keep.

    Parameters
    ----------
    methods
        Whose outputs are moved, by names with or without settings.
    distances
        How far ids are moved at most, up and down.
    axes
        Along which they are moved: "time", the first axis, and "space", the others, where there are others.
    """

    retentions: tuple[float, ...] = (0.25,)
    methods: tuple[str, ...] = ("vcast", "fastvid", "holitom")
    distances: tuple[int, ...] = (1, 4, 16, 64)
    axes: tuple[str, ...] = ("time", "space")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of(("time", "space"), "axes")
        if not all(d >= 1 for d in self.distances):
            raise ValueError(f"distances={list(self.distances)} given, expected whole numbers of 1 or more")
        for name in self.methods:
            if not isinstance(as_method(name), Method):
                raise ValueError(f"methods: {name!r} given, expected names of methods")

    def changes(self) -> list[Change]:
        """Every method's outputs, placed and moved."""
        made = []
        for name in self.methods:
            method = as_method(name)
            assert isinstance(method, Method)
            change = partial(Change, name, method=method, base=method)
            made += [
                change(value="its own"),
                *(change(value=f"at {p}s" if p != "renumbered" else p, then=Placed(p)) for p in PLACEMENTS),
                change(value="ids exchanged", then=Moved("time", 0)),
                *(change(value=f"moved in {a} by {d}", then=Moved(a, d)) for a in self.axes for d in self.distances),
            ]
        return made


@dataclass(frozen=True)
class Placed:
    """The outputs under another placement."""

    placement: str

    def __call__(self, video: VideoSession, reduction: Reduction) -> Reduction:
        """The reduction, placed."""
        return replace(reduction, placement=self.placement, positions=None)


@dataclass(frozen=True)
class Moved:
    """The outputs at the ids of their anchors, moved on some axes by whole numbers up to a distance, each by its own.

    Parameters
    ----------
    axes
        "time", the first one, or "space", the others.
    distance
        Largest, up and down; 0: the ids are exchanged among the outputs instead.
    seed
        Of the draws.
    """

    axes: str
    distance: int
    seed: int = 0

    def __call__(self, video: VideoSession, reduction: Reduction) -> Reduction | None:
        """The reduction with ids of its own; None where ids have no space."""
        positions = video.tokens.positions
        if positions is None or (self.axes == "space" and len(positions) == 1):
            return None
        at_anchors = replace(reduction, placement="anchor", positions=None)
        ids = assigned_positions(at_anchors, positions).T.round().long()
        draw = torch.Generator().manual_seed(self.seed)
        if not self.distance:
            ids = ids[:, torch.randperm(reduction.kept, generator=draw)]
        else:
            moved = torch.randint(-self.distance, self.distance + 1, tuple(ids.shape), generator=draw)
            chosen = torch.arange(len(ids))[:, None] == 0
            ids = (ids + moved * (chosen if self.axes == "time" else ~chosen)).clamp_min(0)
        return replace(reduction, placement="given", positions=ids)


PLACEMENTS = ("anchor", "centroid", "renumbered")


def drift_figure(summary: xr.Dataset) -> Figure:
    """KL from the full model over rotary alignment and over distance: a point for each placement, a colour a method."""

    def scatter(axes: Axes, summary: xr.Dataset, *, x: str, label: str) -> None:
        settings = names_of(summary["setting"])
        across, up = values(summary, x).values, values(summary, "kl").values
        for name, look in looks(dict.fromkeys(settings, "method")).items():
            of_one = settings == name
            axes.errorbar(
                *(across[of_one, 0], up[of_one, 0]),
                yerr=np.abs(up[of_one, 1:] - up[of_one, :1]).T,
                label=name,
                elinewidth=0.7,
                **{**look, "linestyle": "none", "markersize": 3},
            )
        axes.set(xlabel=label, ylabel="KL from the full model, nat")

    alignment = partial(scatter, x="alignment_all", label="rotary alignment")
    distance = partial(scatter, x="position_displacement_time", label="distance on the first axis, ids")
    return compose(summary, {"answers over alignment": alignment, "answers over distance": distance}, height=3.0)


STUDY = ablation("placement", Options, explaining=METRICS, shown=SHOWN, figures={"drift": drift_figure})

if __name__ == "__main__":
    STUDY.command_line()
