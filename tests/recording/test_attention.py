"""Attention rows against eager attention, and a model that runs as if nobody looked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import redundancy as rd
from redundancy.apply import prune
from redundancy.models import VideoLLM
from redundancy.models.hooks import Hooks
from redundancy.pruning import FastV, RandomTokens
from redundancy.recording.attention import CHUNK, record_attention, video_columns
from redundancy.recording.rows import attention_rows
from redundancy.reduction import Reduction
from tests.apply.reference import whole_prompt
from tests.tiny_models import make_clip

QUESTION, OTHER = "what happens in the video ?", "which cat ?"


def eager_attention(model: VideoLLM, inputs: Any, **arguments: Any) -> list[torch.Tensor]:
    out = model.prefill(inputs, output_attentions=True, **arguments)
    return [a.float() for a in out.attentions]


def test_rows_against_torch():
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 4, 3, 8, generator=generator), torch.randn(2, 2, 9, 8, generator=generator)
    columns = torch.tensor([2, 5, 8])
    rows = attention_rows(query, key, scale=0.5, columns=columns)
    for h in range(4):
        score = query[:, h] @ key[:, h // 2].transpose(1, 2) * 0.5
        score = score.masked_fill(torch.arange(9) > columns[:, None], -torch.inf)
        torch.testing.assert_close(rows[:, h], score.softmax(-1), atol=1e-6, rtol=0)  # float32 softmax
    mask = torch.ones(2, 9)
    mask[0, :3] = 0
    masked = attention_rows(query, key, scale=0.5, columns=columns, mask=mask)
    assert masked[0, :, 0].abs().sum() == 0  # it may see nothing: 0, not NaN
    assert masked[0, :, 1:, :3].abs().sum() == 0
    torch.testing.assert_close(masked[0, :, 1:].sum(-1), torch.ones(4, 2))


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("rows", ["last", "question", (0, 7, -3)])
def test_rows_against_eager(family_model: VideoLLM, eager_model: VideoLLM, rows: Any, cache: bool):
    inputs = family_model.prepare(make_clip(4), QUESTION)
    with record_attention(family_model.family, rows) as record:
        family_model.prefill(inputs, use_cache=cache)
    expected = eager_attention(eager_model, inputs)
    assert sorted(record.rows) == list(range(len(expected)))
    for layer, attention in enumerate(expected):
        # eager runs its own forward: float32 sums in another order, through all layers before
        torch.testing.assert_close(record.rows[layer], attention[:, :, record.columns], atol=1e-5, rtol=0)


def test_rows_of_a_padded_batch(family_model: VideoLLM, eager_model: VideoLLM):
    inputs = family_model.prepare([make_clip(4, seed=1), make_clip(4, seed=2)], [QUESTION, OTHER])
    with record_attention(family_model.family, "last", layers=[0, -1]) as record:
        family_model.prefill(inputs)
    expected = eager_attention(eager_model, inputs)
    assert sorted(record.rows) == [0, len(expected) - 1]
    for layer, rows in record.rows.items():
        torch.testing.assert_close(rows, expected[layer][:, :, record.columns], atol=1e-5, rtol=0)  # as above
    with (
        pytest.raises(ValueError, match="takes one prompt, given a batch of 2"),
        record_attention(family_model.family, "question"),
    ):
        family_model.prefill(inputs)


def test_the_output_is_bit_identical(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(4), QUESTION)
    before = family_model.prefill(inputs).logits
    with record_attention(family_model.family, "question"):
        inside = family_model.prefill(inputs).logits
    assert torch.equal(before, inside)
    assert torch.equal(before, family_model.prefill(inputs).logits)


def test_rows_see_the_reduced_prompt_inside_prune(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(4), QUESTION)

    def half(tokens: Any) -> Reduction:
        size = tokens.grid.frames * tokens.grid.tokens_per_frame
        newline = "kept rows" if tokens.layout.newline == "row" else "none"
        return Reduction.from_selection(torch.arange(0, size, 2), grid=tokens.grid, newline=newline)

    with prune(family_model, half) as pruned, record_attention(family_model.family, "last") as record:
        family_model.prefill(inputs)
    (reduction,) = pruned.reductions
    assert record.entry is not None
    length = record.entry.kwargs["inputs_embeds"].shape[1]
    assert record.rows[0].shape[-1] == length < inputs.tensors["input_ids"].shape[1]
    assert record.entry.shortened is not None
    (video,) = record.entry.shortened
    assert len(video.columns) == reduction.kept
    assert len(video_columns(record.entry, 0)) == reduction.kept + len(video.newlines)
    torch.testing.assert_close(record.rows[0].sum(-1), torch.ones_like(record.rows[0].sum(-1)))


@pytest.mark.parametrize(
    ("rows", "layers", "message"),
    [
        ("first", None, '"last", "question", "generated" or columns'),
        ((10_000,), None, "columns in"),
        ((), None, "given none"),
        ("last", [99], "99"),
    ],
)
def test_what_does_not_exist_is_refused(family_model: VideoLLM, rows: Any, layers: Any, message: str):
    inputs = family_model.prepare(make_clip(4), QUESTION)
    with pytest.raises(ValueError, match=message), record_attention(family_model.family, rows, layers=layers):
        family_model.prefill(inputs)


@pytest.mark.parametrize("heads", ["mean", "all"])
def test_capture_labels_attention(family_model: VideoLLM, eager_model: VideoLLM, heads: str):
    clip = make_clip(4)
    dataset = rd.capture(family_model, clip, QUESTION, attention_rows="question", layers=[0, -1], heads=heads)
    lead = ("layer", "head", "query") if heads == "all" else ("layer", "query")
    assert dataset["attention"].dims == (*lead, "frame", "token")
    np.testing.assert_allclose(dataset["attention_mass"].sum("part"), 1, atol=1e-6)
    on_video = dataset["attention_mass"].sel(part="video")
    np.testing.assert_allclose(dataset["attention"].sum(("frame", "token")), on_video, atol=1e-6)
    if family_model.family.layout.newline == "none":
        assert float(dataset["attention_mass"].sel(part="newline").max()) == 0
    inputs = family_model.prepare(clip, QUESTION)
    last = torch.stack(eager_attention(eager_model, inputs))[-1, 0]
    is_video = inputs.tensors["input_ids"][0] == family_model.family.video_token_id
    placeholders = last[:, -1, is_video].sum(-1)  # video tokens and newlines
    got = dataset["attention_mass"].isel(layer=-1, query=-1).sel(part=["video", "newline"]).sum("part")
    expected = placeholders.mean() if heads == "mean" else placeholders
    np.testing.assert_allclose(got, expected, atol=1e-5)
    tokens = rd.VideoTokens.from_capture(dataset)
    assert torch.equal(tokens.features, rd.video_tokens(family_model, clip, QUESTION).features)


def test_capture_of_attention_is_stored(family_model: VideoLLM, tmp_path: Path):
    dataset = rd.capture(family_model, make_clip(4), QUESTION, attention_rows="last")
    again = rd.open_capture(rd.save_capture(dataset, tmp_path / "rows.zarr"))
    np.testing.assert_array_equal(again["attention"], dataset["attention"])
    assert again["part"].values.tolist() == ["video", "newline", "text"]


def test_capture_of_attention_inside_prune(family_model: VideoLLM):
    with prune(family_model, RandomTokens(retention=0.5)) as pruned:
        dataset = rd.capture(family_model, make_clip(4), QUESTION, attention_rows="last")
    assert dataset["attention"].dims == ("layer", "query", "kept")
    assert dataset.sizes["kept"] == pruned.reductions[0].kept
    np.testing.assert_allclose(dataset["attention_mass"].sum("part"), 1, atol=1e-6)
    if family_model.family.layout.newline != "none":
        assert float(dataset["attention_mass"].sel(part="newline").min()) > 0


def test_other_words_for_heads_are_refused(family_model: VideoLLM):
    with pytest.raises(ValueError, match='heads is "mean" or "all"'):
        rd.capture(family_model, make_clip(4), QUESTION, attention_rows="last", heads="max")


def test_received_against_eager(family_model: VideoLLM, eager_model: VideoLLM):
    """Mean over the queries that are no padding; several chunks of rows."""
    inputs = family_model.prepare([make_clip(8, seed=1), make_clip(8, seed=2)], [QUESTION * 20, OTHER])
    with record_attention(family_model.family, None, received=True) as record:
        family_model.prefill(inputs)
    real = inputs.tensors["attention_mask"].bool()
    assert record.rows[0].shape[2] == 0
    assert real.shape[1] > CHUNK
    for layer, attention in enumerate(eager_attention(eager_model, inputs)):
        for row in range(2):
            expected = attention[row][:, real[row]].mean(1)
            torch.testing.assert_close(record.received[layer][row], expected, atol=1e-5, rtol=0)  # as above


def test_rows_behind_generated_tokens(family_model: VideoLLM, eager_model: VideoLLM):
    """Each row is the last one of a whole prompt with the tokens so far appended."""
    inputs = family_model.prepare(make_clip(4), QUESTION)
    quiet = {"suppress_tokens": [family_model.family.video_token_id]}  # a random model may say it
    with record_attention(family_model.family, "generated") as record:
        ids = family_model.model.generate(**inputs.tensors, do_sample=False, max_new_tokens=4, **quiet)
    with torch.no_grad():
        squares = eager_model.model.generate(
            **inputs.tensors,
            do_sample=False,
            max_new_tokens=4,
            output_attentions=True,
            return_dict_in_generate=True,
            **quiet,
        )
    assert torch.equal(ids, squares.sequences)
    S = inputs.tensors["input_ids"].shape[1]
    assert record.columns == [S - 1, S, S + 1, S + 2]
    for step, attentions in enumerate(squares.attentions):
        for layer, attention in enumerate(attentions):
            expected = attention[:, :, -1].float()
            torch.testing.assert_close(record.rows[layer][:, :, step], expected[..., :S], atol=1e-5, rtol=0)
            torch.testing.assert_close(record.beyond[layer][:, :, step], expected[..., S:].sum(-1), atol=1e-5, rtol=0)


def test_a_layer_that_lost_columns(family_model: VideoLLM, eager_model: VideoLLM):
    """Rows of a reduced layer against eager attention of the same reduced model."""
    inputs = family_model.prepare([make_clip(4, seed=1), make_clip(4, seed=2)], [QUESTION, OTHER])
    with (
        prune(family_model, None, inner=[FastV(layer=2, drop_rate=0.5)]) as pruned,
        record_attention(family_model.family, "last", received=True) as record,
    ):
        family_model.prefill(inputs)
    squares: dict[int, torch.Tensor] = {}
    with prune(eager_model, None, inner=[pruned.inner]), Hooks() as hooks:
        for i, layer in enumerate(eager_model.family.text_model.layers):
            hooks.after(layer.self_attn, lambda m, a, k, out, i=i: squares.__setitem__(i, out[1].float()))
        eager_model.prefill(inputs)
    spans = whole_prompt(family_model, inputs).spans
    S = inputs.tensors["input_ids"].shape[1]
    for layer, square in squares.items():
        for row, span in enumerate(spans):
            left = torch.ones(S, dtype=torch.bool)
            if layer >= 2:
                left[span.columns.flatten()] = False
                left[span.columns.flatten()[pruned.inner[row].anchor_token]] = True
            real = inputs.tensors["attention_mask"][row].bool()[left]
            own = square[row][:, -int(left.sum()) :, -int(left.sum()) :]  # what was padded stands on the left
            assert record.rows[layer][row][..., ~left].abs().sum() == 0
            torch.testing.assert_close(record.rows[layer][row, :, 0, left], own[:, -1], atol=1e-5, rtol=0)
            expected = own[:, real].mean(1)
            torch.testing.assert_close(record.received[layer][row][:, left], expected, atol=1e-5, rtol=0)


def test_capture_of_everything(family_model: VideoLLM, tmp_path: Path):
    dataset = rd.capture(
        family_model,
        make_clip(4),
        QUESTION,
        attention_rows="generated",
        max_new_tokens=3,
        received=True,
        hidden=[0, -1],
        layers=[1],
    )
    assert dataset["attention"].sizes["query"] == 3
    assert dataset["attention_received"].dims == ("layer", "frame", "token")
    np.testing.assert_allclose(dataset["attention_mass"].sum("part"), 1, atol=1e-6)
    assert dataset["hidden_layer"].values.tolist() == [0, len(family_model.family.text_model.layers)]
    np.testing.assert_array_equal(dataset["hidden_video"].sel(hidden_layer=0), dataset["tokens"])
    again = rd.open_capture(rd.save_capture(dataset, tmp_path / "all.zarr"))
    for name in dataset.data_vars:
        np.testing.assert_array_equal(again[name], dataset[name])
