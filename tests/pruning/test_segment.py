"""Segmenters: rules one by one, brute force for the exact ones, invariants for all."""

from __future__ import annotations

import itertools
from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.pruning.parts.segment import (
    SEGMENTERS,
    DySeg,
    GivenSegments,
    RandomCuts,
    Segmenter,
    agglomerative,
    contiguous_labels,
    cuts_to_lengths,
    dyseg,
    fixed_interval,
    frame_clusters,
    frame_features,
    labels_to_lengths,
    lengths_to_cuts,
    random_cuts,
)
from redundancy.pruning.parts.windows import static_windows
from redundancy.tokens import VideoTokens


def test_cuts_and_lengths_are_inverse() -> None:
    lengths = torch.tensor([3, 1, 4])
    assert lengths_to_cuts(lengths).tolist() == [2, 3]
    assert torch.equal(cuts_to_lengths(lengths_to_cuts(lengths), 8), lengths)
    for cuts in ([3, 2], [7], [-1], [2, 2]):
        with pytest.raises(ValueError, match=r"expected ascending frames in 0..6"):
            cuts_to_lengths(torch.tensor(cuts), 8)


def test_fixed_interval() -> None:
    assert fixed_interval(32, 8).tolist() == [4] * 8
    assert fixed_interval(7, 3).tolist() == [2, 2, 3]
    assert fixed_interval(3, 8).tolist() == [1, 1, 1]


def test_random_cuts_depend_on_the_seed_only() -> None:
    assert torch.equal(random_cuts(30, 6, 1), random_cuts(30, 6, 1))
    assert not torch.equal(random_cuts(30, 6, 1), random_cuts(30, 6, 2))
    first = torch.stack([lengths_to_cuts(random_cuts(5, 2, s))[0] for s in range(400)])
    counts = torch.bincount(first, minlength=4)
    assert (counts > 60).all()  # 100 expected each, standard deviation 9


@pytest.mark.parametrize(
    ("similarity", "c", "tau", "expected"),
    [
        ([0.9, 0.2, 0.8, 0.3], 2, -1.0, [2, 3]),  # the least similar transition
        ([0.9, 0.2, 0.8, 0.3], 1, 0.85, [2, 1, 1, 1]),  # all below tau
        ([0.9, 0.2, 0.8, 0.3], 3, 0.25, [2, 2, 1]),  # union
        ([0.9, 0.5, 0.9], 1, 0.5, [4]),  # strictly below
        ([1.0, 1.0, 1.0], 3, 0.9, [1, 1, 2]),  # ties to the lowest index
        ([1.0, 1.0], 8, 0.9, [1, 1, 1]),  # c is at most T
        ([], 8, 0.9, [1]),
    ],
)
def test_dyseg_rules(similarity: list[float], c: int, tau: float, expected: list[int]) -> None:
    assert dyseg(torch.tensor(similarity), c=c, tau=tau).tolist() == expected


def test_dyseg_with_a_zero_frame() -> None:
    s = torch.tensor([0.95, float("nan"), 0.94])
    assert dyseg(s, c=1, tau=0.9).tolist() == [2, 2]
    assert dyseg(s, c=1, tau=0.9, parity=True).tolist() == [4]
    assert dyseg(s, c=4, tau=0.9, parity=True).tolist() == [1, 2, 1]


def test_dpc_knn_finds_planted_clusters() -> None:
    g = torch.Generator().manual_seed(0)
    centre = torch.randn(3, 8, generator=g) * 5
    labels = torch.tensor([0] * 4 + [1] * 6 + [2] * 5)
    found = frame_clusters(centre[labels] + 0.1 * torch.randn(15, 8, generator=g), clusters=3, k=3)
    assert labels_to_lengths(found).tolist() == [4, 6, 5]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0, 0, 1, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0, 1, 1]),  # shorter run and single frame take the longer neighbour
        ([2, 2, 0, 1, 1], [2, 2, 2, 1, 1]),  # equal neighbours: left
        ([2, 2, 0, 1, 1, 1], [2, 2, 1, 1, 1, 1]),
        ([0, 1, 2], [0, 0, 0]),  # no run at all
        ([3, 1, 1, 4, 5, 2, 2, 2], [1, 1, 1, 1, 1, 2, 2, 2]),  # the left run has grown over the first gap
        ([0, 0, 1, 0, 0], [0, 0, 0, 0, 0]),  # equal longest runs both stay
    ],
)
def test_contiguous_labels(labels: list[int], expected: list[int]) -> None:
    assert contiguous_labels(torch.tensor(labels)).tolist() == expected


def test_agglomerative_finds_planted_scenes() -> None:
    g = torch.Generator().manual_seed(0)
    scene = torch.randn(3, 16, generator=g)[torch.tensor([0] * 5 + [1] * 3 + [2] * 8)]
    x = scene + 0.1 * torch.randn(16, 16, generator=g)
    assert agglomerative(x, segments=3).tolist() == [5, 3, 8]
    assert agglomerative(x, segments=1).tolist() == [16]
    assert agglomerative(x, segments=99).tolist() == [1] * 16


def best_windows(f: torch.Tensor, tau: float, longest: int) -> tuple[float, set[tuple[int, ...]]]:
    T = len(f) + 1
    gains = {}
    for cuts in itertools.product([False, True], repeat=T - 1):
        lengths = cuts_to_lengths(torch.tensor(cuts).nonzero().flatten(), T).tolist()
        if max(lengths) > max(longest, 1):
            continue
        ends = list(itertools.accumulate(lengths))
        gains[tuple(lengths)] = sum(
            int((f[e - n : e - 1] > tau).all(0).sum()) * (n - 1) for n, e in zip(lengths, ends, strict=True) if n > 1
        )
    best = max(gains.values())
    return best, {k for k, v in gains.items() if v == best}


@given(st.integers(0, 9999), st.integers(1, 7), st.integers(1, 6), st.floats(0, 1), st.integers(0, 8))
@settings(deadline=None)
def test_static_windows_are_the_best(seed: int, T: int, N: int, tau: float, longest: int) -> None:
    f = torch.rand(T - 1, N, generator=torch.Generator().manual_seed(seed))
    found = static_windows(f, tau=tau, max_window=longest)
    total, choices = best_windows(f, tau, longest)
    assert found.total == total
    assert tuple(found.lengths.tolist()) in choices


def test_static_windows_prefer_short_ones_and_ignore_nan() -> None:
    assert static_windows(torch.full((5, 3), float("nan")), tau=-1.0).lengths.tolist() == [1] * 6
    assert static_windows(torch.ones(5, 3), tau=0.8).lengths.tolist() == [6]
    assert static_windows(torch.full((5, 3), 0.8), tau=0.8).lengths.tolist() == [1] * 6  # strictly above, in float32
    alternating = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert static_windows(alternating, tau=0.5).lengths.tolist() == [2, 1]  # two windows of gain 1


@pytest.mark.parametrize("name", SEGMENTERS)
@given(st.integers(0, 99), st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_every_segmenter_covers_the_video(name: str, seed: int, T: int) -> None:
    x = torch.randn(T, 6, 5, generator=torch.Generator().manual_seed(seed))
    tokens = VideoTokens.from_features(x, rows=2, cols=3)
    lengths = SEGMENTERS[name](tokens)
    assert lengths.dtype == torch.int64
    assert int(lengths.sum()) == T
    assert (lengths > 0).all()
    assert torch.equal(lengths, SEGMENTERS[name](tokens))


@pytest.mark.parametrize("name", SEGMENTERS)
@pytest.mark.parametrize("T", [1, 2, 9])
def test_every_segmenter_takes_a_static_video(name: str, T: int) -> None:
    tokens = VideoTokens.from_features(torch.ones(T, 6, 5), rows=2, cols=3)
    assert int(SEGMENTERS[name](tokens).sum()) == T


@pytest.mark.parametrize("kind", [type(s) for s in SEGMENTERS.values()])
def test_settings_out_of_range(kind: type[Segmenter]) -> None:
    numbers = {f.name: type(getattr(kind(), f.name)) for f in fields(kind)}
    field = next(name for of in (int, float) for name, found in numbers.items() if found is of)
    with pytest.raises(ValueError, match=f"{field}=-1 given, expected a value in"):
        kind(**{field: -1})


def test_given_segments_must_fit() -> None:
    tokens = VideoTokens.from_features(torch.zeros(5, 4, 3), rows=2, cols=2)
    assert GivenSegments((2, 3))(tokens).tolist() == [2, 3]
    with pytest.raises(ValueError, match="add up to 4, expected 5 frames"):
        GivenSegments((1, 3))(tokens)
    for lengths in ((), (2, 0)):
        with pytest.raises(ValueError, match="expected positive segment lengths"):
            GivenSegments(lengths)


def test_frame_features_by_name() -> None:
    x = torch.randn(3, 4, 5)
    own = VideoTokens.from_features(x, rows=2, cols=2, frame_features={"pooling_head": torch.zeros(3, 2)})
    torch.testing.assert_close(frame_features(own, "mean"), x.mean(1))
    assert frame_features(own, "pooling_head").shape == (3, 2)
    assert DySeg(features="pooling_head").needs().frame_features == "pooling_head"
    with pytest.raises(ValueError, match="no frame_features of source 'other'"):
        DySeg(features="other")(own)
    assert RandomCuts(segments=2)(own).tolist() in ([1, 2], [2, 1])
