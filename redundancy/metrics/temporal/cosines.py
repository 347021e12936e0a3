"""Cosines of tokens and frames, block by block or through sums, so that no large table of pairs is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64, Num
from torch import Tensor

# Values of a block of frames: 8 MB of float32, so that no temporary is as large as the tokens of a long video.
BLOCK = 2**21
# Cosine distances of float64 unit vectors below this are rounding.
ROUNDING = 1e-12


def frames_per_block(tokens: Num[Tensor, "frames tokens channels"]) -> int:
    """Number of frames of which the tokens fill a block, at least 1."""
    return max(1, BLOCK // max(1, tokens.shape[1] * tokens.shape[2]))


def blocks_of_transitions(
    tokens: Num[Tensor, "frames tokens channels"],
) -> Iterator[Float[Tensor, "_ tokens channels"]]:
    """Blocks of frames in float32; the last frame of each is the first of the next."""
    step = frames_per_block(tokens)
    for start in range(0, len(tokens) - 1, step):
        yield tokens[start : start + step + 1].float()


def shifted_cosines(
    x: Float[Tensor, "frames rows cols channels"], *, shifts: Sequence[tuple[int, int]]
) -> Float[Tensor, "shifts transitions rows cols"]:
    """Cosine of each token to the one that lies `(rows, columns)` away in the frame before.

    NaN off the grid and at zero tokens.
    """
    frames, rows, cols, _ = x.shape
    norm = torch.linalg.vector_norm(x, dim=-1)
    cosine = x.new_full((len(shifts), frames - 1, rows, cols), torch.nan)
    for out, (r, c) in zip(cosine, shifts, strict=True):
        here = (slice(1, None), slice(max(0, -r), rows - max(0, r)), slice(max(0, -c), cols - max(0, c)))
        there = (slice(None, -1), slice(max(0, r), rows + min(0, r)), slice(max(0, c), cols + min(0, c)))
        out[(slice(None), *here[1:])] = (x[here] * x[there]).sum(-1) / (norm[here] * norm[there])
    return cosine


class Directions(NamedTuple):
    """Vectors at unit length, `[kept, F]`, and which of the given ones they are, `[T]`: zero vectors are left out."""

    unit: Float64[Tensor, "kept channels"]
    kept: Bool[Tensor, "frames"]


def directions(features: Float[Tensor, "frames channels"]) -> Directions:
    """Features at unit length without the zero vectors, which have no direction."""
    f = features.double()
    norm = torch.linalg.vector_norm(f, dim=-1)
    kept = norm > 0
    return Directions(f[kept] / norm[kept, None], kept)


def effective_number(unit: Float64[Tensor, "frames channels"]) -> Float64[Tensor, ""]:
    """Exponential of the entropy of the eigenvalues of `unit @ unit.T / T`; NaN without vectors."""
    if not len(unit):
        return unit.new_tensor(torch.nan)
    eigenvalues = torch.linalg.eigvalsh(unit @ unit.mT / len(unit)).clamp(min=0)
    number: Tensor = torch.special.entr(eigenvalues).sum().exp()
    return number


class SegmentSums(NamedTuple):
    """Directions summed by segment.

    `unit` `[kept, F]` and `label` `[kept]`, the segment of each; `total` `[S, F]` and `size` `[S]`, the sum and the
    number of the directions of each segment.
    """

    unit: Float64[Tensor, "kept channels"]
    label: Int64[Tensor, "kept"]
    total: Float64[Tensor, "segments channels"]
    size: Int64[Tensor, "segments"]


def segment_sums(frame_features: Float[Tensor, "frames channels"], segments: Int64[Tensor, "segments"]) -> SegmentSums:
    """Sums of the directions of the frames of each segment: the mean cosine to a segment needs no more.

    Raises
    ------
    ValueError
        If the lengths are not positive, or do not add up to the number of frames.
    """
    lengths = segments.cpu()
    if int(lengths.sum()) != len(frame_features) or bool((lengths < 1).any()):
        raise ValueError(
            f"segments={lengths.tolist()} given, expected positive lengths that add up to {len(frame_features)} frames"
        )
    unit, kept = directions(frame_features)
    label = torch.repeat_interleave(torch.arange(len(lengths)), lengths).to(unit.device)[kept]
    total = unit.new_zeros(len(lengths), unit.shape[1]).index_add_(0, label, unit)
    return SegmentSums(unit, label, total, torch.bincount(label, minlength=len(lengths)))


def silhouettes(sums: SegmentSums) -> Float64[Tensor, "kept"]:
    """`(b - a) / max(a, b)` per frame, 0 if a = b and in a segment of one frame.

    a is the mean cosine distance to the other frames of its segment, b the least mean distance to another segment.

    Source: Rousseeuw 1987, Journal of Computational and Applied Mathematics 20, 53-65.
    """
    unit, label, total, size = sums
    cosine, own = unit @ total.mT, label[:, None]
    away = (1 - cosine / size).masked_fill(size == 0, torch.inf).scatter(1, own, torch.inf).amin(1)
    within = 1 - (cosine.gather(1, own).squeeze(1) - 1) / (size[label] - 1)
    away, within = (x.masked_fill(x < ROUNDING, 0) for x in (away, within))
    silhouette: Tensor = (away - within) / torch.maximum(away, within)
    return silhouette.masked_fill((size[label] == 1) | (away == within), 0)
