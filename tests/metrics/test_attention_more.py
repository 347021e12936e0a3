"""Attention metrics on captured rows, in other orders, and the settings they refuse."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from redundancy.metrics.attention import (
    attention_entropy,
    attention_lost,
    frame_mass,
    salience_attention_agreement,
    top_mass,
    video_share,
)
from redundancy.metrics.kernels.ranks import spearman, top_count
from redundancy.models import load_model
from redundancy.recording.attention import record_attention
from redundancy.recording.attention_dataset import attention_dataset
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid
from tests.metrics.checks.attention import GRID, merged, on_video, with_salience
from tests.tiny_models import TINY, make_clip

seeds = st.integers(0, 9999)


@pytest.mark.parametrize("heads", ["mean", "all"])
def test_captured_rows(tmp_path, heads):
    """Rows of a model with newlines, as the capture stores them: shapes, and shares that agree with each other."""
    TINY["llava_video"](tmp_path / "model")
    model = load_model(tmp_path / "model", device="cpu")
    with record_attention(model.family, "question") as record:
        model.prefill(model.prepare(make_clip(4), "what happens in the video ?"))
    data = attention_dataset(record, heads=heads)
    attention, mass = (torch.from_numpy(data[name].values) for name in ("attention", "attention_mass"))
    share = video_share(mass)
    assert tuple(share.shape) == tuple(data.sizes[d] for d in data["attention"].dims[:-2])
    # the sum over all keys is 1 up to the rounding of a float32 softmax
    torch.testing.assert_close(frame_mass(attention).sum(-1), share, atol=1e-5, rtol=0)
    tokens = data.sizes["frame"] * data.sizes["token"]
    entropy, effective = attention_entropy(attention)
    assert ((entropy >= 0) & (effective <= tokens * (1 + 1e-5))).all()  # exp of a float32 logarithm
    assert (top_mass(attention, top=(1,)) - 1).abs().max() < 1e-5  # a float32 sum of all shares


@given(seed=seeds)
def test_orders_of_frames_and_places(seed):
    given_rows = with_salience(seed, 4, 5, 2)
    attention, salience = given_rows["attention"], given_rows["salience"]
    frames, places = torch.randperm(4), torch.randperm(5)
    moved, moved_salience = attention[..., frames, :][..., places], salience[frames][:, places]
    # float32 sums in another order, at every comparison here
    close = {"atol": 1e-5, "rtol": 1e-5, "equal_nan": True}
    torch.testing.assert_close(frame_mass(moved), frame_mass(attention)[..., frames], **close)
    torch.testing.assert_close(attention_entropy(moved)[0], attention_entropy(attention)[0], **close)
    torch.testing.assert_close(top_mass(moved), top_mass(attention), **close)
    before = salience_attention_agreement(attention, salience)
    after = salience_attention_agreement(moved, moved_salience)
    torch.testing.assert_close(after[0], before[0], **close)
    torch.testing.assert_close(after[1], before[1], **close)


@given(seed=seeds)
def test_agreement_depends_on_ranks_alone(seed):
    given_rows = with_salience(seed, 3, 7, 2)
    attention, salience = given_rows["attention"], given_rows["salience"]
    plain = salience_attention_agreement(attention, salience)
    other = salience_attention_agreement(attention * 0.5, salience * 8 - 4)  # powers of two keep ties and order
    assert torch.equal(plain[0].nan_to_num(9), other[0].nan_to_num(9))
    assert torch.equal(plain[1].nan_to_num(9), other[1].nan_to_num(9))


def test_blocks_of_rows_do_not_show(monkeypatch):
    given_rows = with_salience(3, 4, 5, 5)
    whole = salience_attention_agreement(**given_rows)
    monkeypatch.setattr("redundancy.metrics.attention.ROWS_AT_ONCE", 3)
    parts = salience_attention_agreement(**given_rows)
    assert all(torch.equal(a.nan_to_num(9), b.nan_to_num(9)) for a, b in zip(whole, parts, strict=True))


def test_ties_of_attention_go_to_the_lowest_index():
    attention = torch.tensor([[0.1, 0.3, 0.3, 0.3, 0.0]])
    first = salience_attention_agreement(attention, torch.tensor([[0.0, 1.0, 0.0, 0.0, 0.0]]), attended=0.2)
    assert first.salience_auc == 1
    last = salience_attention_agreement(attention, torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0]]), attended=0.2)
    assert last.salience_auc < 0.5


def test_merging_loses_places_but_no_content():
    attention = on_video(1, 4, 15, 1)["attention"]
    lost = attention_lost(attention, merged(GRID, [0, 20, 40]))
    places = 1 - attention.flatten(-2)[..., [0, 20, 40]].sum(-1) / attention.sum((-1, -2))
    torch.testing.assert_close(lost.attention_lost, places, atol=1e-5, rtol=0)  # float32 sums in another order
    last = attention[..., -1, -1] / attention.sum((-1, -2))  # it was assigned with weight 0
    torch.testing.assert_close(lost.attention_lost_sources, last, atol=1e-6, rtol=1e-5)


def test_newlines_are_no_tokens():
    """A reduction inside the model, whose slots hold newlines and not the whole video."""
    slots = torch.tensor([3, 5, -1, 9, 11, -1])
    inner = Reduction.from_selection(torch.tensor([1, 2, 5]), grid=TokenGrid(3, 2, 2), slots=slots, layer=2)
    attention = torch.zeros(3, 4)
    attention[1, 1], attention[2, 3] = 0.2, 0.6  # tokens 5 and 11
    assert attention_lost(attention, inner) == (pytest.approx(0.75), pytest.approx(0.75))


def test_half_precision_is_computed_in_float32():
    attention = torch.full((2, 1, 1, 16, 196), 1 / 4096)  # an exact bfloat16
    exact, rounded = attention_entropy(attention), attention_entropy(attention.bfloat16())
    assert rounded.effective_tokens.dtype == torch.float32
    assert torch.equal(exact.effective_tokens, rounded.effective_tokens)
    assert torch.equal(frame_mass(attention), frame_mass(attention.bfloat16()))


def test_what_is_refused():
    attention = torch.rand(1, 4, 15)
    with pytest.raises(ValueError, match=r"attention on \(4, 15\) given, expected \(frames, tokens\) = \(5, 12\)"):
        attention_lost(attention, Reduction.keep_all(TokenGrid(5, 3, 4)))
    with pytest.raises(ValueError, match=r"attention_mass with 2 parts given, expected \('video', 'newline', 'text'\)"):
        video_share(torch.rand(3, 2))
    with pytest.raises(ValueError, match=r"top=\(\) given, expected at least one share"):
        top_mass(attention, top=())
    for share in (0, -0.1, 1.5):
        with pytest.raises(ValueError, match=rf"top={share} given, expected a share in \(0, 1\]"):
            top_mass(attention, top=(0.5, share))


@pytest.mark.parametrize(
    ("share", "count", "top"), [(0.07, 100, 7), (0.05, 60, 3), (0.1, 1, 1), (0.25, 10, 3), (1, 5, 5)]
)
def test_top_count_is_a_ceiling_that_binary_fractions_do_not_raise(share, count, top):
    assert top_count(share, count) == top


def test_spearman_of_rows_and_one_other():
    rows = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0], [1.0, 1.0, 1.0]])
    found = spearman(rows, torch.tensor([10, 20, 70]))
    torch.testing.assert_close(found, torch.tensor([1.0, -1.0, torch.nan]), equal_nan=True)
