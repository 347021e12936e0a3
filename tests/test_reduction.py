"""Reduction: a sparse linear map from slots to outputs, checked against dense matrices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.reduction import Reduction, compose
from redundancy.tokens import TokenGrid

GRID = TokenGrid(3, 2, 4)


def random_reduction(
    seed: int, grid: TokenGrid = GRID, slots: torch.Tensor | None = None, **report: object
) -> Reduction:
    g = torch.Generator().manual_seed(seed)
    slots = torch.arange(grid.frames * grid.tokens_per_frame) if slots is None else slots
    size = len(slots)
    kept = int(torch.randint(1, size + 1, (1,), generator=g))
    extra = int(torch.randint(0, 3 * size, (1,), generator=g))
    anchor = torch.randperm(size, generator=g)[:kept]
    return Reduction(
        anchor=anchor,
        source=torch.cat([anchor, torch.randint(0, size, (extra,), generator=g)]),
        target=torch.cat([torch.arange(kept), torch.randint(0, kept, (extra,), generator=g)]),
        weight=torch.rand(kept + extra, generator=g, dtype=torch.float64),
        slots=slots,
        grid=grid,
        **report,
    )


def dense(r: Reduction) -> torch.Tensor:
    w = torch.zeros(r.kept, len(r.slots), dtype=torch.float64)
    w.index_put_((r.target, r.source), r.weight, accumulate=True)
    return w


@given(st.integers(0, 10_000))
@settings(deadline=None)
def test_apply_is_the_matrix_product(seed: int) -> None:
    r = random_reduction(seed)
    x = torch.randn(24, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(r.apply(x), dense(r) @ x, rtol=1e-12, atol=1e-12)  # float64 sums of at most 100 terms
    assert torch.equal(r.apply(x.reshape(3, 8, 5)), r.apply(x))
    torch.testing.assert_close(r.row_sums, dense(r).sum(1))


def test_apply_takes_any_shape_and_dtype() -> None:
    r = random_reduction(1)
    w = dense(r)
    coordinates = torch.arange(24)
    assert r.apply(coordinates).dtype == torch.float64
    torch.testing.assert_close(r.apply(coordinates), w @ coordinates.double())
    x = torch.randn(24, 2, 3)
    torch.testing.assert_close(r.apply(x), torch.einsum("ks,sab->kab", w, x.double()).float())
    assert r.apply(x.bfloat16()).dtype == torch.bfloat16
    torch.testing.assert_close(r.apply(torch.complex(x, -x)), torch.complex(r.apply(x), -r.apply(x)))


def test_half_precision_is_summed_in_float32() -> None:
    n = 1000
    r = Reduction(
        anchor=torch.tensor([0]),
        source=torch.arange(n),
        target=torch.zeros(n, dtype=torch.int64),
        weight=torch.full((n,), 1 / n, dtype=torch.float64),
        slots=torch.arange(n),
        grid=TokenGrid(1, 1, n),
    )
    assert r.apply(torch.ones(n, 1, dtype=torch.bfloat16)).item() == 1.0  # a bfloat16 sum would stop growing


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_selection_keeps_the_bits(dtype: torch.dtype) -> None:
    x = (torch.randn(3, 8, 6) * 1e3).to(dtype)
    index = torch.tensor([23, 0, 7, 7])
    r = Reduction.from_selection(index, grid=GRID)
    assert r.is_selection
    assert torch.equal(r.apply(x), x.flatten(0, 1)[index])
    nan = torch.full((24, 1), float("nan"))
    assert r.apply(nan).isnan().all()


def test_keep_all() -> None:
    r = Reduction.keep_all(GRID)
    x = torch.randn(3, 8, 6)
    assert torch.equal(r.apply(x), x.flatten(0, 1))
    assert r.achieved == r.achieved_with_newlines == r.requested == 1


def test_merging_passes_gradients() -> None:
    r = random_reduction(5)
    x = torch.randn(24, 2, requires_grad=True)
    r.apply(x).sum().backward()
    torch.testing.assert_close(x.grad, dense(r).sum(0).float()[:, None].expand(24, 2))


def test_entries_are_sorted_by_target_and_keep_their_order() -> None:
    r = Reduction(
        anchor=torch.tensor([3, 1]),
        source=torch.tensor([1, 5, 3, 4]),
        target=torch.tensor([1, 0, 0, 0]),
        weight=torch.tensor([1.0, 0.5, 0.25, 0.0], dtype=torch.float64),
        slots=torch.arange(24),
        grid=GRID,
    )
    assert r.source.tolist() == [5, 3, 4, 1]
    assert r.target.tolist() == [0, 0, 0, 1]
    assert not r.is_selection


def test_achieved_counts_newlines_of_rows() -> None:
    index = torch.tensor([0, 1, 9, 23])  # rows 0, 0, 2, 5 of six
    assert Reduction.from_selection(index, grid=GRID).achieved == 4 / 24
    assert Reduction.from_selection(index, grid=GRID).achieved_with_newlines == 4 / 24
    assert Reduction.from_selection(index, grid=GRID, newline="kept rows").achieved_with_newlines == 7 / 30
    assert Reduction.from_selection(index, grid=GRID, newline="all").achieved_with_newlines == 10 / 30
    inner = Reduction.from_selection(torch.tensor([0, 2]), grid=GRID, slots=torch.tensor([4, 5, -1]), layer=3)
    assert inner.achieved == 1 / 24
    assert inner.achieved_with_newlines == 2 / 25


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=50, deadline=None)
def test_compose_is_the_product(seed: int, with_newlines: bool) -> None:
    first = random_reduction(seed)
    slots = first.anchor_token
    at = torch.arange(first.kept)
    if with_newlines:
        slots, at = torch.cat([slots, torch.tensor([-1])]), torch.cat([at, torch.tensor([-1])])
    second = random_reduction(seed + 1, slots=slots, layer=2)
    both = compose(first, second)
    keep = at[second.anchor] >= 0
    expected = dense(second)[keep][:, at >= 0] @ dense(first)
    torch.testing.assert_close(dense(both), expected, rtol=1e-12, atol=1e-12)  # float64, a few dozen terms
    assert torch.equal(both.anchor, first.anchor[at[second.anchor[keep]]])
    assert both.layer == 2
    lost = dense(second)[keep][:, at < 0].sum(1)
    torch.testing.assert_close(both.stages.get("newline_weight", torch.zeros_like(lost)), lost)


def test_compose_with_keep_all_changes_nothing() -> None:
    r = random_reduction(3)
    torch.testing.assert_close(dense(compose(Reduction.keep_all(GRID), r)), dense(r))
    whole = Reduction.from_selection(torch.arange(r.kept), grid=GRID, slots=r.anchor_token)
    torch.testing.assert_close(dense(compose(r, whole)), dense(r))


def test_compose_refuses_a_stranger() -> None:
    first = Reduction.from_selection(torch.tensor([1, 5]), grid=GRID)
    second = Reduction.from_selection(torch.tensor([0]), grid=GRID, slots=torch.tensor([1, 6]))
    with pytest.raises(ValueError, match="does not start from the 2 outputs"):
        compose(first, second)


@pytest.mark.parametrize("route", ["xarray", "file"])
def test_round_trip(route: str, tmp_path: Path) -> None:
    r = random_reduction(
        7,
        stages={"segments": torch.tensor([2, 1]), "clamped": ["c"], "ratio": 0.3},
        method="FastVID",
        settings={"c": 8, "tau": 0.9},
        parity=True,
        requested=0.25,
        newline="kept rows",
        placement="centroid",
        layer=None,
    )
    if route == "file":
        r.save(tmp_path / "r.safetensors")
        back = Reduction.load(tmp_path / "r.safetensors")
    else:
        data = r.to_xarray()
        back = Reduction.from_xarray(data)
        assert data.attrs["achieved"] == r.achieved
        assert data["anchor"].dims == ("kept",)
    assert torch.equal(dense(back), dense(r))
    assert torch.equal(back.anchor, r.anchor)
    assert torch.equal(back.stages["segments"], r.stages["segments"])
    for name in ("grid", "layer", "placement", "newline", "requested", "method", "settings", "parity"):
        assert getattr(back, name) == getattr(r, name), name
    assert back.stages["clamped"] == ["c"]
    assert back.stages["ratio"] == 0.3


def test_a_file_is_saved_whole_and_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    first, second = random_reduction(0), random_reduction(1)
    first.save("~/kept/r.safetensors")
    with monkeypatch.context() as patch:
        fails = lambda _, path, **__: Path(path).write_bytes(b"half") and 1 / 0  # noqa: E731
        patch.setattr("redundancy.reduction.files.save_file", fails)
        with pytest.raises(ZeroDivisionError):
            second.save("~/kept/r.safetensors")
    assert torch.equal(Reduction.load("~/kept/r.safetensors").anchor, first.anchor)
    second.save("~/kept/r.safetensors")
    assert torch.equal(Reduction.load(tmp_path / "kept" / "r.safetensors").anchor, second.anchor)
    assert [p.name for p in (tmp_path / "kept").iterdir()] == ["r.safetensors"]


def test_load_refuses_other_files(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, str(tmp_path / "x.safetensors"))
    with pytest.raises(ValueError, match="holds no reduction"):
        Reduction.load(tmp_path / "x.safetensors")
    (tmp_path / "half.safetensors").write_bytes((tmp_path / "x.safetensors").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"half.safetensors holds no reduction, expected what Reduction.save"):
        Reduction.load(tmp_path / "half.safetensors")
    random_reduction(0).save(tmp_path / "flipped.safetensors")
    content = bytearray((tmp_path / "flipped.safetensors").read_bytes())
    content[-1] ^= 1  # the numbers are as valid as before
    (tmp_path / "flipped.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match="it is not what was written"):
        Reduction.load(tmp_path / "flipped.safetensors")
    with pytest.raises(FileNotFoundError, match=r"is no file; expected one that Reduction.save wrote"):
        Reduction.load(tmp_path)
    with pytest.raises(ValueError, match="no reduction"):
        Reduction.from_xarray(random_reduction(0).to_xarray().drop_vars("anchor"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"anchor": torch.tensor([24, 1])}, "anchor must lie in 0..23"),
        ({"anchor": torch.tensor([-1, 1])}, "anchor must lie in 0..23"),
        ({"source": torch.tensor([0, 24])}, "source must lie in 0..23"),
        ({"target": torch.tensor([0, 2])}, "target must lie in 0..1"),
        ({"target": torch.tensor([0, 0])}, "every output needs at least one entry"),
        ({"weight": torch.tensor([1.0, -0.1], dtype=torch.float64)}, "weight must be finite"),
        ({"weight": torch.tensor([1.0, np.nan], dtype=torch.float64)}, "weight must be finite"),
        ({"slots": torch.arange(1, 25)}, "slots must lie in -1..23"),
        ({"placement": "middle"}, "placement='middle'"),
        ({"newline": "some"}, "newline='some'"),
    ],
)
def test_invalid_maps_are_refused(change: dict[str, object], message: str) -> None:
    good = Reduction.from_selection(torch.tensor([0, 1]), grid=GRID)
    with pytest.raises(ValueError, match=message):
        replace(good, **change)


def test_apply_refuses_other_shapes() -> None:
    r = Reduction.keep_all(GRID)
    with pytest.raises(ValueError, match=r"features of shape \(8, 3\) given"):
        r.apply(torch.zeros(8, 3))


def test_no_output_is_a_reduction() -> None:
    r = Reduction.from_selection(torch.tensor([], dtype=torch.int64), grid=GRID)
    assert r.achieved == 0
    assert r.apply(torch.zeros(24, 3)).shape == (0, 3)


def given(first: int = 0) -> Reduction:
    ids = torch.arange(3 * 4).view(3, 4) + first
    return Reduction.from_selection([0, 5, 7, 20], grid=GRID, placement="given", positions=ids)


def test_given_positions_go_where_the_reduction_goes(tmp_path: Path) -> None:
    r = given()
    r.save(tmp_path / "one.safetensors")
    for again in (Reduction.load(tmp_path / "one.safetensors"), Reduction.from_xarray(r.to_xarray()), r.to("cpu")):
        assert again.placement == "given"
        assert torch.equal(again.positions, r.positions)
    later = Reduction.from_selection([3, 1], grid=GRID, slots=r.anchor)
    assert torch.equal(compose(r, later).positions, r.positions[:, [3, 1]])
    ids = torch.tensor([[9, 8], [9, 8], [9, 8]])
    assert torch.equal(compose(r, replace(later, placement="given", positions=ids)).positions, ids)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": None}, "without positions"),
        ({"placement": "anchor"}, "expected placement='given' with them"),
        ({"layer": 2}, "given before the model"),
        ({"positions": torch.full((3, 4), -1)}, "positions must not be negative"),
    ],
)
def test_given_positions_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(given(), **change)
