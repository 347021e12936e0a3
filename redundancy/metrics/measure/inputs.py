"""What a capture or the tokens of a video offer to metrics, by the names that metrics read; at hand, or still on disk.

On a dask-backed capture everything stays delayed: nothing is read before it is computed, and what metrics of frames and
transitions need is read in the chunks of frames in which it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.labelled import from_labelled
from redundancy.reduction import Reduction
from redundancy.tokens import RotaryLayout, TokenGrid, VideoTokens

PREFERRED = ("pooling_head", "mean_query", "received", "norm")  # the published methods' choices first
PROMPT_END = ("last_position", "text_after")  # attributes of a capture
BESIDE = {
    "salience": "capture with salience=[...], or name another source in measure(..., salience=...)",
    "segments": "give measure(..., segments=lengths)",
    "reduction": "give measure(tokens, reduction)",
    "positions": "capture with a model of a supported family, which records them",
    "rotary": "capture with a model of a supported family, which records it",
    "last_position": "capture again, which records it, or give measure(..., last_position=id of the last prompt token)",
    "attention": 'capture with attention_rows="last", on the full model',
    "attention_mass": 'capture with attention_rows="last", on the full model',
    "full_logits": "call the metric itself on two runs",
    "reduced_logits": "call the metric itself on two runs",
    "full_hidden": "call the metric itself on two runs",
    "reduced_hidden": "call the metric itself on two runs",
    "other": "call the metric itself on two reductions",
}


class Stored:
    """Some frames of a dask-backed array, which are read where they are used, and not before.

    Not a dataclass: dask looks into those, and would read all of them first.

    Parameters
    ----------
    variable
        `[t, N, D]`.
    """

    def __init__(self, variable: xr.Variable) -> None:
        self._variable = variable

    def read(self) -> Float[Tensor, "frames tokens channels"]:
        """The frames."""
        return from_labelled(self._variable.compute(scheduler="synchronous"))


@dataclass(frozen=True)
class Inputs:
    """Values by name, some of them delayed.

    Parameters
    ----------
    blocks
        Frames of the video in order, `[t, N, D]` each: one tensor if everything is at hand, else `Stored` ones.
    starts
        First frame of each block.
    beside
        Everything else that metrics read: tensors, or delayed ones.
    grid
        Of the tokens.
    rows
        Dims and coordinates of captured attention before frame and token.
    axes
        Names of the axes of position ids.
    salience
        Source of the salience, empty without any.
    lazy
        True if values are delayed.
    series
        What `compute` makes of the blocks for other metrics, where that was done before: frame features, persistence.
    """

    blocks: list[Any]
    starts: list[int]
    beside: dict[str, Any]
    grid: TokenGrid
    rows: dict[str, Any] = field(default_factory=dict)
    axes: tuple[str, ...] = ()
    salience: str = ""
    lazy: bool = False
    series: Any = None

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function, or delay the call."""
        if not self.lazy:
            return function(*args, **kwargs)
        from dask import delayed

        return delayed(function, pure=False)(*args, **kwargs)

    @property
    def names(self) -> set[str]:
        """Names that metrics may read."""
        always = {"tokens", "frame_features", "points", "grid", "frame_time", "token_persistence"}
        return always | set(self.beside)

    @property
    def tokens(self) -> Any:
        """`[T, N, D]` the whole video."""
        return self.call(_joined, self.blocks) if self.lazy else self.blocks[0]


def inputs_of(
    source: xr.Dataset | VideoTokens,
    reduction: Reduction | None = None,
    *,
    frame_features: str = "mean",
    salience: str | None = None,
    segments: Int64[Tensor, "segments"] | None = None,
    last_position: int | None = None,
) -> Inputs:
    """What a capture or tokens offer.

    Parameters
    ----------
    source
        Tokens, or a dataset that `capture` made or `open_capture` opened.
    reduction
        What was decided on them.
    frame_features, salience
        Sources to read; by default the mean token of each frame, and the first salience of `PREFERRED` that is there.
    segments
        `[segments]` lengths of a segmentation.
    last_position
        Position id of the last prompt token; by default the one that the capture holds.

    Raises
    ------
    ValueError
        If a named source is not there, or the dataset is no capture.
    """
    given: dict[str, Any] = {"reduction": reduction, "segments": segments, "last_position": last_position}
    if isinstance(source, xr.Dataset) and "tokens" in source and source["tokens"].chunks is not None:
        made = _delayed_inputs(source, frame_features, salience)
    else:
        tokens = source if isinstance(source, VideoTokens) else VideoTokens.from_capture(source)
        made = _inputs(tokens, frame_features, salience)
    if isinstance(source, xr.Dataset):
        _add_attention(made, source)
        made.beside.update(_prompt_end(source, last_position))
    made.beside.update({k: v for k, v in given.items() if v is not None})
    return made


def _inputs(tokens: VideoTokens, frame_features: str, salience: str | None) -> Inputs:
    beside: dict[str, Any] = {"frame_time": tokens.frame_time, "positions": tokens.positions, "rotary": tokens.rotary}
    source = _salience_source(list(tokens.salience), salience)
    if source is not None:
        beside["salience"] = tokens.salience_from(source)
    if frame_features != "mean" or "mean" in tokens.frame_features:
        beside["frame_features"] = tokens.frame_features_from(frame_features)
    present = {k: v for k, v in beside.items() if v is not None}
    axes = tokens.rotary.axes if tokens.rotary is not None else ()
    return Inputs([tokens.features], [0], present, tokens.grid, axes=axes, salience=source or "")


def _delayed_inputs(capture: xr.Dataset, frame_features: str, salience: str | None) -> Inputs:
    from dask import delayed

    if "grid" not in capture.attrs:
        VideoTokens.from_capture(capture)  # says what is missing
    grid, (frames, places) = TokenGrid(*map(int, capture.attrs["grid"])), capture["tokens"].shape[:2]
    if (frames, places) != (grid.frames, grid.tokens_per_frame):
        raise ValueError(
            f"tokens of {frames} frames and {places} places given, but the capture's grid is {tuple(grid)}; measure a "
            "whole capture"
        )
    read = delayed(from_labelled, pure=False)
    tokens = capture["tokens"].variable
    chunks = capture["tokens"].chunksizes["frame"]
    starts = np.concatenate([[0], np.cumsum(chunks)]).tolist()
    blocks = [Stored(tokens[a:b]) for a, b in pairwise(starts)]
    beside: dict[str, Any] = {"frame_time": read(capture["frame_time"].variable)}
    sources = [str(v).removeprefix("salience_") for v in capture.data_vars if str(v).startswith("salience_")]
    source = _salience_source(sources, salience)
    if source is not None:
        beside["salience"] = read(capture[f"salience_{source}"].variable)
    name = f"frame_features_{frame_features}"
    if name in capture:
        beside["frame_features"] = read(capture[name].variable)
    elif frame_features != "mean":
        raise ValueError(f"frame_features={frame_features!r} given, the capture holds no variable {name!r}")
    if "positions" in capture:
        beside["positions"] = read(capture["positions"].variable)
    axes: tuple[str, ...] = ()
    if "inverse_frequency" in capture:
        axes = tuple(capture["rope_axis"].values.tolist())
        parts = [read(capture[n].variable) for n in ("inverse_frequency", "frequency_axis")]
        beside["rotary"] = delayed(RotaryLayout, pure=False)(*parts, axes=axes)
    return Inputs(blocks, starts[:-1], beside, grid, axes=axes, salience=source or "", lazy=True)


def _salience_source(sources: Sequence[str], wanted: str | None) -> str | None:
    if wanted is not None and wanted not in sources:
        raise ValueError(f"salience={wanted!r} given, these tokens carry {sorted(sources)}")
    if wanted is not None:
        return wanted
    return min(sources, key=lambda s: (PREFERRED.index(s) if s in PREFERRED else len(PREFERRED), s), default=None)


def _add_attention(made: Inputs, capture: xr.Dataset) -> None:
    """Captured rows on the whole video; rows on a reduced one have no frame and token."""
    for name in ("attention", "attention_mass"):
        if name not in capture or "kept" in capture[name].dims:
            continue
        made.beside[name] = made.call(from_labelled, capture[name].variable)
        if name == "attention":
            dims = capture[name].dims[:-2]
            made.rows.update({str(d): capture[d].values for d in dims})


def _prompt_end(capture: xr.Dataset, last_position: int | None) -> dict[str, int]:
    """Where the captured prompt ends; how much text follows the video says nothing of another end that is given."""
    recorded = {name: int(capture.attrs[name]) for name in PROMPT_END if name in capture.attrs}
    return recorded if last_position in (None, recorded.get("last_position")) else {}


def _joined(blocks: Sequence[Stored]) -> Tensor:
    return torch.cat([block.read() for block in blocks])


def missing_input(metric: str, names: Sequence[str], settings: Mapping[str, Any] | None = None) -> str:
    """What to say of a metric whose inputs are not there."""
    advice = "; ".join(f"{n}: {BESIDE.get(n, 'not known')}" for n in names)
    return f"the metric {metric!r} reads {', '.join(names)}, which this input does not offer ({advice})"
