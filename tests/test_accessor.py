"""`Dataset.redundancy` draws what a stored dataset holds, and says what is missing and which call makes it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.figure import Figure

import redundancy as rd
from redundancy import plot
from redundancy.accessor import RedundancyAccessor
from redundancy.metrics.coverage import token_roles
from redundancy.metrics.trajectory import project_trajectory
from redundancy.plot.captures import MOST_FRAMES
from redundancy.pruning import FastVID, HoliTom, RandomTokens
from redundancy.pruning.base import Method
from redundancy.recording import open_dataset, save_dataset
from redundancy.video import VideoClip
from tests.pruning.samples import video
from tests.tiny_models import make_clip

T, ROWS, COLS = 6, 3, 4
METHODS: dict[str, Method] = {"FastVID": FastVID(retention=0.5, c=2), "random": RandomTokens(retention=0.25)}


def capture_of(frames: int = T, *, queries: int = 1) -> xr.Dataset:
    """Random tokens with attention of two layers, at two frames a second."""
    tokens = video(frames, ROWS, COLS, 8, layout="onevision")
    rows = torch.rand(2, queries, frames, ROWS * COLS, generator=torch.Generator().manual_seed(0))
    rows = 0.5 * rows / rows.sum((2, 3), keepdim=True)
    mass = torch.tensor([0.5, 0.1, 0.4]).expand(2, queries, 3)
    capture = tokens.to_xarray().assign(
        attention=(("layer", "query", "frame", "token"), rows.numpy()),
        attention_mass=(("layer", "query", "part"), mass.numpy()),
    )
    capture = capture.assign_coords(layer=[0, 3], query=[90 + i for i in range(queries)])
    return capture.assign_attrs(clip_sha256="0" * 64, clip_source="random:0")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    """Measurements that were written and are opened lazily."""
    capture = capture_of()
    reduction = METHODS["FastVID"](rd.VideoTokens.from_capture(capture))
    measured = rd.measure(capture, reduction).merge(project_trajectory(capture))
    path = save_dataset(measured, tmp_path_factory.mktemp("stored") / "measured.zarr")
    return open_dataset(path, chunks={})


@pytest.fixture(scope="module")
def clip() -> VideoClip:
    return make_clip(T, fps=2.0)


def images(figure: Figure, number: int = -1) -> list[Any]:
    """Of each axes that has images, the values of one."""
    return [
        np.ma.filled(ax.get_images()[number].get_array(), np.nan)
        for ax in figure.axes
        if ax.get_images() and ax.axison is not None
    ]


def test_similarity(stored: xr.Dataset) -> None:
    figure = stored.redundancy.similarity(known_cuts=np.array([2]))
    line = figure.axes[0].get_lines()[0]
    np.testing.assert_array_equal(line.get_ydata(), stored["transition_similarity"])
    np.testing.assert_array_equal(line.get_xdata(), stored["transition_time"])
    assert figure.axes[0].get_lines()[1].get_xdata()[0] == stored["transition_time"][2]
    assert len(figure.axes) == 1


@pytest.mark.parametrize("segments", [[2, 4], {"own": [2, 4]}, {"own": torch.tensor([2, 4]), "other": (1, 5)}])
def test_similarity_with_segments(stored: xr.Dataset, segments: Any) -> None:
    _, bars = stored.redundancy.similarity(segments).axes
    starts = [round(bar.get_x(), 6) for bar in bars.patches]
    assert starts[:2] == [-0.5, 1.5]
    assert len(bars.patches) == 2 * (len(segments) if isinstance(segments, dict) else 1)


@pytest.mark.parametrize("variable", ["density", "token_persistence"])
def test_token_map(stored: xr.Dataset, clip: VideoClip, variable: str) -> None:
    figure = stored.redundancy.token_map(variable, clip)
    expected = stored[variable].values.reshape(-1, ROWS, COLS)
    np.testing.assert_array_equal(images(figure)[: len(expected)], expected)
    grounds = images(figure, 0)[: len(expected)]
    np.testing.assert_array_equal(grounds, [plot.grey_frame(f) for f in clip.frames[: len(expected)]])
    assert [ax.get_title() for ax in figure.axes[: len(expected)]] == [f"{t:.1f} s" for t in range(len(expected))]


def test_token_map_of_some_frames_of_a_layer() -> None:
    capture = capture_of()
    figure = capture.redundancy.token_map("attention", frames=[4, 1], layer=3)
    expected = capture["attention"].sel(layer=3, query=90).values.reshape(T, ROWS, COLS)[[4, 1]]
    np.testing.assert_allclose(images(figure)[:2], expected)


def test_token_map_of_bfloat16_shows_numbers_and_not_bits() -> None:
    tokens = video(T, ROWS, COLS, 8).to(dtype=torch.bfloat16)
    given = replace(tokens, salience={"norm": torch.full((T, ROWS * COLS), 0.5, dtype=torch.bfloat16)})
    capture = given.to_xarray()
    assert capture["salience_norm"].dtype == np.float32
    np.testing.assert_array_equal(images(capture.redundancy.token_map("salience_norm"))[0], np.full((ROWS, COLS), 0.5))


def test_long_videos_show_frames_at_equal_distance() -> None:
    measured = rd.measure(capture_of(61), None, "density")
    figure = measured.redundancy.token_map("density")
    expected = measured["density"].values.reshape(61, ROWS, COLS)[::4]
    np.testing.assert_array_equal(images(figure)[:MOST_FRAMES], expected)


def test_a_step_of_two_frames_shows_the_first() -> None:
    measured = rd.measure(capture_of(), None, "density").assign_coords(frame_time=("frame", np.arange(6) * 2 + 0.5))
    pairs = make_clip(12, fps=2.0)
    grounds = images(measured.redundancy.token_map("density", pairs), 0)[:T]
    np.testing.assert_array_equal(grounds, [plot.grey_frame(f) for f in pairs.frames[::2]])


@pytest.mark.parametrize("scaling", ["raw", "unit"])
def test_trajectory(stored: xr.Dataset, scaling: str) -> None:
    ax = stored.redundancy.trajectory(scaling=scaling).axes[0]
    at = stored.sel(scaling=scaling)
    np.testing.assert_array_equal(ax.get_lines()[0].get_xydata(), at["principal_components"])
    turns = at["turn_frames"].values == 1
    assert turns.sum() == 1
    np.testing.assert_array_equal(ax.collections[1].get_offsets(), at["principal_components"].values[turns])


@pytest.mark.parametrize("scaling", ["raw", "unit"])
def test_curvature(stored: xr.Dataset, scaling: str) -> None:
    above, below = stored.redundancy.curvature(scaling=scaling).axes
    at = stored.sel(scaling=scaling)
    np.testing.assert_array_equal(above.get_lines()[0].get_ydata(), at["curvature"])
    np.testing.assert_array_equal(above.get_lines()[1].get_xdata(), at["frame_time"].values[at["turn_frames"] == 1])
    np.testing.assert_array_equal(below.get_lines()[0].get_ydata(), at["speed"])
    np.testing.assert_array_equal(below.get_lines()[0].get_xdata(), at["transition_time"])


def test_a_video_without_motion_has_no_turns() -> None:
    tokens = rd.VideoTokens.from_features(torch.ones(4, 4, 3), rows=2, cols=2)
    measured = rd.measure(tokens).merge(project_trajectory(tokens))
    assert len(measured.redundancy.curvature().axes[0].get_lines()) == 1
    assert len(measured.redundancy.trajectory().axes[0].collections) == 3  # frames, the first, the last


def test_drift(stored: xr.Dataset, clip: VideoClip) -> None:
    figure = stored.redundancy.drift(clip)
    size = np.array(clip.frames.shape[1:3]) / (ROWS, COLS)
    moved = stored["grid_displacement"].values
    for t, ax in enumerate(figure.axes[:T]):
        here = stored["anchor_frame"].values == t
        dots, arrows = ax.collections
        place = np.stack([stored["anchor_col"].values[here], stored["anchor_row"].values[here]], 1) + 0.5
        np.testing.assert_allclose(dots.get_offsets(), place * size[::-1])
        np.testing.assert_array_equal(dots.get_array(), moved[here, 0])
        going = here & (moved[:, 1:] != 0).any(1)
        np.testing.assert_allclose(np.stack([arrows.V, arrows.U], 1), moved[going, 1:] * size)
    assert (moved != 0).any()


def test_attention(stored: xr.Dataset) -> None:
    figure = stored.redundancy.attention()
    np.testing.assert_array_equal(images(figure)[0], stored["frame_mass"].squeeze("query"))


def test_attention_of_one_of_two_rows() -> None:
    measured = rd.measure(capture_of(queries=2), None, "frame_mass")
    figure = measured.redundancy.attention(query=91)
    np.testing.assert_array_equal(images(figure)[0], measured["frame_mass"].sel(query=91))
    with pytest.raises(ValueError, match=r"name one of query=\[90, 91\]"):
        measured.redundancy.attention()
    with pytest.raises(ValueError, match=r"query=7 given, 'frame_mass' has query \[90, 91\]"):
        measured.redundancy.attention(query=7)


def test_reductions(stored: xr.Dataset, clip: VideoClip) -> None:
    tokens = rd.VideoTokens.from_capture(capture_of())
    reductions = {name: method(tokens) for name, method in METHODS.items()}
    figure = stored.redundancy.reductions(reductions, clip)
    expected = [token_roles(r).reshape(T, ROWS, COLS).numpy() for r in reductions.values()]
    np.testing.assert_array_equal(images(figure), np.concatenate(expected))
    assert [figure.axes[i * T].get_ylabel() for i in range(2)] == [
        f"{name}\nkept {r.achieved:.3g}\nasked {r.requested:.3g}" for name, r in reductions.items()
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, c: a.token_map("nonsense"), r"no variable 'nonsense'; redundancy.measure\(capture\) makes it"),
        (lambda a, c: a.token_map("speed"), r"'speed' has the dims .* expected \('transition', 'token'\)"),
        (lambda a, c: a.token_map("density", layer=3), r"\['layer'\] given, but 'density' has the dims"),
        (lambda a, c: a.token_map("density", frames=[0, 6]), r"frames=\[0, 6\] given, expected some of 0..5"),
        (lambda a, c: a.token_map("density", frames=[]), r"frames=\[\] given"),
        (lambda a, c: a.token_map("density", replace(c, sha256="1")), "expected the one that was captured"),
        (lambda a, c: a.token_map("density", replace(c, timestamps=c.timestamps / 2)), "0.00 to 2.50 s, expected"),
        (lambda a, c: a.similarity([2, 3]), "of 5 frames given, expected lengths that sum to 6"),
        (lambda a, c: a.trajectory(scaling="none"), "scaling='none' given, 'principal_components' has scaling"),
        (lambda a, c: a.reductions({}), "no reductions given"),
        (lambda a, c: a.reductions({"x": rd.Reduction.keep_all(video(4).grid)}), r"'x' reduces a grid of \(4, 4, 4\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused(stored: xr.Dataset, clip: VideoClip, call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(stored.redundancy, clip)


@pytest.mark.parametrize(
    ("method", "variable", "made_by"),
    [
        ("similarity", "transition_similarity", r"redundancy.measure\(capture\)"),
        ("trajectory", "principal_components", r"merge\(project_trajectory\(capture\)\)"),
        ("curvature", "curvature", r"redundancy.measure\(capture\)"),
        ("drift", "grid_displacement", r"redundancy.measure\(capture, reduction\)"),
        ("attention", "frame_mass", 'attention_rows="last"'),
    ],
)
def test_what_is_missing_is_named_with_the_call_that_makes_it(method: str, variable: str, made_by: str) -> None:
    measured = rd.measure(video(), None, "density")
    with pytest.raises(ValueError, match=f"no variable '{variable}'; .*{made_by}"):
        getattr(measured.redundancy, method)()


def test_a_dataset_of_something_else() -> None:
    with pytest.raises(ValueError, match="no coordinate 'frame_time'"):
        xr.Dataset().redundancy.reductions({"x": rd.Reduction.keep_all(video().grid)})


def test_outputs_that_left_the_grid_cannot_drift_on_it() -> None:
    tokens = video(8, 4, 4, 8, layout="onevision")
    reduction = HoliTom(retention=0.25)(tokens)
    assert reduction.placement == "renumbered"
    with pytest.raises(ValueError, match="renumbered"):
        rd.measure(tokens, reduction).redundancy.drift()


def test_nothing_is_drawn_with_a_window_manager(stored: xr.Dataset) -> None:
    import matplotlib.pyplot as plt

    assert isinstance(stored.redundancy, RedundancyAccessor)
    stored.redundancy.similarity()
    assert plt.get_fignums() == []


SCRIPT = """
import sys
import redundancy
assert "xarray" not in sys.modules
redundancy.{name}
import xarray
assert hasattr(xarray.Dataset, "redundancy")
assert not {{"matplotlib", "seaborn"}} & set(sys.modules)
"""


@pytest.mark.parametrize("name", ["measure", "VideoTokens"])
def test_registered_with_the_first_name_that_brings_xarray(name: str) -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT.format(name=name)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


def test_the_accessor_says_what_it_draws(stored: xr.Dataset) -> None:
    said = repr(stored.redundancy)
    assert "draws similarity(), trajectory(), curvature(), drift(), attention(), reductions(), token_map(" in said
    assert said.endswith("not measured here: nothing>")
    bare = repr(capture_of().redundancy)
    assert "draws reductions(), token_map('salience_" in bare
    assert bare.endswith("not measured here: similarity(), trajectory(), curvature(), drift(), attention()>")
    assert repr(xr.Dataset().redundancy).startswith("<redundancy: draws nothing; not measured here: similarity(), ")
    for text in (said, bare, repr(rd.VideoTokens.from_capture(capture_of()))):
        assert not any(word in text for word in ("\n", "tensor(", "array("))
