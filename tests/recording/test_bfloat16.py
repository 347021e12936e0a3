"""Variables of bfloat16 are float32 in memory and their own bits on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

import redundancy as rd
from redundancy.tokens import VideoTokens, from_labelled, labelled

T, ROWS, D = 8, 3, 16
SPECIAL = [0x8000, 0x7F80, 0xFF80, 0x7FC1, 0x0001, 0x7F7F]  # -0, infinities, a NaN of its own, smallest, largest


def bits(x: Tensor) -> Tensor:
    assert x.dtype == torch.bfloat16
    return x.view(torch.int16)


def files(store: Path) -> dict[str, bytes]:
    return {p.relative_to(store).as_posix(): p.read_bytes() for p in store.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def tokens() -> VideoTokens:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(T, ROWS**2, D, generator=g).bfloat16()
    x.view(torch.uint16)[0, 0, : len(SPECIAL)] = torch.tensor(SPECIAL, dtype=torch.uint16)
    return VideoTokens.from_features(
        x,
        rows=ROWS,
        cols=ROWS,
        salience={"norm": x[..., 5].float().square().bfloat16(), "received": torch.rand(T, ROWS**2, generator=g)},
        extra={"deepstack": (x, x.flip(0)), "keys": x[..., :4]},
    )


@pytest.fixture(scope="module")
def capture(tokens: VideoTokens) -> xr.Dataset:
    return tokens.to_xarray()


BFLOAT16 = ("tokens", "salience_norm", "deepstack", "keys")


def test_in_memory_they_are_numbers(tokens: VideoTokens, capture: xr.Dataset) -> None:
    for name in BFLOAT16:
        assert capture[name].dtype == np.float32
        assert capture[name].attrs["torch_dtype"] == "bfloat16"
    assert "torch_dtype" not in capture["salience_received"].attrs
    np.testing.assert_array_equal(capture["tokens"], tokens.features.float())
    again = VideoTokens.from_capture(capture)
    assert torch.equal(bits(again.features), bits(tokens.features))
    assert torch.equal(bits(again.extra["deepstack"][1]), bits(tokens.extra["deepstack"][1]))


@pytest.mark.parametrize("chunks", [None, {}, {"frame": 3, "token": 2}], ids=["numpy", "stored chunks", "own chunks"])
def test_saved_opened_and_saved_again_they_are_the_same_bytes(
    capture: xr.Dataset, tokens: VideoTokens, tmp_path: Path, chunks: dict[str, int] | None
) -> None:
    if chunks is not None:
        pytest.importorskip("dask", reason="lazy captures need the extra 'cluster'")
    first = rd.save_capture(capture, tmp_path / "1.zarr")
    opened = rd.open_capture(first, chunks=None if chunks is None else {})
    opened = opened.chunk(chunks) if chunks else opened
    second = rd.save_capture(opened, tmp_path / "2.zarr")
    assert files(first) == files(second)
    assert opened.attrs == capture.attrs
    for name in capture.variables:
        assert opened[name].dtype == capture[name].dtype
        assert opened[name].attrs == capture[name].attrs
    assert torch.equal(bits(from_labelled(opened["tokens"])), bits(tokens.features))
    assert torch.equal(bits(VideoTokens.from_capture(opened).features), bits(tokens.features))


def test_on_disk_they_are_bits(capture: xr.Dataset, tokens: VideoTokens, tmp_path: Path) -> None:
    store = rd.save_capture(capture, tmp_path / "1.zarr")
    with pytest.warns(UserWarning, match=r"manifest.json is not recognized"):
        plain = xr.open_zarr(store, chunks=None, consolidated=False)
    for name in BFLOAT16:
        assert plain[name].dtype == np.uint16
    assert torch.equal(bits(from_labelled(plain["tokens"])), bits(tokens.features))
    assert files(rd.save_capture(plain, tmp_path / "2.zarr")) == files(store)


def test_an_opened_one_reads_what_is_asked_for(capture: xr.Dataset, tmp_path: Path) -> None:
    opened = rd.open_capture(rd.save_capture(capture, tmp_path / "1.zarr"))["tokens"]
    given = capture["tokens"]
    points = {"frame": xr.DataArray([1, 2], dims="point"), "token": xr.DataArray([0, 3], dims="point")}
    for at in ({"frame": 3}, {"frame": slice(2, 7, 2)}, {"frame": [5, 1], "channel": [2, 0]}, points):
        np.testing.assert_array_equal(opened.isel(at), given.isel(at))
    assert not opened._in_memory


@pytest.mark.parametrize("chunks", [None, {"frame": 2}], ids=["numpy", "lazy"])
@pytest.mark.parametrize("change", ["exact", "other values", "float64", "float16"])
def test_values_that_were_changed_are_not_rounded(
    capture: xr.Dataset, tmp_path: Path, change: str, chunks: dict[str, int] | None
) -> None:
    if chunks is not None:
        pytest.importorskip("dask", reason="lazy captures need the extra 'cluster'")
    x = capture["tokens"].isel(frame=slice(1, None))
    changed = {
        "exact": x * np.float32(2),
        "other values": xr.where(x.frame_time > 6, x + np.float32(0.1), x),
        "float64": x.astype(np.float64) / 3,
        "float16": x.astype(np.float16),
    }[change].transpose(*x.dims)
    changed = changed.assign_attrs(torch_dtype="bfloat16")
    dataset = xr.Dataset({"tokens": changed}).reset_coords(drop=True)
    dataset = dataset if chunks is None else dataset.chunk(chunks)
    opened = rd.open_capture(rd.save_capture(dataset, tmp_path / "1.zarr"))
    assert opened["tokens"].dtype == changed.dtype
    np.testing.assert_array_equal(opened["tokens"], changed)
    assert ("torch_dtype" in opened["tokens"].attrs) == (change == "exact")
    assert from_labelled(changed).dtype == (torch.bfloat16 if change == "exact" else getattr(torch, changed.dtype.name))


@pytest.mark.parametrize("shape", [(), (0, 3), (2,)])
def test_every_shape(shape: tuple[int, ...]) -> None:
    x = torch.ones(shape, dtype=torch.bfloat16)
    again = from_labelled(labelled(tuple("abc"[: len(shape)]), x))
    assert again.dtype == torch.bfloat16
    assert torch.equal(again, x)


def test_half_a_capture_keeps_what_is_no_number(capture: xr.Dataset, tmp_path: Path) -> None:
    special = capture["tokens"].clip(-1, 1)
    special[0, 0, :3] = [np.inf, -np.inf, np.nan]
    given = xr.Dataset({"tokens": special})
    stored = rd.open_capture(rd.save_capture(given, tmp_path / "1.zarr", dtype="float16"))
    np.testing.assert_array_equal(stored["tokens"], special.values.astype(np.float16))
    special[0, 0, 3] = -7e4
    with pytest.raises(ValueError, match=r"tokens holds 7e\+04, float16 holds up to 65504"):
        rd.save_capture(given, tmp_path / "2.zarr", dtype="float16")
