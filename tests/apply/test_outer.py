"""Pruned generation against a cache-free, hook-free recomputation, for every family."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from redundancy.apply import prune
from redundancy.models import VideoLLM
from redundancy.models.cache_name import cache_of
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens
from tests.apply.reference import greedy, shortened, whole_prompt
from tests.tiny_models import CACHE, make_clip

QUESTION, OTHER = "what happens in the video ?", "which cat ?"
STEPS = 8


def every_third(tokens: VideoTokens) -> Reduction:
    """Every third token, and every token of frame 1: frames keep different numbers."""
    T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
    index = torch.arange(T * N)
    index = index[(index % 3 == 0) | (index // N == 1)]
    return Reduction.from_selection(index, grid=tokens.grid, newline=newline_of(tokens), requested=0.5)


def merged(tokens: VideoTokens) -> Reduction:
    """Every fourth token takes a weighted mean of itself and the three that follow."""
    size = tokens.grid.frames * tokens.grid.tokens_per_frame
    anchor = torch.arange(0, size - size % 4, 4)
    source = torch.arange(len(anchor) * 4)
    weight = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).repeat(len(anchor))
    return Reduction(
        anchor=anchor,
        source=source,
        target=source // 4,
        weight=weight,
        slots=torch.arange(size),
        grid=tokens.grid,
        newline=newline_of(tokens),
        requested=0.25,
    )


def swapped(tokens: VideoTokens) -> Reduction:
    """The first two tokens of each frame and grid row change places: an order that does not ascend."""
    T, rows, cols = tokens.grid
    index = torch.arange(T * rows * cols).view(T, rows, cols)[:, :, :2].flip(-1).flatten()
    return Reduction.from_selection(index, grid=tokens.grid, newline=newline_of(tokens), requested=0.5)


def one_frame(tokens: VideoTokens) -> Reduction:
    """Only the second frame: the others keep no token."""
    N = tokens.grid.tokens_per_frame
    return Reduction.from_selection(torch.arange(N, 2 * N), grid=tokens.grid, newline=newline_of(tokens))


def newline_of(tokens: VideoTokens) -> str:
    return "kept rows" if tokens.layout.newline == "row" else "none"


def placed(method: Any, placement: str) -> Any:
    def decided(tokens: VideoTokens) -> Reduction:
        reduction, positions = method(tokens), None
        if placement == "given":  # others on every axis, in no order
            positions = tokens.positions.flatten(1)[:, reduction.anchor] + torch.arange(reduction.kept) % 3
        return replace(reduction, placement=placement, positions=positions)

    return decided


def generate(model: VideoLLM, inputs: Any, **arguments: Any) -> Any:
    assert model.model.generation_config.eos_token_id is None  # the small models never stop early
    return model.model.generate(
        **inputs.tensors,
        max_new_tokens=STEPS,
        do_sample=False,
        output_logits=True,
        return_dict_in_generate=True,
        **arguments,
    )


def compare(model: VideoLLM, inputs: Any, method: Any, per_row: int = 1) -> None:
    entry = whole_prompt(model, inputs)
    with prune(model, method) as pruned:
        out = generate(model, inputs)
    mask = inputs.tensors["attention_mask"]
    for row in range(len(mask)):
        reductions = pruned.reductions[row * per_row : (row + 1) * per_row]
        ids, logits = greedy(model, shortened(entry, model, row, reductions, mask[row]), steps=STEPS)
        assert out.sequences[row, -STEPS:].tolist() == ids
        # float32 sums in another order over at most a few hundred keys and five layers
        torch.testing.assert_close(torch.stack(out.logits)[:, row], logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("placement", ["anchor", "renumbered", "centroid", "given"])
@pytest.mark.parametrize("method", [every_third, merged, swapped, one_frame])
def test_pruned_decoding_equals_the_reference(family_model: VideoLLM, method: Any, placement: str):
    compare(family_model, family_model.prepare(make_clip(), QUESTION), placed(method, placement))


@pytest.mark.parametrize("method", [every_third, placed(merged, "renumbered")])
def test_eager_attention_too(eager_model: VideoLLM, method: Any):
    compare(eager_model, eager_model.prepare(make_clip(), QUESTION), method)


@pytest.mark.parametrize("placement", ["anchor", "renumbered"])
def test_padded_batch_with_rows_of_different_length(family_model: VideoLLM, placement: str):
    inputs = family_model.prepare([make_clip(seed=1), make_clip(seed=2)], [QUESTION, OTHER])
    assert not inputs.tensors["attention_mask"].bool().all()
    counter = iter(range(100))

    def uneven(tokens: VideoTokens) -> Reduction:
        return placed((every_third, merged)[next(counter) % 2], placement)(tokens)

    compare(family_model, inputs, uneven)


def test_two_videos_in_one_prompt(family_model: VideoLLM):
    inputs = family_model.prepare([[make_clip(seed=1), make_clip(seed=2)]], [QUESTION])
    counter = iter(range(100))
    compare(family_model, inputs, lambda t: (every_third, merged)[next(counter) % 2](t), per_row=2)


def test_keep_all_changes_nothing(family_model: VideoLLM):
    inputs = family_model.prepare([make_clip(seed=1), make_clip(seed=2)], [QUESTION, OTHER])
    before = generate(family_model, inputs)
    with prune(
        family_model, lambda t: Reduction.keep_all(t.grid, newline="all" if newline_of(t) != "none" else "none")
    ) as p:
        inside = generate(family_model, inputs)
    after = generate(family_model, inputs)
    assert p.reductions[0].achieved == p.reductions[0].achieved_with_newlines == 1.0
    assert torch.equal(before.sequences, inside.sequences)
    assert torch.equal(before.sequences, after.sequences)
    assert torch.equal(torch.stack(before.logits), torch.stack(after.logits))
    # padding is made anew and the mask is explicit, so sums may be taken in another order
    torch.testing.assert_close(torch.stack(inside.logits), torch.stack(before.logits), atol=1e-5, rtol=0)


def test_keep_all_goes_through_the_whole_path(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)

    def one_row_doubled(tokens: VideoTokens) -> Reduction:
        whole = Reduction.keep_all(tokens.grid, newline="all" if newline_of(tokens) != "none" else "none")
        weight = whole.weight.clone()
        weight[5] = 2.0
        return replace(whole, weight=weight)

    before = torch.stack(generate(family_model, inputs).logits)
    with prune(family_model, one_row_doubled):
        changed = torch.stack(generate(family_model, inputs).logits)
    assert (changed[0] - before[0]).abs().max() > 1e-4


def test_ready_reductions_replay_a_decision(family_model: VideoLLM):
    inputs = family_model.prepare([make_clip(seed=1), make_clip(seed=2)], [QUESTION, OTHER])
    with prune(family_model, every_third) as pruned:
        expected = generate(family_model, inputs)
    with prune(family_model, pruned.reductions):
        listed = generate(family_model, inputs)
    with prune(family_model, pruned.reductions[0]):
        single = generate(family_model, inputs)
    for again in (listed, single):
        assert torch.equal(torch.stack(expected.logits), torch.stack(again.logits))


def test_plain_hugging_face_model(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    with prune(family_model, every_third):
        expected = generate(family_model, inputs)
    with prune(family_model.model, every_third):
        plain = generate(family_model, inputs)
    assert torch.equal(torch.stack(expected.logits), torch.stack(plain.logits))


def test_without_cache_every_step_is_pruned(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    quiet = {"suppress_tokens": [family_model.family.video_token_id]}  # a random model may say it
    with prune(family_model, every_third) as cached:
        expected = generate(family_model, inputs, **quiet)
    with prune(family_model, every_third) as uncached:
        got = generate(family_model, inputs, use_cache=False, **quiet)
    assert (len(cached.reductions), len(uncached.reductions)) == (1, STEPS)
    assert torch.equal(expected.sequences, got.sequences)
    torch.testing.assert_close(torch.stack(got.logits), torch.stack(expected.logits), atol=1e-4, rtol=0)


def test_text_only_prompt_passes_untouched(family_model: VideoLLM):
    ids = family_model.processor.tokenizer("what happens in the video ?", return_tensors="pt")
    before = family_model.model.generate(**ids, max_new_tokens=4, do_sample=False)
    with prune(family_model, every_third) as pruned:
        inside = family_model.model.generate(**ids, max_new_tokens=4, do_sample=False)
    assert torch.equal(before, inside)
    assert pruned.reductions == []


def manual_decoding(model: VideoLLM, inputs: Any) -> Tensor:
    """A decoding loop of the user's own: no mask, no positions after the prompt."""
    out = model.model(**inputs.tensors, **model.family.prefill_arguments(inputs.tensors), use_cache=True)
    logits = [out.logits[:, -1]]
    for _ in range(STEPS - 1):
        out = model.model(input_ids=logits[-1].argmax(-1)[:, None], **{CACHE: cache_of(out)}, use_cache=True)
        logits.append(out.logits[:, -1])
    return torch.stack(logits)


def test_manual_decoding_loop(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    with torch.no_grad(), prune(family_model, every_third):
        expected = torch.stack(generate(family_model, inputs).logits)
        got = manual_decoding(family_model, inputs)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
