"""One video inside the language model: where it stands, what is read of it, and its columns after a reduction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from redundancy.models.hooks import TextEntry
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid


@dataclass
class InnerVideo:
    """A video as it enters the next reduction inside the model.

    Parameters
    ----------
    row, grid
        Row of the batch, and the whole video's grid.
    columns, slots
        `[places]` columns of the prompt that the text model was given, ascending, and the video token that stands in
        each, -1 for a newline.
    question
        First column after the last video of the row.
    outer
        What was decided so far; None if nothing was.
    """

    row: int
    grid: TokenGrid
    columns: Int[Tensor, "places"]
    slots: Int[Tensor, "places"]
    question: int
    outer: Reduction | None

    @classmethod
    def of(cls, entry: TextEntry, index: int) -> InnerVideo:
        """One video of a call, its newlines among its tokens."""
        span = entry.spans[index]
        if entry.shortened is None:
            columns, newlines, outer = span.columns.flatten(), span.newlines, None
            slots = torch.arange(len(columns), device=columns.device)
        else:
            short = entry.shortened[index]
            columns, newlines, outer = short.columns, short.newlines, short.reduction
            slots = outer.anchor_token.to(columns.device)
        both = torch.cat([columns, newlines])
        order = both.argsort()
        slots = torch.cat([slots, torch.full_like(newlines, -1)])
        last = [_last_column(entry, i) for i, s in enumerate(entry.spans) if s.row == span.row]
        return cls(span.row, span.grid, both[order], slots[order], max(last) + 1, outer)

    def places(self, local: Int[Tensor, "batch length"] | None) -> Int[Tensor, "places"]:
        """Where the video stands among the columns that a layer has; `local` is `LayerColumns.local` or None."""
        return self.columns if local is None else local[self.row, self.columns]


def _last_column(entry: TextEntry, index: int) -> int:
    video = entry.spans[index] if entry.shortened is None else entry.shortened[index]
    columns = torch.cat([video.columns.flatten(), video.newlines])
    return int(columns.max()) if len(columns) else -1


def score(
    rows: Float[Tensor, "heads rows keys"], place: Int[Tensor, "places"], *, queries: str, first: int
) -> Float[Tensor, "places"]:
    """What a method reads of attention rows: `"last"`, or the largest of the `"question"`, which begins at `first`."""
    seen = rows[:, :, place]
    return seen[:, -1].mean(0) if queries == "last" else seen[:, first:].amax((0, 1))


def right_aligned(keep: Bool[Tensor, "batch given"]) -> tuple[Tensor, Tensor]:
    """Indices of what each row keeps, `[B, S']`, and where they are no padding."""
    count = keep.sum(1)
    size = int(count.max())
    place = torch.arange(size, device=keep.device)
    valid = place >= size - count[:, None]
    order = keep.to(torch.uint8).argsort(dim=1, stable=True)[:, keep.shape[1] - size :]  # kept ones last, in order
    return order, valid


def shrink(
    x: Shaped[Tensor, "batch given channels"],
    merges: Sequence[tuple[int, Tensor, Tensor, Reduction]],
    index: tuple[Tensor, Tensor],
) -> Shaped[Tensor, "batch short channels"]:
    """Per-column values at the columns that are left, with the outputs of merges in the places of their anchors.

    Parameters
    ----------
    merges
        Row, places of the span, places of the anchors, and the reduction.
    index
        What `right_aligned` gives.
    """
    column, valid = index
    if any(not reduction.is_selection for *_, reduction in merges):
        x = x.clone()
        for row, at, anchors, reduction in merges:
            x[row, anchors] = reduction.apply(x[row, at])
    rows = torch.arange(len(x), device=x.device)[:, None]
    return x[rows, column] * valid[..., None]


def at_columns(
    table: Float[Tensor, "rows length channels"], column: Int[Tensor, "batch short"]
) -> Float[Tensor, "batch short channels"]:
    """Rotary tables `[B or 1, S, d]` at the columns of each row."""
    full, column = table.expand(len(column), -1, -1), column.to(table.device)
    return full.gather(1, column[..., None].expand(-1, -1, table.shape[-1]))
