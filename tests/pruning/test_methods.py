"""What holds for every method of the table, in its default and in other settings."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.pruning.base import Method
from redundancy.pruning.methods.fastvid import FastVID
from redundancy.pruning.methods.holitom import HoliTom
from redundancy.pruning.methods.vcast import VCast
from redundancy.pruning.methods.visionzip import VisionZip
from redundancy.pruning.parts.budget import SegmentBudget
from redundancy.pruning.parts.salience import RandomSalience
from redundancy.pruning.parts.segment import Agglomerative, RandomCuts
from redundancy.pruning.parts.select import SalienceSelector, Unusual
from redundancy.pruning.table import METHODS, MethodEntry
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens
from tests.pruning.samples import LAYOUTS, video

OTHERS: list[Method] = [
    *(FastVID(variant=v, parity=p) for v in ("onevision", "llava_video", "qwen") for p in (False, True)),
    FastVID(d=0.0),
    FastVID(d=1.0),
    FastVID(d=1.0, variant="llava_video"),
    FastVID(p=1, c=1, variant="qwen", d=0.0),
    FastVID(segmenter=RandomCuts(segments=3), merger="cluster_mean"),
    FastVID(segmenter=Agglomerative(segments=2), merger="drop"),
    HoliTom(parity=True),
    HoliTom(D=0.5, order="grid"),
    HoliTom(D=1.0, tau=0.5),
    HoliTom(merger="cluster_mean", max_window=2, k=1),
    HoliTom(segmenter=RandomCuts(segments=2), tau=0.3),
    VCast(parity=True, min_k=0),
    VCast(budget="uniform", min_k=3),
    VCast(selector="density", budget="segments", segmenter=RandomCuts(segments=3)),
    VCast(selector="salience", salience="norm"),
    VCast(selector=Unusual(length=False)),
    VCast(selector=SalienceSelector(salience=RandomSalience(seed=2))),
    VCast(budget=SegmentBudget(segmenter=RandomCuts(segments=2))),
    FastVID(salience="random"),
    VisionZip(metric="keys"),
    VisionZip(metric="keys", salience="norm", parity=True),
]
BY_CLASS = {type(entry.method): entry for entry in METHODS.values()}
CASES = [pytest.param(e.method, e, id=n) for n, e in METHODS.items()]
CASES += [pytest.param(m, BY_CLASS[type(m)], id=f"{type(m).__name__}-{i}") for i, m in enumerate(OTHERS)]
every_method = pytest.mark.parametrize(("method", "entry"), CASES)
has_retention = {type(m) for m in [*OTHERS, *(e.method for e in METHODS.values())] if hasattr(m, "retention")}


def at(method: Method, retention: float) -> Method:
    return replace(method, retention=retention) if type(method) in has_retention else method


def same(a: Reduction, b: Reduction) -> bool:
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in ("anchor", "source", "target", "weight"))


def check(method: Method, entry: MethodEntry, tokens: VideoTokens) -> Reduction:
    r = method(tokens)
    T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
    low, high = method.bounds(tokens)
    assert low - 1e-9 <= r.achieved <= high + 1e-9  # shares of T*N in double
    allowed = torch.tensor(entry.row_sums, dtype=torch.float64)
    assert ((r.row_sums[:, None] - allowed).abs().amin(1) < 1e-9).all() if r.kept else True  # float64 sums
    if entry.unique_anchors:
        assert len(torch.unique(r.anchor)) == r.kept
    assert len(r.slots) == T * N
    assert r.apply(tokens.features).shape == (r.kept, tokens.features.shape[-1])
    assert torch.isfinite(r.apply(tokens.features)).all()
    assert r.requested == getattr(method, "retention", None)
    assert r.method == type(method).__name__
    assert same(method(tokens), r)
    return r


@every_method
@given(
    seed=st.integers(0, 9999),
    T=st.integers(1, 9),
    rows=st.integers(1, 4),
    cols=st.integers(1, 4),
    D=st.integers(1, 6),
    retention=st.floats(0.01, 1.0),
    layout=st.sampled_from(sorted(LAYOUTS)),
)
@settings(max_examples=15, deadline=None)
def test_invariants(
    method: Method,
    entry: MethodEntry,
    seed: int,
    T: int,
    rows: int,
    cols: int,
    D: int,
    retention: float,
    layout: str,
) -> None:
    if getattr(method, "parity", False) and isinstance(method, HoliTom):
        cols = rows  # the authors' grid order is for square grids
    check(at(method, retention), entry, video(T, rows, cols, D, seed=seed, layout=layout))


SPECIAL = {
    "one frame": video(1),
    "one token": video(1, 1, 1),
    "one token a frame": video(5, 1, 1),
    "odd number of frames": video(7),
    "static": video(8, features=video(1).features.expand(8, -1, -1).contiguous()),
    "constant": video(8, features=torch.ones(8, 16, 8)),
    "zero": video(6, features=torch.zeros(6, 16, 8)),
    "a zero frame": video(6, features=video(6).features * torch.tensor([1, 1, 0, 1, 1, 1])[:, None, None]),
    "zero tokens": video(6, features=video(6).features * (torch.arange(16) % 3 > 0)[None, :, None]),
    "duplicates": video(6, features=video(6).features[:, :4].repeat(1, 4, 1)),
    "half precision": video(6).to(dtype=torch.bfloat16),
}


@every_method
@pytest.mark.parametrize("retention", [0.01, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("name", SPECIAL)
def test_special_videos(method: Method, entry: MethodEntry, name: str, retention: float) -> None:
    check(at(method, retention), entry, SPECIAL[name])


@every_method
def test_decisions_are_in_float32(method: Method, entry: MethodEntry) -> None:
    half = video(9, seed=3).to(dtype=torch.bfloat16)
    assert same(method(half), method(half.to(dtype=torch.float32)))


@every_method
@pytest.mark.parametrize("seed", range(5))
def test_channels_have_no_order(method: Method, entry: MethodEntry, seed: int) -> None:
    tokens = video(9, 4, 4, 12, seed=seed)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    permuted = replace(
        tokens,
        features=tokens.features[..., order],
        frame_features={**tokens.frame_features, "mean": tokens.frame_features["mean"][:, order]},
    )
    a, b = at(method, 0.3)(tokens), at(method, 0.3)(permuted)
    assert same(a, b)
    torch.testing.assert_close(a.apply(tokens.features)[:, order], b.apply(permuted.features), rtol=0, atol=1e-6)


@every_method
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(method: Method, entry: MethodEntry, bad: float) -> None:
    tokens = video(6)
    x = tokens.features.clone()
    x[2, 3, 1] = x[4, 0, 0] = bad
    with pytest.raises(ValueError, match="frame 2 holds NaN or infinite tokens"):
        method(replace(tokens, features=x))
    needs = method.needs(tokens.layout)
    if needs.salience:
        salience = tokens.salience[needs.salience].clone()
        salience[3, 0] = bad
        with pytest.raises(ValueError, match=rf"frame 3 has NaN or infinite salience\[{needs.salience}\]"):
            method(replace(tokens, salience={needs.salience: salience}))


@every_method
def test_missing_sources_are_named(method: Method, entry: MethodEntry) -> None:
    needs = method.needs(LAYOUTS["unknown"])
    if needs.keys:
        with pytest.raises(ValueError, match=r"carry no keys of the tower\. Capture them with keys=True"):
            method(replace(video(), extra={}))
    if needs.salience:
        with pytest.raises(ValueError, match=f"no salience of source '{needs.salience}'"):
            method(replace(video(), salience={}))
    if needs.frame_features not in (None, "mean"):
        with pytest.raises(ValueError, match=f"no frame_features of source '{needs.frame_features}'"):
            method(replace(video(), frame_features={}))


@every_method
def test_reductions_can_be_stored(method: Method, entry: MethodEntry, tmp_path: Path) -> None:
    r = method(video(layout="llava_video"))
    json.dumps(r.settings)
    r.save(tmp_path / "r.safetensors")
    assert same(Reduction.load(tmp_path / "r.safetensors"), r)
    assert same(Reduction.from_xarray(r.to_xarray()), r)


@every_method
def test_decisions_record_no_gradient_but_pass_it(method: Method, entry: MethodEntry) -> None:
    tokens = video()
    x = tokens.features.clone().requires_grad_()
    r = method(replace(tokens, features=x))
    assert same(r, method(tokens))
    assert not any(v.requires_grad for v in r.stages.values() if isinstance(v, torch.Tensor))
    r.apply(x).sum().backward()
    assert x.grad.flatten(0, 1).sum(1)[r.anchor].gt(0).all()


@every_method
def test_input_is_left_alone(method: Method, entry: MethodEntry) -> None:
    tokens = video()
    before = tokens.features.clone()
    method(tokens)
    assert torch.equal(tokens.features, before)


@pytest.mark.parametrize("kind", sorted(has_retention, key=lambda k: k.__name__))
@pytest.mark.parametrize("value", [0.0, -0.1, 1.01, float("nan")])
def test_retention_is_the_first_field_and_checked(kind: type[Method], value: float) -> None:
    assert fields(kind)[0].name == "retention"
    with pytest.raises(ValueError, match=r"retention=.* given, expected a value in \(0, 1\]"):
        kind(value)


@pytest.mark.parametrize(
    ("kind", "setting"),
    [
        (FastVID, {"c": 0}),
        (FastVID, {"d": 1.1}),
        (FastVID, {"p": 0}),
        (FastVID, {"beta": -0.1}),
        (FastVID, {"variant": "other"}),
        (FastVID, {"merger": "other"}),
        (HoliTom, {"beta": 1.5}),
        (HoliTom, {"D": -1.0}),
        (HoliTom, {"k": 0}),
        (HoliTom, {"max_window": -1}),
        (HoliTom, {"order": "other"}),
        (HoliTom, {"merger": "other"}),
        (VCast, {"min_k": -1}),
        (VCast, {"temperature": 0.0}),
        (VCast, {"budget": "other"}),
        (VCast, {"left_over": "other"}),
        (VCast, {"selector": "other"}),
        (VCast, {"segmenter": "other"}),
        (FastVID, {"salience": "other"}),
        (VisionZip, {"metric": "other"}),
    ],
)
def test_other_settings_are_checked(kind: type[Method], setting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(setting))}=.* given, expected"):
        kind(**setting)
