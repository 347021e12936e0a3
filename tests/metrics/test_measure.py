"""`measure`: what it computes, its labels, null models, and laziness."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import torch
import xarray as xr

import redundancy as rd
from redundancy.metrics.measure.nulls import null_score, shuffle_frames
from redundancy.metrics.table import METRICS
from redundancy.metrics.temporal import transition_similarity
from redundancy.metrics.visual import effective_rank
from redundancy.pruning import FastVID, RandomTokens
from redundancy.tokens import RotaryLayout, VideoTokens
from tests.pruning.samples import scenes, video

MEANT_FOR_TWO_RUNS = {m.name for m in METRICS.values() if m.group in ("fidelity", "agreement")}


def tokens(T: int = 8, **arguments: Any) -> VideoTokens:
    """Tokens with positions and rotary frequencies."""
    plain = video(T, 4, 4, 8, layout="onevision", **arguments)
    return VideoTokens(
        **{
            **{f: getattr(plain, f) for f in ("features", "grid", "frame_time", "frame_members", "salience", "layout")},
            "frame_features": {},
            "positions": torch.arange(T * 16).view(1, T, 16) + 5,
            "rotary": RotaryLayout(torch.tensor([1.0, 0.1]), torch.tensor([0, 0]), ("position",)),
        }
    )


def with_attention(given: VideoTokens) -> xr.Dataset:
    T, N = given.grid.frames, given.grid.tokens_per_frame
    g = torch.Generator().manual_seed(0)
    rows = torch.rand(2, 1, T, N, generator=g)
    rows = 0.5 * rows / rows.sum((2, 3), keepdim=True)
    mass = torch.tensor([0.5, 0.1, 0.4]).expand(2, 1, 3)
    return (
        given.to_xarray()
        .assign(
            attention=(("layer", "query", "frame", "token"), rows.numpy()),
            attention_mass=(("layer", "query", "part"), mass.numpy()),
        )
        .assign_coords(layer=[0, 3], query=[99], part=["video", "newline", "text"])
    )


def test_values_are_the_functions_own() -> None:
    given = tokens()
    measured = rd.measure(given)
    x, f = given.features, given.features.mean(1)
    np.testing.assert_array_equal(measured["transition_similarity"], transition_similarity(f))
    np.testing.assert_array_equal(measured["effective_rank"], effective_rank(x).effective_rank)
    assert measured["effective_rank_mean"].item() == pytest.approx(effective_rank(x).effective_rank.mean().item())
    for m in METRICS.values():
        if m.name not in measured or "points" in m.inputs:
            continue
        assert measured[m.name].attrs["units"] == m.unit
        assert measured[m.name].attrs["higher"] == m.higher
        assert measured[m.name].dims == m.dims[m.name]
    assert measured["tau"].values.tolist() == [0.5, 0.6, 0.7, 0.8, 0.9, 0.95]


def test_trajectories_are_measured_raw_and_at_unit_length() -> None:
    measured = rd.measure(tokens(), None, ["speed", "curvature"])
    f = tokens().features.mean(1)
    unit = f / f.norm(dim=1, keepdim=True)
    np.testing.assert_allclose(measured["speed"].sel(scaling="raw"), f.diff(dim=0).norm(dim=1), rtol=1e-5)
    np.testing.assert_allclose(measured["speed"].sel(scaling="unit"), unit.diff(dim=0).norm(dim=1), rtol=1e-5)
    assert measured["curvature"].dims == ("scaling", "frame")


def test_which_metrics_are_measured() -> None:
    given = tokens()
    captured, reduction = with_attention(given), RandomTokens(retention=0.5)(given)
    needs = {name: set(m.inputs) for name, m in METRICS.items()}
    default = {m.name for m in METRICS.values() if m.default}
    beside = {"reduction", "attention", "attention_mass", "segments", "last_position"}
    plain = {n for n in default - MEANT_FOR_TWO_RUNS if not needs[n] & beside}
    assert set(METRICS) & set(rd.measure(given)) == plain
    with_reduction = {n for n in default - MEANT_FOR_TWO_RUNS if not needs[n] & (beside - {"reduction"})}
    assert set(METRICS) & set(rd.measure(given, reduction)) == with_reduction
    everything = rd.measure(captured, reduction, "all", segments=torch.tensor([3, 5]), last_position=200)
    assert set(METRICS) & set(everything) == set(METRICS) - MEANT_FOR_TWO_RUNS
    assert everything["attention_lost"].dims == ("layer", "query")
    assert everything["layer"].values.tolist() == [0, 3]
    assert everything.attrs["method"] == "RandomTokens"
    assert everything.attrs["requested"] == everything.attrs["achieved"] == 0.5
    assert everything["anchor_frame"].values.tolist() == (reduction.anchor // 16).tolist()


def test_a_reduction_that_keeps_all_loses_nothing() -> None:
    given = tokens()
    kept = rd.Reduction.keep_all(given.grid)
    measured = rd.measure(with_attention(given), kept)
    for name, value in {
        "reconstruction_error": 0,
        "alignment_mean": 1,
        "attention_lost": 0,
        "frames_covered": 1,
    }.items():
        np.testing.assert_allclose(measured[name], value, atol=1e-6, err_msg=name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": ["effective_frames", "nonsense"]}, r"metrics=\['nonsense'\] given, expected"),
        (
            {"metrics": "alignment"},
            r"'alignment' reads reduction, .* does not offer .*measure\(tokens, reduction\)",
        ),
        ({"metrics": "attention_entropy"}, "capture with attention_rows="),
        ({"metrics": "next_token_kl"}, "call the metric itself on two runs"),
        ({"null": "noise"}, r"null=\['noise'\] given, expected"),
        ({"null": "gaussian", "draws": 0}, "draws=0 given, expected at least 1"),
        ({"salience": "nonsense"}, "salience='nonsense' given, these tokens carry"),
        ({"frame_features": "nonsense"}, "no frame_features of source 'nonsense'"),
        ({"settings": {"nonsense": {}}}, r"settings for \['nonsense'\] given, expected some of"),
    ],
)
def test_what_is_not_there_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rd.measure(tokens(), **arguments)


def test_a_dataset_that_is_no_capture() -> None:
    with pytest.raises(ValueError, match="this dataset is no capture"):
        rd.measure(xr.Dataset())


def test_a_frame_that_is_not_finite_is_named() -> None:
    given = tokens()
    given.features[5, 2, 1] = torch.nan
    with pytest.raises(ValueError, match="frame 5 holds NaN or infinite tokens"):
        rd.measure(given)


def test_zero_tokens_are_counted_and_left_out() -> None:
    given = tokens()
    given.features[2, 3] = 0
    measured = rd.measure(given)
    assert measured["n_zero"].values.tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    assert bool(measured["token_persistence"].isel(transition=[1, 2], token=3).isnull().all())
    assert np.isfinite(measured["token_persistence_mean"])


def test_one_frame() -> None:
    measured = rd.measure(tokens(1), None, "all")
    assert np.isnan(measured["temporal_redundancy"])
    assert measured["transition_similarity"].shape == (0,)
    assert np.isnan(measured["transition_similarity_mean"])
    assert measured["transition_similarity"].attrs["undefined"]


def test_settings_reach_their_metric() -> None:
    measured = rd.measure(tokens(), None, "static_fraction", settings={"static_fraction": {"tau": (0.3,)}})
    assert measured["tau"].values.tolist() == [0.3]
    assert '"tau": [0.3]' in measured["static_fraction"].attrs["settings"]


def test_null_models_against_a_loop() -> None:
    given = tokens()
    measured = rd.measure(
        given, None, ["transition_similarity", "effective_frames"], null="shuffle_frames", draws=19, seed=4
    )
    drawn = [transition_similarity(shuffle_frames(given.features, seed=4 + b).mean(1)).mean() for b in range(19)]
    score = null_score(transition_similarity(given.features.mean(1)).mean(), torch.stack(drawn))
    found = measured.sel(null="shuffle_frames")
    assert found["transition_similarity_null_mean"].item() == pytest.approx(score.mean.item(), rel=1e-5)
    assert found["transition_similarity_z"].item() == pytest.approx(score.z.item(), rel=1e-4)
    assert found["transition_similarity_p"].item() == pytest.approx(score.p.item())
    assert "effective_frames_z" not in measured  # the order of frames means nothing to it
    assert measured.attrs["null_draws"] == 19


def test_every_null_that_suits_a_metric_is_there() -> None:
    measured = rd.measure(tokens(), null="all", draws=2)
    for m in METRICS.values():
        assert (f"{m.name}_z" in measured) == bool(m.nulls and m.name in measured)


# lazy ---------------------------------------------------------------------------------------------------------------


def store(folder: Path, given: VideoTokens, chunk: int) -> xr.Dataset:
    path = rd.save_capture(with_attention(given), folder / "capture.zarr")
    return rd.open_capture(path).chunk(frame=chunk)


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("something was computed")


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_lazy_equals_eager_and_computes_nothing_before(tmp_path: Path, chunk: int) -> None:
    given = tokens()
    reduction = FastVID(retention=0.5, c=2, features="mean")(given)
    capture = store(tmp_path, given, chunk)
    with dask.config.set(scheduler=refuse):
        lazy = rd.measure(capture, reduction, "all")
    assert all(lazy[name].chunks is not None for name in lazy.data_vars)
    eager = rd.measure(with_attention(given), reduction, "all")
    assert set(lazy.data_vars) == set(eager.data_vars)
    found = lazy.compute()
    for name in eager.data_vars:
        assert found[name].dims == eager[name].dims
        np.testing.assert_allclose(found[name], eager[name], rtol=1e-4, atol=1e-5, err_msg=str(name))
    for name in eager.coords:
        np.testing.assert_array_equal(found[name], eager[name])
    assert found["effective_rank"].attrs == eager["effective_rank"].attrs


def test_a_part_of_a_lazy_capture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"tokens of 4 frames and 16 places given, but the capture.s grid is \(8, 4, 4\)"
    ):
        rd.measure(store(tmp_path, tokens(), 4).isel(frame=slice(0, 4)))


def test_a_stored_capture_gives_the_same_bits(tmp_path: Path) -> None:
    given = tokens()
    path = rd.save_capture(with_attention(given), tmp_path / "capture.zarr")
    stored, fresh = rd.measure(rd.open_capture(path)), rd.measure(with_attention(given))
    for name in fresh.data_vars:
        np.testing.assert_array_equal(stored[name], fresh[name])


def test_bfloat16_is_measured_from_its_bits(tmp_path: Path) -> None:
    given = tokens().to(dtype=torch.bfloat16)
    capture = store(tmp_path, given, 4)
    upcast = rd.measure(given.to(dtype=torch.float32))
    for measured in (rd.measure(given), rd.measure(capture).compute()):
        np.testing.assert_allclose(measured["effective_rank"], upcast["effective_rank"], rtol=1e-5)
        np.testing.assert_allclose(measured["persistence_skill"], upcast["persistence_skill"], rtol=1e-5)


def test_memory_stays_below_a_quarter_of_the_array(tmp_path: Path) -> None:
    T, N, D = 512, 64, 512
    x = scenes(T, N, D, seed=0)
    given = VideoTokens.from_features(x, rows=8, cols=8, frame_features={})
    path = rd.save_capture(given.to_xarray(), tmp_path / "large.zarr")
    size = x.nbytes
    del x, given
    capture = rd.open_capture(path, chunks={})
    assert len(capture["tokens"].chunksizes["frame"]) == 32
    rd.measure(capture).compute()  # what is imported on the way is no part of it
    peak = peak_of(lambda: rd.measure(capture).compute(scheduler="synchronous"))
    assert peak < size / 4
    assert peak_of(lambda: capture.load()) > 0.9 * size  # the measure of memory sees numpy's arrays


def peak_of(call: Any) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_null_model_named_twice_is_drawn_once() -> None:
    tokens = VideoTokens.from_features(torch.randn(3, 4, 8), rows=2, cols=2)
    found = rd.measure(tokens, metrics="token_persistence", null=["gaussian", "gaussian"], draws=1)
    assert found["null"].values.tolist() == ["gaussian"]
