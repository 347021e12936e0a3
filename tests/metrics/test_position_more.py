"""Position metrics: settings, errors, agreement with what pruning does, sizes."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from redundancy.metrics.kernels.placement import assigned_positions, renumbered
from redundancy.metrics.position import (
    alignment,
    coherence,
    grid_displacement,
    phase_error,
    position_displacement,
    position_spread,
)
from redundancy.metrics.position.numbering import distance_to_text, inversions, time_warp
from redundancy.models.rotary import mrope_layout
from redundancy.models.torchvision_repair import import_torchvision
from redundancy.reduction import Reduction
from redundancy.tokens import RotaryLayout, TokenGrid
from tests.metrics.checks.position import ALL, GRID, INSIDE, LINE, MROPE, PAIR, RENUMBERED, ROTARY
from tests.metrics.checks.reductions import (
    dense,
    mrope_positions,
    prompt_positions,
    random_grid,
    random_merge,
    random_reduction,
    rotary,
    row_newline_reduction,
)

import_torchvision()  # before transformers imports it
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLTextConfig  # noqa: E402
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLRotaryEmbedding  # noqa: E402
from transformers.models.qwen3_vl.configuration_qwen3_vl import Qwen3VLTextConfig  # noqa: E402
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLTextRotaryEmbedding  # noqa: E402


def test_assigned_positions_are_believed() -> None:
    told = torch.full((1, ALL.kept), 7)
    assert torch.equal(assigned_positions(ALL, LINE, assigned=told), torch.full((24, 1), 7.0, dtype=torch.float64))
    moved = position_displacement(INSIDE, LINE, assigned=LINE.flatten(1))
    assert not moved.position_displacement.any()  # where everything was, though the reduction says "renumbered"
    same = alignment(INSIDE, MROPE, ROTARY, assigned=MROPE.flatten(1))
    torch.testing.assert_close(same.alignment, torch.ones(24, 3))
    assert not phase_error(INSIDE, MROPE, ROTARY, assigned=MROPE.flatten(1)).phase_error.any()
    distance = distance_to_text(INSIDE, LINE, 40, assigned=LINE.flatten(1), new_last_position=40)
    assert (distance.distance_to_text_ratio == 1).all()
    assert not time_warp(INSIDE, LINE, torch.arange(4.0), assigned=LINE.flatten(1)).time_warp.any()


@given(st.integers(0, 9999), st.integers(1, 6), st.integers(1, 9))
def test_centroids_are_those_that_pruning_takes(seed: int, T: int, N: int) -> None:
    rng = np.random.default_rng(seed)
    grid = random_grid(rng, T, N)
    reduction = random_merge(rng, grid, torch.arange(T * N), placement="centroid")
    positions = mrope_positions(grid, start=11)
    pruned = (reduction.apply(positions.flatten(1).double().T) / reduction.row_sums[:, None]).round()
    torch.testing.assert_close(assigned_positions(reduction, positions), pruned, rtol=0, atol=0, equal_nan=True)


@given(st.integers(0, 9999), st.integers(1, 6), st.integers(1, 9))
def test_keeping_everything_moves_nothing(seed: int, T: int, N: int) -> None:
    everything = Reduction.keep_all(random_grid(np.random.default_rng(seed), T, N))
    positions, layout = mrope_positions(everything.grid, start=seed), rotary(6, 3, seed=seed)
    for fields in (
        grid_displacement(everything, torch.arange(float(T))),
        position_displacement(everything, positions),
        (position_spread(everything, positions), phase_error(everything, positions, layout).phase_error_all),
    ):
        assert all(not x.any() for x in fields)
    for fields in (alignment(everything, positions, layout), coherence(everything, positions, layout)):
        assert all(bool(((x == 1) | x.isnan()).all()) for x in fields)


@given(st.integers(0, 9999), st.integers(1, 6), st.integers(1, 9))
def test_alignment_is_the_rotated_part_of_coherence(seed: int, T: int, N: int) -> None:
    """Re z = |z| cos(angle) <= |z|; coherence does not depend on the place."""
    reduction = random_reduction(seed, T, N)
    positions, layout = mrope_positions(reduction.grid, start=3), rotary(5, 3, seed=seed)
    aligned, coherent = alignment(reduction, positions, layout), coherence(reduction, positions, layout)
    both = ~aligned.alignment.isnan()
    assert (aligned.alignment[both] <= coherent.coherence[both] + 1e-6).all()  # rounding to float32
    elsewhere = coherence(replace(reduction, placement="renumbered"), positions, layout)
    torch.testing.assert_close(elsewhere.coherence, coherent.coherence, rtol=0, atol=0, equal_nan=True)


def test_sources_that_cancel_have_no_angle() -> None:
    half_turn = RotaryLayout(torch.tensor([torch.pi / 3], dtype=torch.float64), torch.tensor([0]), ("t", "h", "w"))
    assert phase_error(PAIR, MROPE, half_turn).phase_error.isnan().all()
    assert coherence(PAIR, MROPE, half_turn).coherence[0, 0] == pytest.approx(0, abs=1e-7)


def test_newlines_and_weights_of_zero_are_no_sources() -> None:
    slots = torch.tensor([0, 1, 2, -1, 3, 4, 5, -1])
    grid = TokenGrid(1, 2, 3)
    reduction = Reduction(
        anchor=torch.tensor([0, 3, 5]),
        source=torch.tensor([0, 3, 4, 2, 3, 5]),
        target=torch.tensor([0, 0, 0, 0, 1, 2]),
        weight=torch.tensor([1.0, 2.0, 1.0, 0.0, 1.0, 0.0], dtype=torch.float64),
        slots=slots,
        grid=grid,
        layer=2,
    )
    moved = grid_displacement(reduction, torch.zeros(1)).grid_displacement
    assert moved[0].tolist() == [0, 0.5, 0]  # half of (0, 0), half of (1, 0): the newline and the 0 have no part
    assert moved[1:].isnan().all()  # a newline alone, and an output of weight 0


class TextModel(torch.nn.Module):
    """As much of a text model as has a rotary embedding."""

    def __init__(self, rotary_emb: torch.nn.Module) -> None:
        super().__init__()
        self.rotary_emb = rotary_emb


SHAPE = {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
SECTIONS = {"rope_type": "default", "rope_theta": 1e4}
ROTARY_MODULES = {
    "sectioned": Qwen2_5_VLRotaryEmbedding(
        Qwen2_5_VLTextConfig(**SHAPE, rope_parameters=SECTIONS | {"mrope_section": [2, 3, 3]})
    ),
    "interleaved": Qwen3VLTextRotaryEmbedding(
        Qwen3VLTextConfig(**SHAPE, rope_parameters=SECTIONS | {"mrope_section": [4, 2, 2]})
    ),
}


@pytest.mark.parametrize("kind", ROTARY_MODULES)
@pytest.mark.parametrize("seed", [1, 2, 5, 9])
def test_angles_are_the_models_own(kind: str, seed: int) -> None:
    """The cosines and sines that the model's module gives to sources and outputs, multiplied out."""
    module, reduction = ROTARY_MODULES[kind], replace(random_reduction(seed, 4, 6), placement="anchor")
    positions = mrope_positions(reduction.grid, start=3)

    def turned(ids: torch.Tensor) -> torch.Tensor:
        cosine, sine = module(torch.zeros(1), ids[:, None])
        return torch.complex(cosine, sine)[0, :, :8].to(torch.complex128)

    video = turned(positions.flatten(1))
    W = torch.from_numpy(dense(reduction)).to(torch.complex128)
    sums = (W @ video) * video[reduction.anchor_token].conj()
    sums[reduction.anchor_token < 0] = torch.nan
    layout = mrope_layout(TextModel(module))
    found = alignment(reduction, positions, layout).alignment_all
    torch.testing.assert_close(found, sums.real.mean(1).float(), rtol=0, atol=1e-5, equal_nan=True)  # float32 module
    spread = coherence(reduction, positions, layout).coherence_all
    expected = (W @ video).abs().mean(1).float()
    torch.testing.assert_close(spread, expected, rtol=0, atol=1e-5, equal_nan=True)  # as above


@given(st.integers(0, 9999), st.integers(2, 300))
def test_inversions_are_kendalls_tau(seed: int, kept: int) -> None:
    order = torch.from_numpy(np.random.default_rng(seed).permutation(400)[:kept])
    reduction = Reduction.from_selection(order, grid=TokenGrid(4, 10, 10))
    tau = kendalltau(np.arange(kept), order.numpy()).statistic
    assert inversions(reduction).item() == pytest.approx((1 - tau) / 2, abs=1e-6)  # rounding to float32


def test_two_outputs_on_one_anchor_are_in_order() -> None:
    twice = Reduction.from_selection(torch.tensor([5, 5, 2]), grid=GRID)
    assert inversions(twice).item() == pytest.approx(2 / 3)


@given(st.integers(0, 9999), st.integers(1, 6), st.integers(1, 9))
def test_renumbering_everything_changes_no_number_on_a_line(seed: int, T: int, N: int) -> None:
    grid = random_grid(np.random.default_rng(seed), T, N)
    for newline in ("none", "kept rows", "all"):
        everything = Reduction.keep_all(grid, placement="renumbered", newline=newline)
        positions = prompt_positions(grid, start=seed % 30, newlines=newline != "none")
        assert torch.equal(renumbered(everything, positions).long(), positions.flatten())
        distance = distance_to_text(everything, positions, int(positions.max()) + 4)
        assert (distance.distance_to_text_ratio == 1).all()


@given(st.integers(0, 9999), st.integers(1, 6), st.integers(1, 9))
def test_renumbered_text_moves_up_by_what_is_gone(seed: int, T: int, N: int) -> None:
    """On a line every column that goes brings the last token one nearer to the prompt's start."""
    reduction = replace(row_newline_reduction(seed, T, N), placement="renumbered")
    positions = prompt_positions(reduction.grid, start=4, newlines=True)
    last = int(positions.max()) + 1 + 6  # the last row's newline, six tokens of text
    block, rows = T * N + T * reduction.grid.rows, reduction.anchor // reduction.grid.cols
    newlines = {"all": T * reduction.grid.rows, "kept rows": len(rows.unique()), "none": 0}[reduction.newline]
    found = distance_to_text(reduction, positions, last).distance_to_text[0, 0]
    first = 4 + (int(rows[0]) if reduction.newline == "all" else 0)
    assert found.item() == last - (block - reduction.kept - newlines) - first


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"positions of shape \(3, 2, 6\) given, expected \[axes, 4, 6\]"):
        position_displacement(ALL, MROPE[:, :2])
    with pytest.raises(ValueError, match=r"assigned of shape \(3, 23\) given, expected \[3, 24\]"):
        alignment(ALL, MROPE, ROTARY, assigned=torch.zeros(3, 23))
    with pytest.raises(ValueError, match="positions on 1 axes given, expected 3"):
        coherence(ALL, LINE, ROTARY)
    with pytest.raises(ValueError, match="last_position=3 given, expected at least the video's 5"):
        distance_to_text(ALL, LINE, 3)


def test_no_output_at_all() -> None:
    nothing = Reduction.from_selection(torch.zeros(0, dtype=torch.int64), grid=GRID)
    assert grid_displacement(nothing, torch.arange(4.0)).grid_displacement.shape == (0, 3)
    assert alignment(nothing, MROPE, ROTARY).alignment.shape == (0, 3)
    assert inversions(nothing).isnan()
    assert time_warp(nothing, LINE, torch.arange(4.0)).time_warp.isnan().all()
    assert time_warp(RENUMBERED, LINE, torch.arange(4.0)).time_warp.isnan().all()


def test_a_long_video_takes_no_loop_over_outputs() -> None:
    """64 frames of 196 tokens, 64 frequencies: well below ten seconds on one core."""
    rng, grid = np.random.default_rng(0), TokenGrid(64, 14, 14)
    reduction = random_merge(rng, grid, torch.arange(64 * 196))
    begin = time.perf_counter()
    alignment(reduction, mrope_positions(grid, start=20), rotary(64, 3))
    inversions(reduction)
    assert time.perf_counter() - begin < 10
