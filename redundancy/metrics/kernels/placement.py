"""Where the sources of a reduction's outputs stood, and where the outputs are placed.

Shared by the metrics of `position`, `coverage` and `agreement`, and by `prune`. Sources are the entries of weight > 0
whose slot holds a video token. Slots of newlines (-1) and entries of weight 0 have no part: the weights of the others
are normalised to 1 in each output. An output without a source is NaN everywhere.
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
    """The sources of every output."""
    token = reduction.slots[reduction.source]
    real = (token >= 0) & (reduction.weight > 0)
    output, weight = reduction.target[real], reduction.weight[real]
    total = weight.new_zeros(reduction.kept).index_add(0, output, weight)
    return Sources(token[real], output, weight, total.masked_fill(total == 0, torch.nan))


def anchors_per_frame(reduction: Reduction) -> Int64[Tensor, "frames"]:
    """`[T]` number of outputs whose anchor is a video token of the frame."""
    frame = reduction.anchor_token[reduction.anchor_token >= 0] // reduction.grid.tokens_per_frame
    return torch.bincount(frame, minlength=reduction.grid.frames)


def on_device(reduction: Reduction, device: torch.device) -> Reduction:
    """The reduction with its tensors on a device; itself where they are there."""
    return reduction if reduction.weight.device == device else reduction.to(device)


def grid_coordinates(token: Int64[Tensor, "places"], grid: TokenGrid) -> Float64[Tensor, "places grid_axis"]:
    """Temporal step, row and column of tokens; NaN for -1."""
    frame, place = token // grid.tokens_per_frame, token % grid.tokens_per_frame
    coordinates = torch.stack([frame, place // grid.cols, place % grid.cols], 1).double()
    return coordinates.masked_fill((token < 0)[:, None], torch.nan)


def position_coordinates(
    token: Int64[Tensor, "places"], positions: Shaped[Tensor, "axes frames tokens"]
) -> Float64[Tensor, "places axes"]:
    """Position ids of tokens; NaN for -1."""
    ids = positions.flatten(1).double()[:, token.clamp(min=0)]
    return ids.T.masked_fill((token < 0)[:, None], torch.nan)


def check_positions(reduction: Reduction, positions: Tensor) -> None:
    """Refuse positions that are not those of the reduction's video.

    Raises
    ------
    ValueError
        If they have another shape.
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
    - `"given"`: the reduction's own `positions`;
    - `"renumbered"`: consecutive numbers in output order, alike on every axis, from the video's first id on; what stays
      between the outputs is counted in (`standing_between`).

    Parameters
    ----------
    assigned
        `[A, K]` the ids themselves, where they are known. Renumbering must be told where a video before this one in the
        prompt was shortened too, and on ids of (t, h, w) where a video or an image stands before this one at all: what
        it takes fewer ids than columns for is numbered by columns then.

    Returns
    -------
    `[K, A]`. NaN for renumbered outputs of a reduction inside the model: their numbers were given before it.

    Raises
    ------
    ValueError
        If shapes do not fit.
    """
    check_positions(reduction, positions)
    reduction, axes = on_device(reduction, positions.device), positions.shape[0]
    if assigned is not None:
        if tuple(assigned.shape) != (axes, reduction.kept):
            raise ValueError(f"assigned of shape {tuple(assigned.shape)} given, expected [{axes}, {reduction.kept}]")
        return assigned.to(positions.device).double().T
    if reduction.positions is not None:
        return given_positions(reduction, axes).to(positions.device).double().T
    if reduction.placement == "centroid":
        sources = video_sources(reduction)
        return sources.mean(position_coordinates(sources.token, positions)).round()
    if reduction.placement == "anchor":
        return position_coordinates(reduction.anchor_token, positions)
    return renumbered(reduction, positions).double()[:, None].expand(-1, axes)


def given_positions(reduction: Reduction, axes: int) -> Int64[Tensor, "axes kept"]:
    """Position ids that a reduction with the placement `"given"` brings.

    Raises
    ------
    ValueError
        If they are on another number of axes than the model's.
    """
    given = reduction.positions
    if given is None or len(given) != axes:
        found = None if given is None else tuple(given.shape)
        raise ValueError(f"positions of shape {found} given in a reduction, expected [{axes}, {reduction.kept}]")
    return given


class Between(NamedTuple):
    """What stands in front of each video token, behind the one before it: `text` `[T * N]` ids, and row `newlines`."""

    text: Int64[Tensor, "tokens"]
    newlines: bool


def standing_between(positions: Shaped[Tensor, "axes frames tokens"], grid: TokenGrid) -> Between:
    """What stands between the tokens of a video, read off the ids that it takes.

    Text in front of a frame (a timestamp, Qwen3-VL) takes the ids between the last of the frame before and the first of
    the frame. On a one-dimensional index one id after every grid row, and none elsewhere, is a newline.
    """
    of_frame = positions.long().transpose(0, 1).flatten(1)
    between = torch.zeros_like(positions[0], dtype=torch.int64)
    between[1:, 0] = of_frame.amin(1)[1:] - of_frame.amax(1)[:-1] - 1
    if len(positions) == 1:
        between[:, 1:] = positions[0].long().diff(dim=1) - 1
    between = between.clamp(min=0).flatten()  # frames of (t, h, w) ids overlap where nothing stands between them
    row_starts = torch.arange(len(between), device=between.device) % grid.cols == 0
    row_starts[:1] = False
    if len(positions) == 1 and bool(row_starts.any()) and torch.equal(between, row_starts.long()):
        return Between(torch.zeros_like(between), newlines=True)
    return Between(between, newlines=False)


def renumbered(reduction: Reduction, positions: Shaped[Tensor, "axes frames tokens"]) -> Float64[Tensor, "kept"]:
    """Consecutive numbers of the outputs from the video's first position on, counting what stays between them."""
    if reduction.layer is not None:
        return torch.full((reduction.kept,), torch.nan, dtype=torch.float64, device=positions.device)
    between, place = standing_between(positions, reduction.grid), reduction.anchor_token.sort().values
    before = between.text.cumsum(0)[place]
    before = before + torch.searchsorted(_newlines_that_stay(reduction, between), place // reduction.grid.cols)
    number: Tensor = positions.min().double() + torch.arange(reduction.kept, device=positions.device) + before
    return number


def kept_newline_rows(reduction: Reduction) -> Int64[Tensor, "rows"]:
    """Grid rows, counted through all frames, after which a newline stays if one stands there."""
    T, rows, cols = reduction.grid
    if reduction.newline == "all":
        return torch.arange(T * rows, device=reduction.anchor.device)
    kept: Tensor = torch.unique(reduction.anchor_token // cols)
    return kept if reduction.newline == "kept rows" else kept[:0]


def _newlines_that_stay(reduction: Reduction, between: Between) -> Int64[Tensor, "rows"]:
    """Grid rows after which a newline stands and stays. A single row of a video does not show: its policy tells."""
    rows = kept_newline_rows(reduction)
    stand = between.newlines or reduction.grid.frames * reduction.grid.rows == 1
    return rows if stand else rows[:0]


def last_number(
    reduction: Reduction,
    positions: Shaped[Tensor, "axes frames tokens"],
    last_position: int,
    *,
    text_after: int | None = None,
) -> Float64[Tensor, ""]:
    """Position id of the last prompt token after the shortening: its own, unless the outputs are renumbered.

    Parameters
    ----------
    last_position
        Its id before.
    text_after
        Number of columns behind the video, its newlines not among them; they keep their number. None: told from the
        ids where they tell it, taking text to go on behind the video's largest id.

    Returns
    -------
    A scalar; NaN where the numbers of renumbered outputs are not known (a reduction inside the model), and where the
    ids do not tell how much text follows (time runs further than space: text may stand beside it).
    """
    last = torch.tensor(last_position, dtype=torch.float64, device=positions.device)
    if reduction.placement != "renumbered":
        return last
    if reduction.layer is not None:
        return torch.full_like(last, torch.nan)
    between = standing_between(positions, reduction.grid)
    newlines = _newlines_that_stay(reduction, between)
    if text_after is None:
        behind = _text_after(positions, last_position, between.newlines or len(newlines) > 0)
    else:
        behind = torch.full_like(last, text_after)
    return positions.min() + reduction.kept + between.text.sum() + len(newlines) - 1 + behind


def _text_after(
    positions: Shaped[Tensor, "axes frames tokens"], last_position: int, newlines: bool
) -> Float64[Tensor, ""]:
    """Columns from the video to the last prompt token, told from ids; a newline behind the last row is none of them."""
    end = positions.amax((1, 2)).double()
    text: Tensor = last_position - end.max() - int(newlines)
    # text goes on behind the largest id of space (Qwen2-VL and Qwen2.5-VL), or behind the largest of all
    ambiguous = len(end) > 1 and bool(end[0] > end[1:].max())
    return torch.full_like(text, torch.nan) if ambiguous or bool(text < 0) else text
