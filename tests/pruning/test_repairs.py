"""What the default does where the authors' code fails or does something accidental, and that it says so."""

from __future__ import annotations

import pytest
import torch

from redundancy.pruning.base import Method
from redundancy.pruning.methods.fastvid import FastVID, fastvid
from redundancy.pruning.methods.holitom import HoliTom
from redundancy.pruning.methods.holitom_inner import HoliTomInner
from redundancy.pruning.methods.vcast import VCast, vcast
from redundancy.pruning.parts.segment import FixedInterval, GivenSegments
from redundancy.reduction import Reduction
from tests.pruning.samples import scenes, video


def rows_of(r: Reduction) -> list[dict[int, float]]:
    rows: list[dict[int, float]] = [{} for _ in range(r.kept)]
    for s, t, w in zip(r.source.tolist(), r.target.tolist(), r.weight.tolist(), strict=True):
        rows[t][s] = rows[t].get(s, 0) + w
    return rows


def test_fastvid_variant_follows_the_layout_and_is_recorded() -> None:
    for layout, variant in (("onevision", "onevision"), ("llava_video", "llava_video"), ("qwen", "qwen")):
        assert FastVID()(video(layout=layout)).stages["variant"] == variant
    assert FastVID(variant="qwen")(video(layout="onevision")).stages["variant"] == "qwen"
    assert FastVID().needs(video(layout="qwen").layout).salience == "mean_query"
    assert FastVID()(video(layout="llava_video")).newline == "kept rows"
    assert FastVID()(video(layout="qwen")).newline == "none"


def test_fastvid_published_tau_depends_on_the_variant() -> None:
    x = torch.zeros(3, 4, 2)
    x[:, :, 0], x[1:, :, 1] = 1, 0.55  # cosine of frames 0 and 1: 0.876
    for layout, segments in (("onevision", [1, 2]), ("qwen", [3])):
        tokens = video(3, 2, 2, features=x, layout=layout)
        r = FastVID(retention=0.5, c=1, features="mean")(tokens)
        assert r.stages["segments"].tolist() == segments


def test_fastvid_with_fewer_frames_than_segments_says_so() -> None:
    r = FastVID(c=8)(video(4))
    assert r.stages["segments"].tolist() == [1] * 4
    assert "c = 8: 4 (frames)" in r.stages["clamped"]
    assert not any("c =" in text for text in FastVID(c=4)(video(4)).stages["clamped"])


def test_fastvid_context_token_is_no_member_of_itself() -> None:
    tokens = video(4, seed=4)
    one = FixedInterval(segments=1)
    r = FastVID(retention=0.5, p=4, segmenter=one, beta=0.5)(tokens)
    context = r.stages["context"].nonzero().flatten()
    for k in context.tolist():
        members = [s for s, w in rows_of(r)[k].items() if s != int(r.anchor[k])]
        assert len(members) == int(r.stages["merge_count"][k])
        assert rows_of(r)[k][int(r.anchor[k])] == pytest.approx(max(1 / (len(members) + 1), 0.5) if members else 1)
    pool = 4 * 16 - int((~r.stages["context"]).sum()) - len(context)
    assert int(r.stages["merge_count"].sum()) == pool
    literal = FastVID(retention=0.5, p=4, segmenter=one, beta=0.5, parity=True)(tokens)
    assert int(literal.stages["merge_count"].sum()) == pool + len(context)


def test_fastvid_merges_the_segment_also_where_the_budget_of_anchors_is_that_of_frames() -> None:
    tokens = video(4, seed=2)
    for parity, frames in ((False, {0, 1, 2, 3}), (True, {0})):
        r = FastVID(retention=0.5, p=1, segmenter=FixedInterval(segments=1), parity=parity)(tokens)
        of_first = [k for k in r.stages["context"].nonzero().flatten().tolist() if int(r.anchor[k]) < 16]
        assert {s // 16 for k in of_first for s in rows_of(r)[k]} == frames


def test_fastvid_zero_context_token_attracts_nothing_by_default() -> None:
    x = scenes(1, 9, 6, seed=0).abs()  # all cosines are positive, so a zero vector is never the nearest
    x[0, 7:] = 0
    given = {"variant": "onevision", "retention": 0.5, "c": 1, "d": 1.0}
    zero, members = {}, {}
    for parity in (False, True):
        r = fastvid(x, torch.zeros(1, 9), x.mean(1), parity=parity, **given)
        zero[parity] = (x[0, r.anchor] == 0).all(1)
        assert bool(zero[parity].any())
        of_zero = zero[parity][r.target] & (r.source != r.anchor[r.target])
        members[parity] = (x[0, r.source[of_zero]] != 0).any(1).sum().item()
    assert members[False] == 0
    assert members[True] > 0


def test_fastvid_frame_feature_of_zeros_resembles_nothing_by_default() -> None:
    x = torch.ones(4, 9, 3)
    x[1] = 0
    for parity, frames in ((False, [0, 1, 3]), (True, [3])):
        r = FastVID(0.3, variant="qwen", segmenter=FixedInterval(segments=1), parity=parity)(video(4, 3, 3, features=x))
        assert torch.unique(r.anchor // 9).tolist() == frames


@pytest.mark.parametrize(("d", "salient", "context"), [(0.0, 4, 0), (1.0, 0, 4)])
def test_fastvid_with_one_kind_of_token_only(d: float, salient: int, context: int) -> None:
    r = FastVID(retention=0.25, d=d, p=1)(video(5))
    assert r.stages["salient_budget"].tolist() == [salient] * 5
    assert r.stages["context_budget"].tolist() == [context] * 5


@pytest.mark.parametrize("kind", [FastVID, HoliTom, VCast])
@pytest.mark.parametrize("layout", ["onevision", "llava_video", "qwen"])
def test_a_retention_of_one_keeps_every_token_as_it_is(kind: type[Method], layout: str) -> None:
    tokens = video(6, layout=layout)
    r = kind(1.0)(tokens)
    assert torch.equal(r.apply(tokens.features), tokens.features.flatten(0, 1))
    assert r.stages["clamped"] or kind is VCast


def test_holitom_order_and_placement() -> None:
    x = video(4, seed=1).features[:1].expand(4, -1, -1).clone()
    x[1:, :8] = scenes(4, 8, 8, seed=5, cut=1.0)[1:]  # the upper half changes, the lower half is static
    tokens = video(4, features=x)
    one = HoliTom(retention=0.5, tau=0.8)(tokens)
    assert one.placement == "renumbered"
    kinds = one.stages["kind"].tolist()
    assert kinds == sorted(kinds, reverse=True)  # static ones first, then dynamic ones, in one window
    static = one.stages["kind"] == 1
    assert (one.anchor[static] < 16).all()  # in the first frame of the window
    grid = HoliTom(retention=0.5, tau=0.8, order="grid")(tokens)
    assert torch.equal(grid.anchor, one.anchor.sort().values)
    assert HoliTom(retention=0.5, tau=0.8)(video(4, features=x, layout="llava_video")).stages["order"] == "grid"


def test_holitom_refuses_the_grid_order_of_the_authors_on_other_grids() -> None:
    tokens = video(4, 2, 4, layout="llava_video")
    HoliTom()(tokens)
    HoliTom(parity=True, order="one_token")(tokens)
    with pytest.raises(ValueError, match="a grid of 2 x 4 given"):
        HoliTom(parity=True)(tokens)


def test_holitom_published_tau_depends_on_the_retention() -> None:
    x = torch.zeros(2, 4, 2)
    x[:, :, 0], x[1, :, 1] = 1, 0.9  # cosine 0.743
    for retention, windows in ((0.1, [2]), (0.15, [1, 1])):
        assert HoliTom(retention=retention)(video(2, 2, 2, features=x)).stages["segments"].tolist() == windows


def test_holitom_density_looks_at_more_than_the_centres() -> None:
    x = torch.tensor([[0.0, 0], [5.0, 5], [5.1, 5], [5.0, 5.1], [5.1, 5.1], [9.0, 0]]) + 20
    tokens = video(2, 2, 3, features=x[None].expand(2, -1, -1).contiguous())
    kept = {p: HoliTom(retention=0.08, tau=0.5, parity=p, k=4)(tokens).anchor.tolist() for p in (False, True)}
    assert kept[True] == [0]  # one centre: all densities are 1, the lowest index is taken
    assert kept[False][0] in (1, 2, 3, 4)


def test_holitom_keeps_half_of_ties_to_even() -> None:
    static = video(2, 1, 5, features=scenes(1, 5, 8, seed=0).expand(2, -1, -1).contiguous())
    assert HoliTom(retention=0.25)(static).stages["static_kept"].tolist() == [2]  # round(5 * 0.5)
    frame = video(1, 1, 5)
    assert HoliTom(retention=0.41)(frame).stages["dynamic_kept"].tolist() == [3]  # ceil(5 * 0.41)


def test_holitom_rounds_the_dominant_part_half_to_even() -> None:
    r = HoliTom(retention=0.5, D=0.5)(video(1, 2, 5))
    assert torch.bincount(r.stages["kind"], minlength=4).tolist() == [2, 0, 0, 3]  # five tokens, round(2.5) dominant


def test_vcast_selects_by_what_is_named() -> None:
    tokens = video(3, 2, 4)
    r = VCast(retention=0.5, selector="salience")(tokens)
    for t, budget in enumerate(r.stages["budget"].tolist()):
        best = tokens.salience["received"][t].topk(budget).indices.sort().values
        assert torch.equal(r.anchor[r.anchor // 8 == t] - 8 * t, best)
    by_density = VCast(retention=0.5, selector="density")(tokens)
    assert not torch.equal(by_density.anchor, VCast(retention=0.5)(tokens).anchor)


def test_vcast_gives_left_over_tokens_one_each() -> None:
    x = scenes(1, 10, 8, seed=0).expand(7, -1, -1).contiguous()
    tokens = video(7, 2, 5, features=x)
    assert VCast(retention=0.49)(tokens).stages["budget"].tolist() == [5, 5, 5, 5, 5, 5, 4]
    assert VCast(retention=0.49, parity=True)(tokens).stages["budget"].tolist() == [10, 4, 4, 4, 4, 4, 4]


def test_vcast_reports_what_min_k_adds() -> None:
    r = VCast(retention=0.05, min_k=2)(video(5))
    assert r.achieved == 10 / 80
    assert r.stages["clamped"] == ["4 tokens asked for: 10 (min_k = 2)"]
    assert VCast(retention=0.05)(video(1)).achieved == 1


def test_vcast_keeps_more_of_turning_frames() -> None:
    g = torch.Generator().manual_seed(0)
    step = torch.randn(2, 16, generator=g)
    path = torch.stack([step[0] * min(t, 4) + step[1] * max(t - 4, 0) for t in range(9)]) + 3
    tokens = video(9, features=(path[:, None] + 0.01 * torch.randn(9, 16, 16, generator=g)))
    index, stages = vcast(tokens.features, retention=0.5)
    assert int(stages["budget"][1:-1].argmax()) == 3  # the corner, between the two ends that count as right angles
    assert torch.bincount(index // 16, minlength=9).equal(stages["budget"])
    assert VCast(retention=0.5, budget="uniform")(tokens).stages["budget"].tolist() == [8] * 9
    in_segments = VCast(retention=0.5, budget="segments", min_k=0, segmenter=GivenSegments((3, 6)))(tokens)
    assert in_segments.stages["budget"].tolist() == [12] * 3 + [6] * 6


def test_inner_merging() -> None:
    g = torch.Generator().manual_seed(0)
    hidden, attention = torch.randn(10, 4, generator=g), torch.rand(10, generator=g)
    r = HoliTomInner(layer=2, merge_rate=0.35)(hidden, attention)
    assert r.kept == round(10 * 0.65)
    assert r.layer == 2
    expected = hidden.clone()
    kept = attention.argsort(descending=True)[: r.kept]
    for y in sorted(set(range(10)) - set(kept.tolist())):
        cosine = torch.cosine_similarity(hidden[y : y + 1], hidden[kept])
        target = kept[cosine.argmax()]
        expected[target] = (expected[target] + hidden[y]) / 2
    torch.testing.assert_close(r.apply(hidden), expected[kept.sort().values])
    mean = HoliTomInner(layer=2, merge_rate=0.35, merger="cluster_mean")(hidden, attention)
    assert not torch.allclose(mean.apply(hidden), r.apply(hidden))


def test_inner_merging_at_its_limits() -> None:
    hidden, attention = torch.randn(5, 4), torch.rand(5)
    assert HoliTomInner(merge_rate=0.0)(hidden, attention).is_selection
    everything = HoliTomInner(merge_rate=0.95)(hidden, attention)
    assert everything.anchor.tolist() == [int(attention.argmax())]
    assert everything.stages["clamped"] == ["0 places to keep: 1"]
    hidden[int(attention.argmax())] = 0
    assert (
        HoliTomInner(merge_rate=0.6, parity=True)(hidden, attention).stages["target"].tolist()
        == [int(attention.argmax())] * 3
    )
    for setting in ({"layer": 0}, {"merge_rate": 1.5}, {"merge_rate": 1.0}, {"merger": "other"}):
        with pytest.raises(ValueError, match="given, expected"):
            HoliTomInner(**setting)
    bad = hidden.clone()
    bad[3] = float("nan")
    with pytest.raises(ValueError, match="place 3 of the span is NaN or infinite"):
        HoliTomInner()(bad, attention)
