"""Prompts and clips in lists, padding, and what `generate` and `prepare` refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from redundancy.apply import prune
from redundancy.models import Prepared, VideoLLM, load_model
from redundancy.models.video_llm import _rows
from redundancy.pruning import RandomInner, RandomTokens
from redundancy.video import VideoClip
from tests.tiny_models import make_clip

CLIPS = (make_clip(seed=1), make_clip(seed=2), make_clip(seed=3))
PROMPTS = ("what happens in the video", "which digit ?", "yes")  # of different length, so that a batch is padded


@contextmanager
def padded_right(model: VideoLLM) -> Iterator[None]:
    """The model while its tokenizer says that it pads on the right, as those do that say nothing."""
    tokenizer = model.processor.tokenizer
    before, tokenizer.padding_side = tokenizer.padding_side, "right"
    try:
        yield
        assert tokenizer.padding_side == "right"
    finally:
        tokenizer.padding_side = before


REDUCED: dict[str, Any] = {"method": RandomTokens(retention=0.5), "inner": [RandomInner(layer=2, drop_rate=0.5)]}


BEAMS = {"num_beams": 2, "num_return_sequences": 2}


@pytest.mark.parametrize(
    ("reduced", "more"), [(None, {}), (REDUCED, {}), (REDUCED, BEAMS)], ids=["whole", "pruned", "beams"]
)
def test_answers_to_a_list_are_those_one_by_one(
    family_model: VideoLLM, reduced: dict[str, Any] | None, more: dict[str, Any]
) -> None:
    rows = [[CLIPS[0], CLIPS[1]], [CLIPS[2]]]

    def ask(clips: Any, prompt: Any) -> Any:
        return family_model.generate(clips, prompt, max_new_tokens=2, **more)

    with padded_right(family_model), prune(family_model, **reduced) if reduced else nullcontext():
        alone = [ask(clip, prompt) for clip, prompt in zip(CLIPS, PROMPTS, strict=True)]
        together = ask(CLIPS, PROMPTS)
        if not reduced:
            alone += [ask(CLIPS[0], prompt) for prompt in PROMPTS[:2]]
            together += ask(CLIPS[0], list(PROMPTS[:2]))
            alone += [ask(row, prompt) for row, prompt in zip(rows, PROMPTS[:2], strict=True)]
            together += ask(rows, PROMPTS[:2])
    assert together == alone
    assert len(set(map(str, alone))) > len(alone) // 2  # clips and prompts matter


def test_a_batch_is_padded_left_whatever_the_tokenizer_says(family_model: VideoLLM) -> None:
    with padded_right(family_model):
        batch = family_model.prefill(family_model.prepare(CLIPS, PROMPTS)).logits[:, -1]
        alone = [
            family_model.prefill(family_model.prepare(c, p)).logits[0, -1] for c, p in zip(CLIPS, PROMPTS, strict=True)
        ]
    torch.testing.assert_close(batch, torch.stack(alone), atol=1e-4, rtol=0)  # float32 sums in another order
    mask = family_model.prepare(CLIPS, PROMPTS).tensors["attention_mask"]
    right = Prepared({**family_model.prepare(CLIPS, PROMPTS).tensors, "attention_mask": mask.flip(1)}, ())
    for run in (family_model.prefill, family_model.generate):
        with pytest.raises(ValueError, match="inputs padded on the right given, expected the left"):
            run(right)


def test_one_prompt_gives_a_text_and_a_list_a_list(family_model: VideoLLM) -> None:
    assert family_model.generate(CLIPS[0], [PROMPTS[0]], max_new_tokens=2) == [
        family_model.generate(CLIPS[0], PROMPTS[0], max_new_tokens=2)
    ]
    settings = GenerationConfig(max_new_tokens=2, num_beams=3, num_return_sequences=3, pad_token_id=0)
    several: Any = family_model.generate(CLIPS[0], PROMPTS[0], generation_config=settings)
    assert len(several) == 3
    blind = family_model.generate([], PROMPTS[0], max_new_tokens=2)
    assert [blind] == family_model.generate([[]], [PROMPTS[0]], max_new_tokens=2)


def test_the_users_generation_config_is_not_overruled(tiny_folder: Callable[[str], Path]) -> None:
    model = load_model(tiny_folder("qwen2_vl"), device="cpu")
    words = [
        len(model.processor.tokenizer(text)["input_ids"])
        for text in (
            model.generate(CLIPS[0], PROMPTS[0], generation_config=GenerationConfig(max_new_tokens=40)),
            model.generate(CLIPS[0], PROMPTS[0]),
        )
    ]
    assert words[0] > words[1]


REFUSED: dict[str, tuple[Callable[[VideoLLM], Any], str]] = {
    "no prompt": (lambda m: m.generate([], []), r"prompts=\[\] given, expected a text, or a list with at least one"),
    "more prompts": (
        lambda m: m.generate(CLIPS[:2], PROMPTS),
        "one entry of clips per prompt is expected, given 2 for 3",
    ),
    "code of a checkpoint": (
        lambda m: m.generate(CLIPS[0], "yes", custom_generate="lab/loop"),
        "custom_generate='lab/loop' given, but code that comes with a checkpoint is never run",
    ),
    "more than text": (
        lambda m: m.generate(CLIPS[0], "yes", return_dict_in_generate=True),
        "return_dict_in_generate=True given, but generate answers in text",
    ),
    "more than text, in a config": (
        lambda m: m.generate(CLIPS[0], "yes", generation_config=GenerationConfig(return_dict_in_generate=True)),
        "return_dict_in_generate=True given",
    ),
    "a prompt twice": (
        lambda m: m.generate(m.prepare(CLIPS[0], "yes"), "no"),
        "prompt='no' given beside prepared inputs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_pair_is_refused(bundled: VideoLLM, case: str) -> None:
    call, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        call(bundled)


@pytest.mark.parametrize(
    ("clips", "prompts", "message"),
    [
        (CLIPS[0], 5, "prompts=5 given, expected a text"),
        (CLIPS[0], ["yes", 5], r"prompts=\['yes', 5\] given, expected a text"),
        ("a.mp4", "yes", "'a.mp4' given as a clip, expected what load_video returns"),
        ([CLIPS[0], Path("a.mp4")], ["yes", "no"], r"a\.mp4.* given as a clip"),
        ([["a.mp4"]], ["yes"], "'a.mp4' given as a clip"),
    ],
)
def test_other_things_than_clips_and_texts_are_named(clips: Any, prompts: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _rows(clips, prompts)  # what prepare and generate do first; the types of theirs are checked in tests


def test_placeholders_in_a_prompt_are_refused(family_model: VideoLLM) -> None:
    """They would take the place of another prompt's video."""
    for token in (family_model.processor.video_token, family_model.processor.image_token):
        with pytest.raises(
            ValueError, match=r"the chat of the prompt .* holds \d times .*expected [01]; a prompt is plain"
        ):
            family_model.prepare(CLIPS[:2], [f"what is {token} ?", "yes"])


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0].content }", "chat template of .* cannot be filled in"),
        ("{{ raise_exception('no videos') }}", "cannot be filled in: no videos"),
        ("{{ messages[0]['content'][1]['text'] }}", "holds 0 times '<video>', which stands for a video, expected 1"),
    ],
)
def test_faulty_chat_templates_are_named(bundled: VideoLLM, template: str, message: str) -> None:
    processor = bundled.processor
    before, processor.chat_template = processor.chat_template, template
    try:
        with pytest.raises(ValueError, match=message):
            bundled.prepare(CLIPS[0], "yes")
    finally:
        processor.chat_template = before


@pytest.fixture(scope="module")
def bundled() -> VideoLLM:
    return load_model("tiny-llava-onevision", device="cpu")


def test_a_batch_needs_a_pad_token_and_one_prompt_does_not(bundled: VideoLLM) -> None:
    tokenizer = bundled.processor.tokenizer
    before, tokenizer.pad_token = tokenizer.pad_token, None
    try:
        assert isinstance(bundled.generate(CLIPS[0], "how many scenes ?", max_new_tokens=1), str)
        with pytest.raises(ValueError, match=r"has no pad token, which a batch of 2 prompts needs; set one"):
            bundled.prepare(CLIPS[0], ["when ?", "how many scenes ?"])
    finally:
        tokenizer.pad_token = before


def shaped(frames: int, height: int, width: int) -> VideoClip:
    return replace(make_clip(frames), frames=np.zeros((frames, height, width, 3), np.uint8), source="odd.mp4")


@pytest.mark.parametrize(
    ("clip", "families", "message"),
    [
        (shaped(4, 1, 300), ("qwen",), "sides are at most 1 to 200, given 'odd.mp4' of 300 x 1 pixels"),
        (shaped(4, 3500, 14), ("qwen",), "sides are at most 1 to 200, given 'odd.mp4' of 14 x 3500 pixels"),
        (shaped(1, 84, 112), ("qwen3",), "at least 2 frames, given one of 1: 'odd.mp4'"),
    ],
)
def test_clips_that_a_processor_cannot_take_are_named(
    family_model: VideoLLM, clip: VideoClip, families: tuple[str, ...], message: str
) -> None:
    if family_model.family.name.startswith(families):
        with pytest.raises(ValueError, match=message):
            family_model.prepare([[make_clip(2), clip]], ["yes"])
    else:
        assert family_model.prepare(clip, "yes").clips == ((clip,),)


@pytest.mark.parametrize("clip", [shaped(3, 84, 112), shaped(2, 1, 1), shaped(5, 3, 500)])
def test_odd_clips_are_taken(family_model: VideoLLM, clip: VideoClip) -> None:
    assert isinstance(family_model.generate(clip, "yes", max_new_tokens=1), str)


def test_no_numbers_are_no_answer(tiny_folder: Callable[[str], Path]) -> None:
    """One clip's logits are NaN: its name is said, and neither greedy decoding nor beams answer."""
    model = load_model(tiny_folder("qwen2_vl"), device="cpu")

    def spoil(module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        output.logits[len(output.logits) // 2 :] = torch.nan
        return output

    handle = model.model.register_forward_hook(spoil, with_kwargs=True)
    try:
        for more in ({}, {"num_beams": 2}, {"do_sample": True, "num_return_sequences": 2}):
            with pytest.raises(FloatingPointError, match=r"no numbers \(NaN or infinite logits\) about 'random:2'"):
                model.generate(CLIPS[:2], PROMPTS[:2], max_new_tokens=2, **more)  # type: ignore[arg-type]
    finally:
        handle.remove()
