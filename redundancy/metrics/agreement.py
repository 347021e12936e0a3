"""How far two reductions of one video agree, and what chance would give."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from scipy.stats import hypergeom
from torch import Tensor

from redundancy.metrics.kernels.placement import anchors_per_frame
from redundancy.metrics.kernels.ranks import spearman
from redundancy.metrics.registry import metric
from redundancy.reduction import Reduction

AGREEMENT = {  # of `agreement_with_chance`, and what they mean
    "anchor_jaccard": "Jaccard index of the places kept",
    "source_jaccard": "Jaccard index of the places whose content is kept",
    "budget_spearman": "rank correlation of the numbers kept per frame",
    "anchor_expected": "anchor_jaccard of random choices of the same numbers",
    "anchor_expected_in_frames": "anchor_jaccard of random choices of the same numbers in every frame",
    "source_expected": "source_jaccard of random choices of the same numbers",
    "anchor_excess": "anchor_jaccard minus that of random choices",
    "anchor_excess_in_frames": "anchor_jaccard minus that of random choices with the same numbers in every frame",
    "source_excess": "source_jaccard minus that of random choices",
    "achieved_first": "share of tokens kept by the first",
    "achieved_second": "share of tokens kept by the second",
}


@metric(
    dims=(),
    unit="1",
    bounds=(0, 1),
    higher="two reductions keep the same places",
    source="own; Jaccard 1912",
    known=("the same reduction: 1", "2 places each, 1 in common: 1/3", "none in common: 0"),
    undefined="where neither keeps a video token",
)
def anchor_jaccard(reduction: Reduction, other: Reduction) -> Float[Tensor, ""]:
    """Jaccard index of the sets of anchors: `|A and B| / |A or B|`, newlines left out.

    Parameters
    ----------
    reduction, other
        Of the same video.

    Returns
    -------
    A scalar, float32.

    Raises
    ------
    ValueError
        If their grids differ.

    Examples
    --------
    >>> anchor_jaccard(Reduction.from_selection([0, 5], grid=tokens.grid), Reduction.keep_all(tokens.grid)) < 0.02
    tensor(True)
    """
    _expect_same_grid(reduction, other)
    return _jaccard(*(_marked(r, r.anchor_token, reduction.anchor.device) for r in (reduction, other)))


@metric(
    dims=(),
    unit="1",
    bounds=(0, 1),
    higher="two reductions keep the content of the same places",
    source="own; Jaccard 1912",
    known=("the same reduction: 1", "2 sources against 3 with 1 in common: 1/4", "none in common: 0"),
    undefined="where neither takes anything from a video token",
)
def source_jaccard(reduction: Reduction, other: Reduction) -> Float[Tensor, ""]:
    """Jaccard index of the sets of tokens that outputs take something from (weight > 0), newlines left out.

    Parameters
    ----------
    reduction, other
        Of the same video.

    Returns
    -------
    A scalar, float32.

    Raises
    ------
    ValueError
        If their grids differ.
    """
    _expect_same_grid(reduction, other)
    return _jaccard(*(_marked(r, content_places(r), reduction.anchor.device) for r in (reduction, other)))


@metric(
    dims=(),
    unit="1",
    bounds=(-1, 1),
    higher="two reductions spend more on the same frames",
    source="own; Spearman 1904",
    known=("the same uneven reduction: 1", "reversed budgets: -1"),
    undefined="where a budget is the same in all frames",
)
def budget_spearman(reduction: Reduction, other: Reduction) -> Float[Tensor, ""]:
    """Spearman correlation over frames of the number of anchors in each frame.

    Parameters
    ----------
    reduction, other
        Of the same video.

    Returns
    -------
    A scalar, float32.

    Raises
    ------
    ValueError
        If their grids differ.
    """
    _expect_same_grid(reduction, other)
    return spearman(*(anchors_per_frame(r).to(reduction.anchor.device) for r in (reduction, other)))


def kept_per_frame(reduction: Reduction, *, of: str = "anchors") -> Int64[Tensor, "frames"]:
    """How many different places of each frame a reduction keeps.

    Parameters
    ----------
    of
        `"anchors"`: places where an output stands; `"sources"`: places that outputs take something from.

    Returns
    -------
    `[T]` on the CPU; newlines are no places.

    Raises
    ------
    ValueError
        If `of` is neither.
    """
    if of not in ("anchors", "sources"):
        raise ValueError(f"of={of!r} given, expected 'anchors' or 'sources'")
    place = (reduction.anchor_token if of == "anchors" else content_places(reduction)).cpu()
    frame = torch.unique(place[place >= 0]) // reduction.grid.tokens_per_frame
    return torch.bincount(frame, minlength=reduction.grid.frames)


def content_places(reduction: Reduction) -> Int64[Tensor, "entries"]:
    """Tokens that outputs take something from (weight > 0), as often as they do; -1 for newlines."""
    return reduction.slots[reduction.source[reduction.weight > 0]]


def expected_jaccard(total: int, first: Int64[Tensor, "groups"], second: Int64[Tensor, "..."]) -> float:
    """Mean Jaccard index of two independent random choices of given numbers in each of several groups of places.

    The number in common is a sum over groups of hypergeometric numbers: their distributions are convolved.

    Parameters
    ----------
    total
        Places in each group: T*N with one group, the whole video, or N with a group per frame.
    first, second
        `[groups]` how many each chooses there, see `kept_per_frame`.

    Returns
    -------
    In [0, 1]; NaN where neither chooses any.

    Raises
    ------
    ValueError
        If the groups differ in number, or a choice is of more than all places.
    """
    if first.shape != second.shape:
        raise ValueError(f"second of {len(second)} groups given, expected {len(first)} as the first has")
    probability = np.ones(1)
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        if max(a, b) > total:
            raise ValueError(f"{max(a, b)} places chosen of {total}, expected at most all of a group")
        probability = np.convolve(probability, _in_common(total, a, b))
    common = np.arange(len(probability))
    size = int(first.sum() + second.sum())
    return float((probability * common / (size - common)).sum()) if size else float("nan")


def agreement_with_chance(first: Reduction, second: Reduction) -> dict[str, float]:
    """Every measure of agreement of two reductions of one video, beside what random choices would give.

    Returns
    -------
    As `AGREEMENT` says; for `expected`, see `expected_jaccard`.

    Raises
    ------
    ValueError
        If their grids differ.
    """
    T, N = first.grid.frames, first.grid.tokens_per_frame
    index = {
        "anchor_jaccard": anchor_jaccard(first, second).item(),
        "source_jaccard": source_jaccard(first, second).item(),
        "budget_spearman": budget_spearman(first, second).item(),
    }
    anchors, sources = ([kept_per_frame(r, of=of) for r in (first, second)] for of in ("anchors", "sources"))
    expected = {
        "anchor_expected": expected_jaccard(T * N, *(a.sum()[None] for a in anchors)),
        "anchor_expected_in_frames": expected_jaccard(N, *anchors),
        "source_expected": expected_jaccard(T * N, *(s.sum()[None] for s in sources)),
    }
    return (
        index
        | expected
        | {
            "anchor_excess": index["anchor_jaccard"] - expected["anchor_expected"],
            "anchor_excess_in_frames": index["anchor_jaccard"] - expected["anchor_expected_in_frames"],
            "source_excess": index["source_jaccard"] - expected["source_expected"],
            "achieved_first": first.achieved,
            "achieved_second": second.achieved,
        }
    )


@lru_cache(maxsize=100_000)
def _in_common(total: int, first: int, second: int) -> Float64[np.ndarray, "common"]:
    """Probability of 0, 1, ... common elements of two random subsets of these sizes."""
    if not first or not second:
        return np.ones(1)
    return np.asarray(hypergeom(total, first, second).pmf(np.arange(min(first, second) + 1)), dtype=np.float64)


def _expect_same_grid(reduction: Reduction, other: Reduction) -> None:
    """Refuse reductions of different videos."""
    if reduction.grid != other.grid:
        raise ValueError(f"other on grid {tuple(other.grid)} given, expected {tuple(reduction.grid)}")


def _marked(r: Reduction, token: Int64[Tensor, "_"], device: torch.device) -> Bool[Tensor, "tokens"]:
    """`[T*N]` True at the given tokens; newlines (-1) are none."""
    marked = torch.zeros(r.grid.frames * r.grid.tokens_per_frame, dtype=torch.bool, device=device)
    marked[token[token >= 0].to(device)] = True
    return marked


def _jaccard(a: Tensor, b: Tensor) -> Float[Tensor, ""]:
    """Size of the intersection over that of the union."""
    return (a & b).sum().float() / (a | b).sum().float()
