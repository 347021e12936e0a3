"""A capture that was stored and opened again is the capture, bit for bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

import redundancy as rd
from redundancy.models import VideoLLM
from redundancy.tokens import VideoTokens
from tests.tiny_models import make_clip


def assert_same_tokens(a: VideoTokens, b: VideoTokens) -> None:
    assert a.grid == b.grid
    assert a.layout == b.layout
    pairs = [(a.features, b.features), (a.frame_time, b.frame_time), (a.frame_members, b.frame_members)]
    pairs += [(a.positions, b.positions), (a.rotary.inverse_frequency, b.rotary.inverse_frequency)]
    pairs += [(a.rotary.axis, b.rotary.axis)]
    for mine, other in ((a.salience, b.salience), (a.frame_features, b.frame_features)):
        assert set(mine) == set(other)
        pairs += [(mine[k], other[k]) for k in mine]
    assert set(a.extra) == set(b.extra)
    if "keys" in a.extra:
        pairs += [(a.extra["keys"], b.extra["keys"])]
    pairs += list(zip(a.extra.get("deepstack", ()), b.extra.get("deepstack", ()), strict=True))
    for x, y in pairs:
        assert x.dtype == y.dtype
        assert torch.equal(x, y)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_stored_tokens_are_bit_identical(family_model: VideoLLM, dtype: torch.dtype, tmp_path: Path) -> None:
    model = rd.load_model(family_model.folder, dtype=dtype, device="cpu")
    clip = make_clip(3)
    dataset = rd.capture(model, clip, "what happens ?", keys=True)
    live = rd.video_tokens(model, clip, "what happens ?", keys=True)
    assert live.features.dtype == dtype
    assert_same_tokens(live, VideoTokens.from_capture(dataset))
    stored = rd.open_capture(rd.save_capture(dataset, tmp_path / "one.zarr"))
    assert_same_tokens(live, VideoTokens.from_capture(stored))
    assert stored.attrs == dataset.attrs
    assert stored.attrs["weights_sha256"]
    assert stored["clip_frame_time"].attrs["units"] == "s"
    np.testing.assert_array_equal(stored["clip_frame_time"], clip.timestamps)


@pytest.fixture
def dataset(family_model: VideoLLM) -> xr.Dataset:
    return rd.capture(family_model, make_clip(2))


def test_float16_for_size_is_recorded(dataset: xr.Dataset, tmp_path: Path) -> None:
    stored = rd.open_capture(rd.save_capture(dataset, tmp_path / "half.zarr", dtype="float16"))
    assert stored["tokens"].dtype == np.float16
    assert stored.attrs["stored_dtype"] == "float16"
    assert "stored_dtype" not in dataset.attrs
    np.testing.assert_array_equal(stored["tokens"], dataset["tokens"].values.astype(np.float16))
    assert stored["positions"].dtype == dataset["positions"].dtype
    assert stored["inverse_frequency"].dtype == np.float64
    assert stored["frame_time"].dtype == np.float64


def test_float16_of_bfloat16(family_model: VideoLLM, tmp_path: Path) -> None:
    model = rd.load_model(family_model.folder, dtype=torch.bfloat16, device="cpu")
    dataset = rd.capture(model, make_clip(2))
    stored = rd.open_capture(rd.save_capture(dataset, tmp_path / "half.zarr", dtype="float16"))
    wide = VideoTokens.from_capture(dataset)
    half = VideoTokens.from_capture(stored)
    assert half.features.dtype == torch.float16
    assert torch.equal(half.features, wide.features.half())


def test_float16_refuses_what_it_cannot_hold(dataset: xr.Dataset, tmp_path: Path) -> None:
    large = dataset.assign(tokens=dataset["tokens"] * 1e9)
    with pytest.raises(ValueError, match="float16 holds up to 65504"):
        rd.save_capture(large, tmp_path / "large.zarr", dtype="float16")
    with pytest.raises(ValueError, match="dtype must be None or 'float16', given 'int8'"):
        rd.save_capture(dataset, tmp_path / "large.zarr", dtype="int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family_name", ["llava_onevision"], indirect=True)  # storing knows no family
def test_a_store_is_not_replaced_unless_asked(dataset: xr.Dataset, tmp_path: Path) -> None:
    path = rd.save_capture(dataset, tmp_path / "one.zarr")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        rd.save_capture(dataset, path)
    rd.save_capture(dataset, path, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["one.zarr"]


class Named:
    """A path-like object that is no Path."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __fspath__(self) -> str:
        return self._path


@pytest.mark.parametrize("family_name", ["llava_onevision"], indirect=True)  # storing knows no family
@pytest.mark.parametrize("as_path", [str, Path, Named])
def test_the_home_folder_and_path_like_objects(
    dataset: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_path: type
) -> None:
    home, work, other = (tmp_path / name for name in ("home", "work", "other"))
    for folder in (home, work, other):
        folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(work)
    given = as_path("~/captures/one.zarr")
    assert rd.save_capture(dataset, given) == home / "captures" / "one.zarr"
    assert rd.open_capture(given).sizes == dataset.sizes
    with pytest.raises(FileExistsError, match="overwrite=True"):
        rd.save_capture(dataset, given)
    rd.save_capture(dataset, as_path("beside.zarr"))
    opened = rd.open_capture(as_path("beside.zarr"))
    monkeypatch.chdir(other)  # what was opened by a relative path is still read
    np.testing.assert_array_equal(opened["tokens"], dataset["tokens"])
    assert [p.name for p in (*home.iterdir(), *work.iterdir())] == ["captures", "beside.zarr"]


def test_a_failed_write_leaves_no_store(dataset: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: xr.Dataset, path: Path, **_: object) -> None:
        path.mkdir()
        (path / "zarr.json").write_text("{}")
        raise OSError("disk full")

    monkeypatch.setattr(xr.Dataset, "to_zarr", fail)
    with pytest.raises(OSError, match="disk full"):
        rd.save_capture(dataset, tmp_path / "one.zarr")
    assert not list(tmp_path.iterdir())


def test_what_is_no_capture_is_refused(tmp_path: Path) -> None:
    other = xr.Dataset({"accuracy": ("video", [0.5])})
    with pytest.raises(
        ValueError, match=r"expected what redundancy.recording returns, given a dataset of \['accuracy'\]"
    ):
        rd.save_capture(other, tmp_path / "other.zarr")
    with pytest.raises(FileNotFoundError, match="no zarr v3 store"):
        rd.open_capture(tmp_path / "absent.zarr")
    from redundancy.recording import save_dataset

    with pytest.raises(ValueError, match="which is no capture"):
        rd.open_capture(save_dataset(other, tmp_path / "other.zarr"))


def test_opened_in_chunks_nothing_is_read_until_it_is_used(dataset: xr.Dataset, tmp_path: Path) -> None:
    dask = pytest.importorskip("dask", reason="lazy captures need the extra 'cluster'")
    path = rd.save_capture(dataset, tmp_path / "lazy.zarr")

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("something was computed")

    with dask.config.set(scheduler=refuse):
        lazy = rd.open_capture(path, chunks={})
        mean = lazy["tokens"].astype("float32").mean("token")
    assert lazy["tokens"].chunks is not None
    np.testing.assert_allclose(mean.values, dataset["tokens"].astype("float32").mean("token").values, rtol=1e-6)
