"""Parts that ablations change: context tokens, budgets of other methods, ends, and salience without its sinks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from redundancy.metrics.kernels.peaks import density_peaks
from redundancy.metrics.trajectory import curvature
from redundancy.pruning import FastVID, HoliTom, VCast
from redundancy.pruning.methods.vcast import frame_path
from redundancy.pruning.parts.budget import CurvatureBudget, UniquenessBudget, WindowsBudget
from redundancy.pruning.parts.context import evenly, segment_clusters
from redundancy.pruning.parts.salience import WithoutSinks
from redundancy.pruning.parts.uniqueness import uniqueness
from redundancy.tokens import VideoTokens
from tests.pruning.samples import video


def test_even_steps_are_the_middles_of_equal_stretches() -> None:
    for count, share in ((6, 2), (7, 3), (5, 5), (9, 1), (4, 0)):
        candidates = torch.ones(1, 12, dtype=torch.bool)
        candidates[0, count:] = False
        expected = [int((i + 0.5) * count / share) for i in range(share)]
        assert evenly(candidates, torch.tensor([share]))[0].nonzero().flatten().tolist() == expected
    holes = torch.tensor([[True, False, True, True, False, True]])
    assert evenly(holes, torch.tensor([2]))[0].nonzero().flatten().tolist() == [2, 5]


def test_clusters_are_density_peaks_of_the_whole_segment() -> None:
    x = torch.randn(5, 9, 6, generator=torch.Generator().manual_seed(0))
    candidates = torch.rand(5, 9, generator=torch.Generator().manual_seed(1)) < 0.7
    budget, lengths = torch.tensor([1, 0, 2, 0, 2]), torch.tensor([3, 2])
    mask, at, member, target = segment_clusters(x, candidates, budget=budget, lengths=lengths)
    assert mask.sum() == len(at) == 5
    for frames, share in ((range(3), 3), (range(3, 5), 2)):
        place = [t * 9 + n for t in frames for n in range(9) if candidates[t, n]]
        score = density_peaks(x.flatten(0, 1)[place][None], k=7).score[0]
        best = sorted(place[i] for i in score.topk(share).indices.tolist())
        assert [int(i) for i in at if int(i) in place] == best
        for m, centre in zip(member.tolist(), at[target].tolist(), strict=True):
            if m in place:
                distance = [float((x.flatten(0, 1)[m] - x.flatten(0, 1)[b]).norm()) for b in best]
                assert centre == best[distance.index(min(distance))]
    assert sorted([*at.tolist(), *member.tolist()]) == candidates.flatten().nonzero().flatten().tolist()


@pytest.mark.parametrize("context", ["uniform", "cluster"])
def test_other_context_tokens_are_as_many(context: str) -> None:
    tokens = video()
    method = FastVID(retention=0.25, variant="llava_video", merger="cluster_mean")
    usual, other = method(tokens), replace(method, context=context)(tokens)
    assert other.kept == usual.kept
    assert bool((other.anchor.diff() > 0).all())
    assert torch.allclose(other.row_sums, torch.ones(other.kept, dtype=torch.float64))
    if context == "cluster":  # every output stands where its first source stood
        first = torch.full((other.kept,), 10**9).scatter_reduce(0, other.target, other.source, "amin")
        assert torch.equal(first, other.anchor)
        assert len(other.source) == len(set(other.source.tolist()))
    with pytest.raises(ValueError, match="the authors' code has 'density' alone"):
        replace(method, context=context, parity=True)


def test_budgets_of_other_methods() -> None:
    tokens = video()
    path = frame_path(tokens.features)
    weights = UniquenessBudget().weights(tokens, path)
    rate = uniqueness(tokens.features, retention=0.25).rate  # nothing is cut to a whole frame at a quarter
    assert torch.allclose(weights / weights.mean(), rate / rate.mean())
    left = WindowsBudget(tau=0.8).weights(tokens, path)
    holitom = HoliTom(retention=1.0, tau=0.8, parity=True, salience="norm")(tokens)
    kept = torch.bincount(holitom.anchor_token // tokens.grid.tokens_per_frame, minlength=tokens.grid.frames)
    assert torch.equal(left.long(), kept)  # at a retention of 1 HoliTom keeps what static places leave


def test_ends_weigh_as_the_sharpest_turn() -> None:
    tokens = video()
    path = frame_path(tokens.features)
    bent = CurvatureBudget(keep_ends=True).weights(tokens, path)
    assert bent[0] == bent[-1] == bent.max()
    assert torch.equal(path.curvature, curvature(path.representation).cpu())  # the path itself is as it was
    kept = VCast(retention=0.25, budget=CurvatureBudget(keep_ends=True))(tokens).stages["budget"]
    assert kept[0] >= VCast(retention=0.25)(tokens).stages["budget"][0]


def test_sinks_come_last() -> None:
    tokens = video()
    salience = torch.rand(tokens.features.shape[:2], generator=torch.Generator().manual_seed(0)) / 100
    salience[:, 3] += 5.0
    given = replace(tokens, salience={**tokens.salience, "received": salience})
    score = WithoutSinks()(given)
    assert torch.equal(score[:, 3], salience.amin(1))
    others = torch.arange(salience.shape[1]) != 3
    assert torch.equal(score[:, others], salience[:, others])
    kept = HoliTom(retention=0.25, salience=WithoutSinks(), max_window=0)(given)
    assert not bool((kept.anchor_token % given.grid.tokens_per_frame == 3).any())
    assert isinstance(given, VideoTokens)
