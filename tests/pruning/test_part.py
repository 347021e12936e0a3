"""Parts as fields of methods: names and objects are one, settings meet in one place, needs add up."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import pytest
import torch
from torch import Tensor

from redundancy.pruning import (
    BUDGETS,
    MERGERS,
    METHODS,
    SALIENCE_SOURCES,
    SEGMENTERS,
    SELECTORS,
    FastVID,
    HoliTom,
    HoliTomInner,
    PruneVid,
    Salience,
    VCast,
    VisionZip,
)
from redundancy.pruning.base import InnerMethod, Method, Needs
from redundancy.pruning.part import Registry
from redundancy.pruning.parts.budget import CurvatureBudget, SegmentBudget, UniformBudget
from redundancy.pruning.parts.merge import AnchorCentric, ClusterWeights, Drop, Merger, Mixture
from redundancy.pruning.parts.salience import RandomSalience, Recorded
from redundancy.pruning.parts.segment import Agglomerative, DySeg, FixedInterval, RandomCuts
from redundancy.pruning.parts.select import SalienceSelector, Unusual, token_score
from redundancy.pruning.table import INNER_METHODS
from redundancy.tokens import VideoTokens
from tests.pruning.samples import LAYOUTS, video

REGISTRIES = (MERGERS, BUDGETS, SELECTORS, SEGMENTERS, SALIENCE_SOURCES)


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda r: r.what)
def test_registries(registry: Registry) -> None:
    assert len(registry)
    for name, part in registry.items():
        assert isinstance(part, registry.base)
        assert registry.key_of(name) == registry.named(part) == name
        assert registry.resolved(name) == part
    with pytest.raises(ValueError, match=rf"{registry.what}='nothing' given, expected one of"):
        registry.key_of("nothing")


@pytest.mark.parametrize("method", [e.method for e in [*METHODS.values(), *INNER_METHODS.values()]], ids=str)
def test_every_part_of_every_slot(method: Method | InnerMethod) -> None:
    for field, slot in method.slots.items():
        for name, part in slot.registry.items():
            given = replace(method, **{field: name})
            assert getattr(given, field) == name
            assert type(given.part(field)) is type(part)
            assert replace(method, **{field: given.part(field)}) == given  # the object is the name
            if isinstance(given, Method):
                r = given(video(seed=3))
                assert r.kept
                assert r.settings == given.settings


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FastVID(merger=AnchorCentric(beta=0.3)), FastVID(beta=0.3)),
        (FastVID(merger=Drop()), FastVID(merger="drop")),
        (FastVID(merger="ClusterMean"), FastVID(merger="cluster_mean")),
        (FastVID(merger=Mixture(beta=0.2)), FastVID(merger="mixture", beta=0.2)),
        (FastVID(salience=Recorded("norm")), FastVID(salience="norm")),
        (HoliTom(segmenter=RandomCuts()), HoliTom(segmenter="random_cuts")),
        (HoliTomInner(merger=Mixture()), HoliTomInner(merger="mixture")),
        (VCast(budget=CurvatureBudget(temperature=0.2)), VCast(temperature=0.2)),
        (VCast(budget=SegmentBudget(segmenter="agglomerative")), VCast(budget="segments", segmenter=Agglomerative())),
        (VCast(budget=UniformBudget()), VCast(budget="uniform")),
        (VCast(selector=SalienceSelector(salience="norm")), VCast(selector="salience", salience="norm")),
        (replace(FastVID(merger=AnchorCentric(beta=0.3)), beta=0.6), FastVID()),
    ],
)
def test_a_part_and_its_name_are_one(one: Method, other: Method) -> None:
    assert one == other
    assert one.settings == other.settings


def test_what_a_name_does_not_say_stays_an_object() -> None:
    method = FastVID(segmenter=FixedInterval(segments=4))
    assert method.segmenter == FixedInterval(segments=4)
    assert method.settings["segmenter"] == {"name": "FixedInterval", "segments": 4}
    assert HoliTomInner(merger=Mixture(beta=0.3)).merger == Mixture(beta=0.3)
    assert FastVID(beta=0.3).settings["merger"] == {"name": "AnchorCentric", "beta": 0.3}
    assert (FastVID(merger="drop").settings["merger"], VCast().settings["salience"]) == ("drop", "received")


def test_one_setting_with_two_values() -> None:
    with pytest.raises(ValueError, match=r"merger=Mixture\(beta=0.3\) beside beta=0.2 given, expected beta once"):
        FastVID(merger=Mixture(beta=0.3), beta=0.2)
    with pytest.raises(ValueError, match="merger='densty' given, expected one of"):
        FastVID(merger="densty")
    with pytest.raises(ValueError, match=r"merger='mixtur' given.*did you mean 'mixture'"):
        FastVID(merger="mixtur")


def test_needs_say_what_every_part_reads() -> None:
    assert FastVID().needs(LAYOUTS["qwen"]) == Needs("mean_query", "mean")
    assert FastVID().needs(LAYOUTS["llava_video"]) == Needs("pooling_head", "pooling_head")
    assert FastVID(variant="qwen").needs(LAYOUTS["onevision"]) == Needs("mean_query", "mean")
    assert FastVID(salience="random", features="mean").needs() == Needs(None, "mean")
    by_head = DySeg(features="pooling_head")
    assert FastVID(features="mean", segmenter=by_head).needs() == Needs("pooling_head", "pooling_head")
    assert HoliTom(segmenter=by_head).needs() == Needs("received", "pooling_head")
    assert PruneVid(segmenter=by_head).needs() == Needs(None, "pooling_head")
    assert VCast().needs() == Needs()
    assert VCast(budget="segments", segmenter=by_head).needs() == Needs(None, "pooling_head")
    assert VCast(selector="salience").needs() == Needs("received")
    assert VisionZip().needs() == Needs("received")
    assert VisionZip(metric="keys").needs() == Needs("received", keys=True)
    with pytest.raises(ValueError, match=r"two sources of frame_features given, \['a', 'b'\]"):
        Needs(frame_features="a").also(Needs(frame_features="b"))


def test_keys_are_checked_like_all_that_is_read() -> None:
    tokens = video(seed=1)
    tokens.extra["keys"][3, 2, 1] = torch.nan
    with pytest.raises(ValueError, match=r"frame 3 has NaN or infinite keys"):
        VisionZip(metric="keys")(tokens)
    assert VisionZip()(tokens).kept


def test_each_term_of_the_dual_anchors() -> None:
    x = torch.randn(3, 6, 4)
    z = torch.nn.functional.normalize(x.mean(1), dim=-1)
    both, alone = token_score(x, z), token_score(x, z, length=False) + token_score(x, z, direction=False)
    torch.testing.assert_close(both, alone, rtol=0, atol=1e-6)  # the same two float32 terms
    with pytest.raises(ValueError, match="direction=False, length=False given"):
        Unusual(direction=False, length=False)


def test_random_salience_has_a_stream_a_seed_and_a_video() -> None:
    one, two = video(seed=1), video(seed=2)
    draw = RandomSalience(seed=4)
    assert torch.equal(draw(one), draw(one))
    assert not torch.equal(draw(one), draw(two))
    assert not torch.equal(draw(one), RandomSalience(seed=5)(one))


@dataclass(frozen=True)
class _Half(Merger):
    """Half to the anchor, as no merger of the package does."""

    share: float = 0.5

    def __call__(self, target: Tensor, outputs: int) -> ClusterWeights:
        weights = Mixture(beta=self.share)(target, outputs)
        return ClusterWeights(weights.anchor, weights.member)


@dataclass(frozen=True)
class _First(Salience):
    """The first tokens of a frame matter."""

    def __call__(self, tokens: VideoTokens) -> Tensor:
        T, N, _ = tokens.features.shape
        return torch.arange(N, 0, -1).float().expand(T, N)


def test_parts_of_a_user_without_a_name() -> None:
    tokens = video(seed=2)
    mine, theirs = FastVID(merger=_Half())(tokens), FastVID(merger=Mixture(beta=0.5))(tokens)
    assert torch.equal(mine.weight, theirs.weight)
    assert mine.settings["merger"] == {"name": "_Half", "share": 0.5}
    kept = VCast(selector="salience", salience=_First())(tokens)
    assert (kept.anchor[1:] != kept.anchor[:-1]).all()
    assert FastVID(salience=_First(), features="mean").needs().salience is None


def test_published_defaults_are_as_they_were() -> None:
    given = {f.name: f.default for f in fields(FastVID)}
    assert (given["merger"], given["beta"], given["salience"], given["segmenter"]) == (
        "anchor_centric",
        0.6,
        "auto",
        None,
    )
    assert (HoliTom().merger, HoliTom().salience) == ("mixture", "received")
    assert (VCast().budget, VCast().selector, VCast().segmenter) == ("curvature", "unusual", "dyseg")
