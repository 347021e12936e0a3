"""Where the sources of a reduction's outputs stood, and where the outputs are placed.

Shared by the metrics of `position`, `numbering` and `coverage`. Sources are the entries of weight > 0 whose slot holds
a video token. Slots of newlines (-1) and entries of weight 0 have no part: the weights of the others are normalised to
1 in each output. An output without a source is NaN everywhere.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float64, Int64, Shaped
from torch import Tensor

from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid


class Sources(NamedTuple):
    """Video tokens behind the outputs: index into T*N, output and weight of each; the weights' sum, NaN without any."""

    token: Int64[Tensor, "sources"]
    output: Int64[Tensor, "sources"]
    weight: Float64[Tensor, "sources"]
    total: Float64[Tensor, "kept"]

    def mean(self, values: Float64[Tensor, "sources columns"]) -> Float64[Tensor, "kept columns"]:
        """Weighted mean over the sources of each output; the division comes last, as where `prune` takes centroids."""
        start = values.new_zeros(len(self.total), values.shape[1])
        return start.index_add(0, self.output, self.weight[:, None] * values) / self.total[:, None]


def video_sources(reduction: Reduction) -> Sources:
    """The sources of every output.

    Source: own.
    """
    token = reduction.slots[reduction.source]
    real = (token >= 0) & (reduction.weight > 0)
    output, weight = reduction.target[real], reduction.weight[real]
    total = weight.new_zeros(reduction.kept).index_add(0, output, weight)
    return Sources(token[real], output, weight, total.masked_fill(total == 0, torch.nan))


def on_device(reduction: Reduction, device: torch.device) -> Reduction:
    """The reduction with its tensors on a device; itself where they are there.

    Source: own.
    """
    return reduction if reduction.weight.device == device else reduction.to(device)


def grid_coordinates(token: Int64[Tensor, "places"], grid: TokenGrid) -> Float64[Tensor, "places grid_axis"]:
    """Temporal step, row and column of tokens; NaN for -1.

    Source: own.
    """
    frame, place = token // grid.tokens_per_frame, token % grid.tokens_per_frame
    coordinates = torch.stack([frame, place // grid.cols, place % grid.cols], 1).double()
    return coordinates.masked_fill((token < 0)[:, None], torch.nan)


def position_coordinates(
    token: Int64[Tensor, "places"], positions: Shaped[Tensor, "axes frames tokens"]
) -> Float64[Tensor, "places axes"]:
    """Position ids of tokens; NaN for -1.

    Source: own.
    """
    ids = positions.flatten(1).double()[:, token.clamp(min=0)]
    return ids.T.masked_fill((token < 0)[:, None], torch.nan)


def check_positions(reduction: Reduction, positions: Tensor) -> None:
    """Refuse positions that are not those of the reduction's video.

    Raises
    ------
    ValueError
        If they have another shape.

    Source: own.
    """
    video = (reduction.grid.frames, reduction.grid.tokens_per_frame)
    if positions.ndim != 3 or tuple(positions.shape[1:]) != video:
        raise ValueError(f"positions of shape {tuple(positions.shape)} given, expected [axes, {video[0]}, {video[1]}]")


def assigned_positions(
    reduction: Reduction,
    positions: Shaped[Tensor, "axes frames tokens"],
    *,
    assigned: Shaped[Tensor, "axes kept"] | None = None,
) -> Float64[Tensor, "kept axes"]:
    """Position ids that the outputs get.

    - `"anchor"`: those of their anchors, NaN at newlines;
    - `"centroid"`: the weighted mean of their sources' ids, rounded to integers (half to even) as `prune` does;
    - `"renumbered"`: consecutive numbers in output order, alike on every axis, from the video's first id on; the
      newlines that `reduction.newline` keeps after grid rows are counted in.

    Parameters
    ----------
    assigned
        `[A, K]` the ids themselves, where they are known. Renumbering must be told where text stands between frames
        (Qwen3-VL), or where a video before this one was shortened too.

    Returns
    -------
    `[K, A]`. NaN for renumbered outputs of a reduction inside the model: their numbers were given before it.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Source: own.
    """
    check_positions(reduction, positions)
    reduction, axes = on_device(reduction, positions.device), positions.shape[0]
    if assigned is not None:
        if tuple(assigned.shape) != (axes, reduction.kept):
            raise ValueError(f"assigned of shape {tuple(assigned.shape)} given, expected [{axes}, {reduction.kept}]")
        return assigned.to(positions.device).double().T
    if reduction.placement == "centroid":
        sources = video_sources(reduction)
        return sources.mean(position_coordinates(sources.token, positions)).round()
    if reduction.placement == "anchor":
        return position_coordinates(reduction.anchor_token, positions)
    return renumbered(reduction, positions).double()[:, None].expand(-1, axes)


def renumbered(reduction: Reduction, positions: Shaped[Tensor, "axes frames tokens"]) -> Float64[Tensor, "kept"]:
    """Consecutive numbers of the outputs from the video's first position on, with the newlines that stay in between.

    Source: own.
    """
    if reduction.layer is not None:
        return torch.full((reduction.kept,), torch.nan, dtype=torch.float64, device=positions.device)
    before: Tensor = torch.searchsorted(kept_newline_rows(reduction), reduction.anchor_token // reduction.grid.cols)
    number: Tensor = positions.min().double() + torch.arange(reduction.kept, device=positions.device) + before
    return number


def kept_newline_rows(reduction: Reduction) -> Int64[Tensor, "rows"]:
    """Grid rows, counted through all frames, after which a newline stays.

    Source: own.
    """
    T, rows, cols = reduction.grid
    if reduction.newline == "all":
        return torch.arange(T * rows, device=reduction.anchor.device)
    kept: Tensor = torch.unique(reduction.anchor_token // cols)
    return kept if reduction.newline == "kept rows" else kept[:0]


def last_number(
    reduction: Reduction, positions: Shaped[Tensor, "axes frames tokens"], last_position: int
) -> Float64[Tensor, ""]:
    """Position id of the last prompt token after the shortening: its own, unless the outputs are renumbered.

    The text after the video keeps its length. On a one-dimensional index a gap of one id after every grid row shows
    that newlines stood there, the last of them behind the last token.

    Returns
    -------
    A scalar; NaN where the numbers of renumbered outputs are not known (a reduction inside the model).

    Source: own.
    """
    last = torch.tensor(last_position, dtype=torch.float64, device=positions.device)
    if reduction.placement != "renumbered":
        return last
    if reduction.layer is not None:
        return torch.full_like(last, torch.nan)
    first, end = positions.min(), positions.max()
    if last_position < int(end):  # how much text follows cannot be told
        return torch.full_like(last, torch.nan)
    T, rows, cols = reduction.grid
    gaps = (end - first + 1 - T * rows * cols) if positions.shape[0] == 1 else torch.zeros_like(end)
    stood = torch.tensor(reduction.newline != "none", device=end.device) | ((gaps >= T * rows - 1) & (gaps > 0))
    return first + reduction.kept + len(kept_newline_rows(reduction)) - 1 + (last - end - stood.double())
