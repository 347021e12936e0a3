"""Sampling, beams, what is refused, and that nothing is left behind."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from PIL import Image

import redundancy as rd
from redundancy.apply import prune
from redundancy.models import VideoLLM
from redundancy.models.cache_name import cache_of
from redundancy.models.video_llm import _metadata
from redundancy.pruning import FastVID
from redundancy.recording import available_salience
from redundancy.reduction import Reduction
from redundancy.tokens import TokenGrid, VideoTokens
from tests.apply.reference import greedy, shortened, whole_prompt
from tests.apply.test_outer import OTHER, QUESTION, STEPS, every_third, generate, merged
from tests.family_fixtures import hooks_of
from tests.tiny_models import make_clip


def test_sampling_with_a_seed_takes_the_reference_probabilities(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    entry = whole_prompt(family_model, inputs)
    torch.manual_seed(3)
    with prune(family_model, every_third) as pruned:
        out = family_model.model.generate(
            **inputs.tensors,
            do_sample=True,
            top_k=0,
            max_new_tokens=4,
            output_logits=True,
            return_dict_in_generate=True,
        )
    mask = inputs.tensors["attention_mask"][0]
    _, logits = greedy(family_model, shortened(entry, family_model, 0, pruned.reductions, mask), steps=1)
    torch.testing.assert_close(out.logits[0], logits, atol=1e-4, rtol=0)  # float32 sums in another order
    torch.manual_seed(3)
    with prune(family_model, every_third):
        again = family_model.model.generate(**inputs.tensors, do_sample=True, top_k=0, max_new_tokens=4)
    assert torch.equal(out.sequences, again)


def score(model: VideoLLM, prompt: dict[str, Any], ids: list[int]) -> float:
    """Sum of log-probabilities of `ids` after the shortened prompt, without cache."""
    total = 0.0
    for step, token in enumerate(ids):
        so_far = dict(prompt)
        for earlier in ids[:step]:
            so_far = append(model, so_far, earlier)
        _, logits = greedy(model, so_far, steps=1)
        total += logits[0].log_softmax(-1)[token].item()
    return total


def append(model: VideoLLM, prompt: dict[str, Any], token: int) -> dict[str, Any]:
    embedding = model.model.get_input_embeddings()(torch.tensor([token])).detach()
    positions = prompt["positions"]
    return {
        "embeds": torch.cat([prompt["embeds"], embedding]),
        "positions": torch.cat([positions, positions[:, -1:].max() + 1 + torch.zeros_like(positions[:, :1])], 1),
        "visual": torch.cat([prompt["visual"], torch.tensor([False])]),
        "levels": [torch.cat([x, torch.zeros_like(x[:1])]) for x in prompt["levels"]],
    }


@pytest.mark.parametrize("arguments", [{"num_beams": 3}, {"num_beams": 3, "num_return_sequences": 2}])
def test_beams_have_the_scores_of_the_reference(family_model: VideoLLM, arguments: dict[str, int]):
    inputs = family_model.prepare(make_clip(), QUESTION)
    entry = whole_prompt(family_model, inputs)
    with prune(family_model, every_third) as pruned:
        out = family_model.model.generate(
            **inputs.tensors,
            do_sample=False,
            max_new_tokens=3,
            length_penalty=0.0,
            output_scores=True,
            return_dict_in_generate=True,
            **arguments,
        )
    prompt = shortened(entry, family_model, 0, pruned.reductions[:1], inputs.tensors["attention_mask"][0])
    for ids, got in zip(out.sequences[:, -3:].tolist(), out.sequences_scores.tolist(), strict=True):
        assert got == pytest.approx(score(family_model, prompt, ids), abs=3e-4)  # three sums of float32 logits


def test_num_return_sequences_expands_the_batch(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    torch.manual_seed(0)
    with prune(family_model, every_third):
        out = family_model.model.generate(**inputs.tensors, do_sample=True, num_return_sequences=3, max_new_tokens=4)
    assert len(out) == 3


def test_methods_read_salience_of_repeated_rows(family_model: VideoLLM):
    """Beams repeat rows after the tower has run: each copy is decided like its prompt alone."""
    source = available_salience(family_model)[0]
    method = FastVID(retention=0.5, salience=source, features="mean")
    clips, questions = [make_clip(seed=1), make_clip(seed=2)], [QUESTION, OTHER]
    singles = []
    for clip, question in zip(clips, questions, strict=True):
        singles.append(method(rd.video_tokens(family_model, clip, question)))
    inputs = family_model.prepare(clips, questions)
    with prune(family_model, method) as pruned:
        family_model.model.generate(**inputs.tensors, do_sample=False, num_beams=2, max_new_tokens=2)
    assert len(pruned.reductions) == 4
    for i, reduction in enumerate(pruned.reductions):
        assert torch.equal(reduction.anchor, singles[i // 2].anchor)


def test_assisted_decoding_on_a_shortened_prompt_is_refused_or_right(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    with prune(family_model, every_third):
        expected = generate(family_model, inputs).sequences
        try:
            got = family_model.model.generate(
                **inputs.tensors, do_sample=False, max_new_tokens=STEPS, prompt_lookup_num_tokens=2
            )
        except (NotImplementedError, ValueError) as error:  # transformers refuses placeholders among what it speculates
            assert "assisted decoding" in str(error) or "do not match" in str(error)  # noqa: PT017 - all else is wrong
        else:  # nothing was speculated
            assert torch.equal(expected, got)


def test_a_context_inside_another_is_refused(family_model: VideoLLM):
    with (
        prune(family_model, every_third),
        pytest.raises(NotImplementedError, match="inside a prune context already"),
        prune(family_model.model, every_third),
    ):
        pass
    with prune(family_model, every_third):
        pass


def test_static_cache_is_refused(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    with prune(family_model, every_third), pytest.raises(NotImplementedError, match="dynamic cache"):
        family_model.model.generate(**inputs.tensors, max_new_tokens=2, cache_implementation="static")


def test_chunked_prefill_is_refused(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    with prune(family_model, every_third), pytest.raises(NotImplementedError, match="chunked prefill"):
        family_model.model.generate(**inputs.tensors, max_new_tokens=2, prefill_chunk_size=16)


def test_embeddings_without_ids_are_refused(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    tensors = dict(inputs.tensors)
    tensors["inputs_embeds"] = family_model.model.get_input_embeddings()(tensors.pop("input_ids"))
    with prune(family_model, every_third), pytest.raises(NotImplementedError, match="input_ids"):
        family_model.model(**tensors, **family_model.family.prefill_arguments(inputs.tensors))


def test_reductions_that_do_not_fit_are_refused(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    with prune(family_model, Reduction.keep_all(TokenGrid(2, 2, 2))), pytest.raises(ValueError, match="of the grid"):
        family_model.model(**inputs.tensors)
    with prune(family_model, []), pytest.raises(ValueError, match="given 0 for 1 videos"):
        family_model.model(**inputs.tensors)


def test_an_error_inside_leaves_the_model_as_it_was(family_model: VideoLLM):
    inputs = family_model.prepare([make_clip(seed=1), make_clip(seed=2)], [QUESTION, OTHER])
    before, hooks = generate(family_model, inputs), hooks_of(family_model)

    def broken(tokens: VideoTokens) -> Reduction:
        raise RuntimeError("broken method")

    with pytest.raises(RuntimeError, match="broken method"), prune(family_model, broken):
        generate(family_model, inputs)
    after = generate(family_model, inputs)
    assert hooks_of(family_model) == hooks
    assert torch.equal(torch.stack(before.logits), torch.stack(after.logits))


def test_many_contexts_leave_no_hook_and_no_memory(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    hooks, gone = hooks_of(family_model), []
    for turn in range(200):
        with prune(family_model, every_third) as pruned:
            if turn % 40 == 0:
                out = family_model.model(**inputs.tensors, use_cache=True)
                gone += [weakref.ref(pruned.reductions[0]), weakref.ref(cache_of(out))]
                del out
        del pruned
    gc.collect()
    assert hooks_of(family_model) == hooks
    assert [ref() for ref in gone] == [None] * len(gone)


@pytest.mark.parametrize("mutation", ["no mask", "gap in the text row"])
def test_what_the_comparison_would_notice(family_model: VideoLLM, mutation: str):
    """Without a mask, or with gaps where the text model looks for packed sequences, attention is cut at the gaps."""
    inputs = family_model.prepare(make_clip(), QUESTION)
    mask = inputs.tensors["attention_mask"][0]
    entry = whole_prompt(family_model, inputs)
    with prune(family_model, every_third) as pruned:
        out = family_model.model(**inputs.tensors, logits_to_keep=1, use_cache=False)

    def spoil(module: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        positions = kwargs["position_ids"]
        if positions.dim() == 3:
            positions = positions.clone()
            positions[0] = positions[1]  # the text row gets the gaps of the rotary ones
        spoilt = {**kwargs, "attention_mask": None}
        if mutation == "gap in the text row":
            spoilt["position_ids"] = positions
        return args, spoilt

    with prune(family_model, every_third):
        handle = family_model.family.text_model.register_forward_pre_hook(spoil, with_kwargs=True)
        try:
            wrong = family_model.model(**inputs.tensors, logits_to_keep=1, use_cache=False)
        finally:
            handle.remove()
    _, logits = greedy(family_model, shortened(entry, family_model, 0, pruned.reductions, mask), steps=1)
    torch.testing.assert_close(out.logits[0], logits, atol=1e-4, rtol=0)  # float32 sums in another order
    one_axis = len(family_model.family.rotary().axes) == 1
    if mutation == "gap in the text row" or one_axis:
        assert (wrong.logits[0] - logits).abs().max() > 1e-3


def test_capture_inside_records_what_the_reduced_model_sees(family_model: VideoLLM):
    clip = make_clip()
    whole = rd.VideoTokens.from_capture(rd.capture(family_model, clip, QUESTION))
    with prune(family_model, merged) as pruned:
        seen = rd.capture(family_model, clip, QUESTION)
        with pytest.raises(ValueError, match="inside prune"):
            rd.video_tokens(family_model, clip, QUESTION)
    reduction = pruned.reductions[0]
    assert seen.sizes["kept"] == reduction.kept
    assert torch.equal(torch.from_numpy(seen["tokens"].values), reduction.apply(whole.features))
    assert torch.equal(torch.from_numpy(seen["positions"].values), whole.positions.flatten(1)[:, reduction.anchor])
    N = whole.grid.tokens_per_frame
    assert seen["anchor_frame"].values.tolist() == (reduction.anchor // N).tolist()
    assert seen.attrs["achieved"] == reduction.achieved
    with pytest.raises(ValueError, match="no capture"):
        rd.VideoTokens.from_capture(seen)


def test_a_forward_broken_off_inside_is_forgotten(family_model: VideoLLM):
    """Capture ends a forward early; a text prompt decoded after it in the same context is not taken for its video."""
    ids = family_model.processor.tokenizer("what happens in the video ?", return_tensors="pt")
    before = family_model.model.generate(**ids, max_new_tokens=4, do_sample=False)
    with prune(family_model, every_third):
        rd.capture(family_model, make_clip(), QUESTION)
        assert torch.equal(before, family_model.model.generate(**ids, max_new_tokens=4, do_sample=False))


def test_an_image_prompt_passes_untouched_and_leaves_nothing_behind(family_model: VideoLLM):
    """Images go through the same tower: what it showed of them must not be taken for the next video's salience."""
    processor, image = family_model.processor, Image.fromarray(make_clip(seed=3).frames[0])
    if getattr(processor, "image_processor", None) is None:
        pytest.skip("the family's processor takes no images")
    token = processor.image_token
    if "<|vision_start|>" in processor.tokenizer.get_vocab():
        token = f"<|vision_start|>{token}<|vision_end|>"
    text = f"user : {token} {QUESTION} assistant :"
    tensors = processor(text=[text], images=[image], return_tensors="pt")
    source = available_salience(family_model)[0]
    method = FastVID(retention=0.5, salience=source, features="mean")
    clip = make_clip(seed=1)
    expected = method(rd.video_tokens(family_model, clip, QUESTION))
    before = family_model.model.generate(**tensors, max_new_tokens=3, do_sample=False)
    with prune(family_model, method) as pruned:
        inside = family_model.model.generate(**tensors, max_new_tokens=3, do_sample=False)
        assert pruned.reductions == []
        family_model.generate(clip, QUESTION, max_new_tokens=1)
    assert torch.equal(before, inside)
    assert torch.equal(pruned.reductions[0].anchor, expected.anchor)


@pytest.mark.parametrize("arguments", [{}, {"num_beams": 2}, {"do_sample": True, "num_return_sequences": 2}])
def test_an_image_beside_a_video_is_not_taken_for_it(family_model: VideoLLM, arguments: dict[str, Any]):
    """Both go through one tower, in as many pieces perhaps; rows are repeated after it has run."""
    processor, clips = family_model.processor, [make_clip(frames=2, seed=seed) for seed in (1, 2)]
    if getattr(processor, "image_processor", None) is None:
        pytest.skip("the family's processor takes no images")
    method = FastVID(retention=0.3, salience=available_salience(family_model)[0], features="mean")
    alone = [method(rd.video_tokens(family_model, clip, QUESTION)).anchor.tolist() for clip in clips]
    texts = [family_model.chat_text([clip], QUESTION) for clip in clips]
    qwen = "<|vision_start|>{}<|vision_end|>"
    image = qwen.format("<|image_pad|>") if "<|video_pad|>" in texts[0] else "<image>"
    video = next(v for v in (qwen.format("<|video_pad|>"), "<|video_pad|>", "<video>") if v in texts[0])
    before, after = texts[0].replace(video, f"{image} {video}"), texts[1].replace(video, f"{video} {image}")
    inputs = processor(
        text=[before, after],
        images=[Image.fromarray(make_clip(seed=seed).frames[0]) for seed in (3, 4)],
        videos=[torch.from_numpy(clip.frames).permute(0, 3, 1, 2) for clip in clips],
        video_metadata=[_metadata(clip) for clip in clips],
        do_sample_frames=False,
        padding=True,
        return_tensors="pt",
    )
    tensors = {key: value for key, value in inputs.items() if isinstance(value, torch.Tensor)}
    with prune(family_model, method) as pruned:
        family_model.model.generate(**tensors, max_new_tokens=2, **{"do_sample": False, **arguments})
    copies = 2 if arguments else 1
    assert [r.anchor.tolist() for r in pruned.reductions] == [alone[i // copies] for i in range(2 * copies)]


def test_a_source_that_the_model_does_not_give_is_named(family_model: VideoLLM):
    if "pooling_head" in available_salience(family_model):
        return
    inputs = family_model.prepare(make_clip(), QUESTION)
    with (
        pytest.raises(ValueError, match=r"no salience of source 'pooling_head'.*salience_head=FOLDER"),
        prune(family_model, FastVID(variant="onevision")),
    ):
        family_model.prefill(inputs)
