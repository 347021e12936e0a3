"""The shortened prompt: which columns remain, in which order, and where each stands.

Everything here is index arithmetic on one batch: rows keep different numbers of columns, are right-aligned, and what
padding they had on the left is made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from redundancy.metrics.kernels.placement import kept_newline_rows
from redundancy.models.base import VideoSpan
from redundancy.reduction import Reduction


@dataclass(frozen=True, eq=False)
class ShortRow:
    """One row of the shortened prompt.

    Parameters
    ----------
    column
        `[S]` column of the whole prompt that each place takes: its own for text and newlines, the anchor's for outputs.
    output
        `[S]` number of the output that stands there, counted over the row's videos in order; -1 elsewhere.
    """

    column: Int[Tensor, "short"]
    output: Int[Tensor, "short"]


def shorten_row(
    length: int, spans: Sequence[VideoSpan], reductions: Sequence[Reduction], *, valid: Bool[Tensor, "length"]
) -> ShortRow:
    """Order the places of one row after its videos were reduced.

    Outputs stand where the video stood, in output order; a newline after a grid row follows the last output anchored in
    that row. Text between frames stays between its frames.

    Raises
    ------
    ValueError
        If outputs change places across text or newlines that stand between them.
    """
    device = valid.device
    kept = valid.clone()
    places, outputs = [], []
    count = 0
    for span, reduction in zip(spans, reductions, strict=True):
        kept[span.columns] = False
        kept[span.newlines] = _kept_newlines(span, reduction)
        anchor = span.columns.flatten()[reduction.anchor.to(device)]
        _check_order(span, anchor, kept)
        places.append(torch.sort(anchor).values)
        outputs.append(torch.arange(count, count + len(anchor), device=device))
        count += len(anchor)
    text = kept.nonzero().flatten()
    place = torch.cat([text, *places])
    output = torch.cat([torch.full_like(text, -1), *outputs])
    order = torch.sort(place, stable=True).indices
    anchors = [s.columns.flatten()[r.anchor.to(device)] for s, r in zip(spans, reductions, strict=True)]
    column = torch.cat([text, *anchors])
    return ShortRow(column[order], output[order])


def _kept_newlines(span: VideoSpan, reduction: Reduction) -> Bool[Tensor, "newlines"]:
    """Which newlines inside the run stay: those after grid rows by the reduction's policy; one at the end always."""
    T, rows, _ = span.grid
    keep = torch.ones(len(span.newlines), dtype=torch.bool, device=span.newlines.device)
    if len(span.newlines) == T * rows:
        keep[:] = False
        keep[kept_newline_rows(reduction).to(keep.device)] = True
    return keep


def _check_order(span: VideoSpan, anchor: Int[Tensor, "kept"], kept: Bool[Tensor, "length"]) -> None:
    """Outputs may change places only where nothing that stays stands between them."""
    if len(anchor) < 2 or bool((anchor[1:] > anchor[:-1]).all()):
        return
    between = kept.cumsum(0)  # equal exactly for columns with nothing kept between them
    if bool((between[anchor][1:] < between[anchor][:-1]).any()):
        raise ValueError(
            "the reduction's outputs change places across text or newlines that stand between them; on a family with a "
            "run per frame or per grid row, outputs may change places only inside that run"
        )


@dataclass(frozen=True, eq=False)
class ShortBatch:
    """The shortened prompt of a batch, rows right-aligned.

    Parameters
    ----------
    column
        `[B, S]` column of the whole prompt that each place takes; 0 at padding.
    output
        `[B, S]` number of the output in its row, -1 at text, newlines and padding.
    valid
        `[B, S]` False at padding.
    """

    column: Int[Tensor, "batch short"]
    output: Int[Tensor, "batch short"]
    valid: Bool[Tensor, "batch short"]

    @classmethod
    def of(cls, rows: Sequence[ShortRow]) -> ShortBatch:
        """Right-align rows of different length."""
        size = max(len(r.column) for r in rows)
        device = rows[0].column.device
        column = torch.zeros(len(rows), size, dtype=torch.int64, device=device)
        output = torch.full_like(column, -1)
        valid = torch.zeros_like(column, dtype=torch.bool)
        for i, row in enumerate(rows):
            column[i, size - len(row.column) :] = row.column
            output[i, size - len(row.column) :] = row.output
            valid[i, size - len(row.column) :] = True
        return cls(column, output, valid)

    def gather(
        self, features: Shaped[Tensor, "batch length channels"], reduced: Sequence[Tensor]
    ) -> Shaped[Tensor, "batch short channels"]:
        """Per-column features at the shortened places: text unchanged, outputs from `reduced`, padding zero."""
        rows = torch.arange(len(self.column), device=features.device)[:, None]
        short = features[rows, self.column] * self.valid[..., None]
        for i, outputs in enumerate(reduced):
            at = self.output[i] >= 0
            short[i, at] = outputs[self.output[i, at]].to(short.dtype)
        return short

    def contiguous(self) -> Int[Tensor, "batch short"]:
        """Numbers 0, 1, ... of the places that are not padding; 0 at padding."""
        return (self.valid.long().cumsum(1) - 1).clamp(min=0)
