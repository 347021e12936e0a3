"""`Dataset.redundancy`: the common plots of what `capture` and `measure` return.

Registered with the first name of `redundancy` that brings xarray (`measure`, `capture`, `load_model`, ...), so that
`import redundancy` alone stays light; `import redundancy.accessor` does it too. Methods draw what is stored and compute
nothing: a variable that is not there gives a `ValueError` with the call that makes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from jaxtyping import Int64
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from redundancy.reduction import Reduction
    from redundancy.video import VideoClip

Lengths = Sequence[int] | Int64[Tensor, "segments"]
# plot -> the variables that it reads
READS = {
    "similarity": ("transition_similarity",),
    "trajectory": ("principal_components", "explained_variance", "turn_frames"),
    "curvature": ("curvature", "speed", "turn_frames"),
    "drift": ("grid_displacement",),
    "attention": ("frame_mass",),
}


@xr.register_dataset_accessor("redundancy")  # type: ignore[no-untyped-call]
class RedundancyAccessor:
    """The common plots of a dataset from `capture` or `measure`; each returns a matplotlib figure.

    Parameters
    ----------
    dataset
        From `capture` or `measure`.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def __repr__(self) -> str:
        variables = self._dataset.variables
        ready = {name: all(v in variables for v in read) for name, read in READS.items()}
        ready["reductions"] = "row" in self._dataset.coords
        maps = [str(n) for n, x in self._dataset.data_vars.items() if set(x.dims[:1]) & {"frame", "transition"}]
        maps = [n for n in maps if self._dataset[n].dims[1:] == ("token",)]
        draws = [f"{name}()" for name, there in ready.items() if there]
        draws += [f"token_map({' | '.join(map(repr, maps))})"] if maps else []
        lacks = [f"{name}()" for name, there in ready.items() if not there]
        return (
            f"<redundancy: draws {', '.join(draws) or 'nothing'}; not measured here: {', '.join(lacks) or 'nothing'}>"
        )

    def similarity(
        self,
        segments: Mapping[str, Lengths] | Lengths | None = None,
        *,
        known_cuts: Int64[np.ndarray, "cuts"] | None = None,
    ) -> Figure:
        """Similarity of neighbouring frames over seconds; below it segments as bars.

        Parameters
        ----------
        segments
            Lengths of segments in frames, of one segmentation or of several by name.
        known_cuts
            Transitions that are known to be scene cuts, as dashed lines.

        Raises
        ------
        ValueError
            If `transition_similarity` is not there, or lengths do not sum to the number of frames.
        """
        from redundancy.plot import captures

        return captures.similarity(self._dataset, segments, known_cuts=known_cuts)

    def token_map(
        self, variable: str, clip: VideoClip | None = None, *, frames: Sequence[int] | None = None, **at: Any
    ) -> Figure:
        """A value of every token as a map of each frame; a value of a transition is laid on its earlier frame.

        Parameters
        ----------
        variable
            Name of a variable over (frame, token) or (transition, token).
        clip
            The clip, to lay the maps on its frames in grey.
        frames
            Numbers of the frames to show; by default up to 16 at equal distance.
        at
            Labels of the variable's other dims, for example `layer=3`.

        Raises
        ------
        ValueError
            If the variable is not there or has other dims, a frame is out of range, or the clip is another one.
        """
        from redundancy.plot import captures

        return captures.token_map(self._dataset, variable, clip, frames=frames, **at)

    def trajectory(self, *, scaling: str = "raw") -> Figure:
        """The frames in their first two principal components, turn frames in rings.

        Parameters
        ----------
        scaling
            `"raw"` frame features, or `"unit"` length.

        Raises
        ------
        ValueError
            If `principal_components` or `turn_frames` are not there.
        """
        from redundancy.plot import captures

        return captures.trajectory(self._dataset, scaling=scaling)

    def curvature(self, *, scaling: str = "raw") -> Figure:
        """Curvature of each frame and speed of each transition over seconds, turn frames in rings.

        Parameters
        ----------
        scaling
            `"raw"` frame features, or `"unit"` length.

        Raises
        ------
        ValueError
            If `curvature`, `speed` or `turn_frames` are not there.
        """
        from redundancy.plot import captures

        return captures.curvature(self._dataset, scaling=scaling)

    def drift(self, clip: VideoClip | None = None, *, frames: Sequence[int] | None = None) -> Figure:
        """Kept tokens at their anchors, with arrows to the middle of their sources, coloured by distance in time.

        Outputs that were placed on the centroid of their sources have no displacement, so none is drawn.

        Parameters
        ----------
        clip
            The clip, to show its frames in grey.
        frames
            Numbers of the frames to show; by default up to 16 at equal distance.

        Raises
        ------
        ValueError
            If `grid_displacement` is not there or undefined (renumbered outputs have no cell).
        """
        from redundancy.plot import captures

        return captures.drift(self._dataset, clip, frames=frames)

    def attention(self, **at: Any) -> Figure:
        """Attention of one row of the language model on each frame, layers below each other.

        Parameters
        ----------
        at
            Labels of further dims with more than one entry: `query=...`, `head=...`.

        Raises
        ------
        ValueError
            If `frame_mass` is not there, or a query or head must be named.
        """
        from redundancy.plot import captures

        return captures.attention(self._dataset, **at)

    def reductions(
        self,
        reductions: Mapping[str, Reduction],
        clip: VideoClip | None = None,
        *,
        frames: Sequence[int] | None = None,
    ) -> Figure:
        """Kept, merged and dropped tokens of several methods on the frames, one row per method.

        Parameters
        ----------
        reductions
            What methods decided on these tokens, by the name to show.
        clip
            The clip, to lay the maps on its frames.
        frames
            Numbers of the frames to show; by default up to 8 at equal distance.

        Raises
        ------
        ValueError
            If there are none, a grid is another one, or a frame is out of range.
        """
        from redundancy.plot import captures

        return captures.reductions(self._dataset, reductions, clip, frames=frames)
