"""What a user may give where a method is expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import redundancy as rd
from redundancy.checks import check_fields
from redundancy.digest import digest_of
from redundancy.pruning import (
    INNER_METHODS,
    MERGERS,
    METHODS,
    AveragePool,
    DyCoke,
    FastV,
    FastVID,
    HoliTomInner,
    RandomTokens,
    VCast,
    VisionZip,
    as_inner,
    as_method,
    label_of,
)
from redundancy.pruning.base import InnerMethod, Method
from redundancy.pruning.parts.budget import SegmentBudget
from redundancy.pruning.parts.merge import AnchorCentric, Mixture
from redundancy.pruning.parts.segment import Agglomerative, FixedInterval, RandomCuts
from redundancy.pruning.parts.select import Unusual
from redundancy.reduction import Reduction
from tests.pruning.samples import video


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("fastvid", FastVID()),
        ("FastVID", FastVID()),
        ("fastvid(0.25)", FastVID(retention=0.25)),
        (" fast_vid ( retention = 0.25 , tau = 0.8 ) ", FastVID(retention=0.25, tau=0.8)),
        ("vcast()", VCast()),
        ("random-tokens(seed=3)", RandomTokens(seed=3)),
        ("average_pool('centroid')", AveragePool(placement="centroid")),
        ("average_pool:placement=centroid", AveragePool(placement="centroid")),
        ("fastvid:d=0.2", FastVID(d=0.2)),
        ("fastvid:d=0.2;merger=drop", FastVID(d=0.2, merger="drop")),
        ("fastvid:d=0.2,merger=drop", FastVID(d=0.2, merger="drop")),
        (" fastvid : 0.25 ; c = 4 ", FastVID(retention=0.25, c=4)),
        ("fastvid:segmenter=agglomerative", FastVID(segmenter=Agglomerative())),
        ("fastvid:segmenter=fixed_interval(segments=4)", FastVID(segmenter=FixedInterval(segments=4))),
        ("fastvid(0.25, segmenter=FixedInterval(4))", FastVID(retention=0.25, segmenter=FixedInterval(segments=4))),
        ("fastvid:segmenter=None;tau=-1", FastVID(tau=-1.0)),
        ("fastvid:merger=anchor_centric(beta=0.3)", FastVID(beta=0.3)),
        ("fastvid:beta=0.3;merger=mixture()", FastVID(beta=0.3, merger="mixture")),
        ("vcast:left_over='largest fraction';min_k=2", VCast(left_over="largest fraction", min_k=2)),
        (
            "vcast:budget=segments(segmenter=random_cuts(segments=2));selector=unusual(length=False)",
            VCast(budget="segments", segmenter=RandomCuts(segments=2), selector=Unusual(length=False)),
        ),
        (FastVID, FastVID()),
        (VCast(min_k=2), VCast(min_k=2)),
    ],
)
def test_names_classes_and_methods(given: Any, meant: Method) -> None:
    assert as_method(given) == meant


@pytest.mark.parametrize("name", METHODS)
def test_every_method_by_its_name_its_class_and_its_repr(name: str) -> None:
    method = METHODS[name].method
    assert as_method(name) == as_method(type(method)) == as_method(type(method).__name__) == method
    assert as_method(repr(method)) == method


def test_inner_methods() -> None:
    for name, entry in INNER_METHODS.items():
        assert as_inner(name) == as_inner([type(entry.method)]) == (entry.method,)
    assert as_inner(["fastv(layer=3)", HoliTomInner]) == (FastV(layer=3), HoliTomInner())
    assert as_inner("holitom_inner:layer=2;merge_rate=0.5") == (HoliTomInner(layer=2, merge_rate=0.5),)
    assert as_inner(["fastv:layer=3", "holitom_inner:merger=mixture(beta=0.3)"])[1] == HoliTomInner(
        merger=Mixture(beta=0.3)
    )
    assert as_inner(None) == as_inner([]) == ()
    ready = Reduction.keep_all(video().grid)
    assert as_inner([ready, [ready]]) == ((ready,), [ready])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fastvid:", "expected a name with plain values"),
        ("fastvid:d", "retention"),
        ("fastvid:d=", "expected a name with plain values"),
        ("fastvid:d=0.2;;", "expected a name with plain values"),
        ("fastvid:d=(0.2", "expected a name with plain values"),
        ("fastvid:e=0.2", r"fastvid has no setting 'e'.*it has"),
        ("fastvid:d=0.2;d=0.3", "expected a name with plain values|sets d twice"),
        ("fastvid:merger=drob", r"merger='drob' given, expected one of .*did you mean 'drop'"),
        ("fastvid:merger=drob(beta=1)", r"merger='drob' given, expected one of .*did you mean 'drop'"),
        ("fastvid:merger=drop(beta=1)", r"drop has no setting 'beta'"),
        ("fastvid:c=drop()", r"c=drop\(...\) is no part: only parts have brackets"),
        ("fastvid:segmenter=fixed_interval(segments=0)", r"segments=0 given, expected"),
        ("fastvd:d=0.2", r"there is no method 'fastvd' \(did you mean fastvid\?\)"),
        ("holitom_inner:layer=2", "belongs elsewhere: give it as inner"),
    ],
)
def test_texts_that_say_nothing(text: str, message: str) -> None:
    with pytest.raises((ValueError, TypeError, jaxtyping.TypeCheckError), match=message):
        as_method(text)


LABELS = {
    "fastvid(0.1)": FastVID(),
    "fastvid(0.25, c=4)": FastVID(retention=0.25, c=4),
    "fastvid(1, merger=drop)": FastVID(retention=1.0, merger="drop"),
    "fastvid(0.1, segmenter=fixed_interval(segments=4))": FastVID(segmenter=FixedInterval(segments=4)),
    "fastvid(0.1, beta=0.3)": FastVID(merger=AnchorCentric(beta=0.3)),
    "fastvid(0.1, tau=0.8, salience=norm)": FastVID(tau=0.8, salience="norm"),
    "dycoke": DyCoke(),
    "dycoke(K=0.5)": DyCoke(K=0.5),
    "visionzip(0.32653061224489793)": VisionZip(retention=64 / 196),
    "vcast(0.25, left_over='largest fraction')": VCast(left_over="largest fraction"),
    "vcast(0.25, selector=unusual(length=False))": VCast(selector=Unusual(length=False)),
    "vcast(0.25, budget=segments, segmenter=random_cuts(segments=2))": VCast(
        budget=SegmentBudget(segmenter=RandomCuts(segments=2))
    ),
    "random_tokens(0.25, seed=3)": RandomTokens(seed=3),
    "average_pool(placement=centroid)": AveragePool(placement="centroid"),
    "fastv": FastV(),
    "holitom_inner(layer=2, merger=mixture(beta=0.3))": HoliTomInner(layer=2, merger=Mixture(beta=0.3)),
}


@pytest.mark.parametrize("text", LABELS)
def test_labels_read_back(text: str) -> None:
    method = LABELS[text]
    assert label_of(method) == text
    made = as_inner(text)[0] if isinstance(method, InnerMethod) else as_method(text)
    assert made == method
    assert digest_of(made) == digest_of(method)


@given(st.floats(0.0001, 1), st.integers(1, 30), st.floats(0, 1), st.sampled_from([*MERGERS]), st.booleans())
@settings(deadline=None, max_examples=50)
def test_every_label_reads_back(retention: float, c: int, beta: float, merger: str, parity: bool) -> None:
    method = FastVID(retention=retention, c=c, beta=beta, merger=merger, parity=parity, segmenter=RandomCuts(seed=c))
    assert as_method(label_of(method)) == method


def test_a_label_of_what_is_not_registered() -> None:
    assert label_of(_Timed(note="x")).startswith("_Timed(0.1, c=8, ")
    with pytest.raises(TypeError, match=r"a tensor of shape .* given, expected a method"):
        label_of(torch.zeros(2))


def test_settings_of_numpy_are_kept_as_plain_numbers() -> None:
    method = FastVID(retention=np.float64(0.25))
    object.__setattr__(method, "c", np.int64(4))  # what users can give, and beartype refuses in tests
    check_fields(method)
    assert type(method.retention) is float
    assert type(method.c) is int


def test_a_class_whose_settings_have_no_default() -> None:
    @dataclass(frozen=True)
    class First(Method):
        count: int

        def _decide(self, tokens: rd.VideoTokens) -> Reduction:
            return self._select(tokens, torch.arange(self.count))

    with pytest.raises(TypeError, match=r"settings \['count'\] have no default: give an instance"):
        as_method(First)
    assert First(3)(video()).kept == 3


class _Clock(Protocol):
    def now(self) -> float: ...


@dataclass(frozen=True)
class _Timed(FastVID):
    clock: _Clock | None = None
    note: Any = None


def test_a_field_whose_kind_cannot_be_asked_takes_anything() -> None:
    assert _Timed(note={"any": "thing"}).retention == FastVID().retention
    with pytest.raises(TypeError, match="retention='much' given, expected float"):
        _Timed(retention="much", note=1)  # type: ignore[arg-type]
