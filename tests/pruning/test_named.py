"""What a user may give where a method is expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pytest
import torch

import redundancy as rd
from redundancy.checks import check_fields
from redundancy.pruning import (
    INNER_METHODS,
    METHODS,
    AveragePool,
    FastV,
    FastVID,
    HoliTomInner,
    RandomTokens,
    VCast,
    as_inner,
    as_method,
)
from redundancy.pruning.base import Method
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
    if "segmenter=DySeg" not in repr(method):  # an object is no plain value
        assert as_method(repr(method)) == method


def test_inner_methods() -> None:
    for name, entry in INNER_METHODS.items():
        assert as_inner(name) == as_inner([type(entry.method)]) == (entry.method,)
    assert as_inner(["fastv(layer=3)", HoliTomInner]) == (FastV(layer=3), HoliTomInner())
    assert as_inner(None) == as_inner([]) == ()
    ready = Reduction.keep_all(video().grid)
    assert as_inner([ready, [ready]]) == ((ready,), [ready])


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
