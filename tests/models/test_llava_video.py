"""LLaVA-Video from a checkpoint in the original layout, against features and token order computed directly."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor

from redundancy.models import VideoLLM, load_model
from redundancy.models.hooks import TextEntry, on_text_entry
from redundancy.models.llava_video import time_instruction
from redundancy.recording import video_tokens
from tests.models.test_load import head_folder
from tests.tiny_models import make_clip

SIDE, PATCHES = 3, 7  # 7 x 7 patches of a frame, 3 x 3 tokens: the last row and column are dropped


@pytest.fixture(scope="module")
def folder(tiny_folder: Callable[[str], Path]) -> Path:
    return tiny_folder("llava_video")


@pytest.fixture(scope="module")
def model(folder: Path) -> VideoLLM:
    return load_model(folder, device="cpu")


@pytest.fixture(scope="module")
def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


@torch.no_grad()
def features(folder: Path, weights: dict[str, Tensor], pixels: Tensor) -> Tensor:
    """`[T, 9, D]`: SigLIP's second-to-last layer, the projector, means over 2 x 2 patches."""
    tower = hf.SiglipVisionModel(hf.SiglipVisionConfig.from_pretrained(folder / "tower")).eval()
    prefix = "model.vision_tower.vision_tower.vision_model."
    own = {name.removeprefix("vision_model."): name for name in tower.state_dict()}
    given = {own[k.removeprefix(prefix)]: w for k, w in weights.items() if k.startswith(prefix)}
    missing = tower.load_state_dict(given, strict=False).missing_keys
    assert all("encoder.layers.2." in name for name in missing)
    hidden = tower(pixels, output_hidden_states=True).hidden_states[-2]
    hidden = hidden @ weights["model.mm_projector.0.weight"].T + weights["model.mm_projector.0.bias"]
    hidden = torch.nn.functional.gelu(hidden)
    hidden = hidden @ weights["model.mm_projector.2.weight"].T + weights["model.mm_projector.2.bias"]
    grid = hidden.view(len(hidden), PATCHES, PATCHES, -1)[:, : 2 * SIDE, : 2 * SIDE]
    return grid.unflatten(1, (SIDE, 2)).unflatten(3, (SIDE, 2)).mean((2, 4)).flatten(1, 2)


def entry_of(model: VideoLLM, inputs: Any) -> TextEntry:
    entries: list[TextEntry] = []
    with on_text_entry(model.family, entries.append):  # type: ignore[arg-type]
        model.prefill(inputs)
    return entries[0]


def test_features_and_token_order(model: VideoLLM, folder: Path, weights: dict[str, Tensor]) -> None:
    clips = [make_clip(3, seed=1), make_clip(3, seed=2)]
    inputs = model.prepare([clips], ["what happens ?"])
    entry = entry_of(model, inputs)
    embeds = entry.kwargs["inputs_embeds"][0]
    expected = []
    for pixels in inputs.tensors["pixel_values_videos"]:
        for frame in features(folder, weights, pixels):
            for row in frame.view(SIDE, SIDE, -1):
                expected += [*row, weights["model.image_newline"]]
    columns = (entry.input_ids[0] == model.family.video_token_id).nonzero().flatten()
    assert len(columns) == 2 * 3 * SIDE * (SIDE + 1)
    # two float32 orders of the same sums, values of a few units
    torch.testing.assert_close(embeds[columns], torch.stack(expected), atol=2e-5, rtol=1e-5)
    for span in entry.spans:
        assert bool((embeds[span.newlines] == weights["model.image_newline"]).all())
        assert len(span.newlines) == 3 * SIDE
        newline_after = span.columns.view(3, SIDE, SIDE)[:, :, -1].flatten() + 1
        assert torch.equal(newline_after, span.newlines)


@torch.no_grad()
def test_the_language_model_is_the_checkpoints(model: VideoLLM, weights: dict[str, Tensor]) -> None:
    """Next-token scores of a plain Qwen2 with the original weights, on the same embeddings."""
    inputs = model.prepare(make_clip(2), "what happens ?")
    entry = entry_of(model, inputs)
    text: Any = model.model.config.text_config  # type: ignore[union-attr]
    plain = hf.Qwen2ForCausalLM(text).eval()
    plain.load_state_dict({name: weights[name] for name in plain.state_dict()})
    expected = plain(inputs_embeds=entry.kwargs["inputs_embeds"]).logits[:, -1:]
    torch.testing.assert_close(model.prefill(inputs).logits, expected, atol=1e-5, rtol=1e-5)


def test_the_configuration_of_the_text_is_taken_over(model: VideoLLM) -> None:
    expected = 1e6 ** -(torch.arange(8).double() / 8)
    torch.testing.assert_close(model.family.rotary().inverse_frequency, expected, rtol=1e-6, atol=0)  # float32 module


def test_salience_of_a_lent_head_is_pooled_as_the_features(
    folder: Path, tiny_folder: Callable[[str], Path], tmp_path: Path
) -> None:
    siglip = head_folder(tiny_folder("llava_onevision"), tmp_path / "siglip", prefix="head.")
    lent = load_model(folder, device="cpu", salience_head=siglip)
    clip = make_clip(2)
    tokens = video_tokens(lent, clip)
    with torch.no_grad():
        head: Any = lent.pooling_head
        hidden = lent.family.tower(lent.prepare(clip).tensors["pixel_values_videos"][0]).last_hidden_state
        scores = head.attention(head.probe.expand(2, -1, -1), hidden, hidden)[1][:, 0]
    image = scores.view(2, PATCHES, PATCHES)[:, : 2 * SIDE, : 2 * SIDE]
    expected = image.unflatten(1, (SIDE, 2)).unflatten(3, (SIDE, 2)).mean((2, 4)).flatten(1)
    torch.testing.assert_close(tokens.salience["pooling_head"], expected, atol=1e-7, rtol=1e-5)


def test_captured_tokens_have_no_newlines(model: VideoLLM, folder: Path, weights: dict[str, Tensor]) -> None:
    clip = make_clip(3)
    pixels = model.prepare(clip).tensors["pixel_values_videos"][0]
    tokens = video_tokens(model, clip)
    assert tokens.grid == (3, SIDE, SIDE)
    assert tokens.layout.newline == "row"
    torch.testing.assert_close(tokens.features, features(folder, weights, pixels), atol=2e-5, rtol=1e-5)
    assert tokens.positions is not None
    steps = tokens.positions[0].flatten().diff()
    assert steps.tolist() == ([1, 1, 2] * SIDE * 3)[:-1]  # a newline is one position


def test_the_prompt_says_when_each_frame_was_taken(model: VideoLLM) -> None:
    clip = replace(make_clip(3), duration=4.5)
    sentence = time_instruction(clip)
    assert sentence == (
        "The video lasts for 4.50 seconds, and 3 frames are uniformly sampled from it. These frames are located at "
        "0.00s,1.00s,2.00s.Please answer the following questions related to this video."
    )
    chat = model.processor.apply_chat_template(
        [{"role": "user", "content": model.family.chat_content([clip], "what happens ?")}],
        add_generation_prompt=True,
        tokenize=False,
    )
    assert chat.endswith(f"<|im_start|>user\n<video>\n{sentence}\nwhat happens ?<|im_end|>\n<|im_start|>assistant\n")


def test_the_prompt_reaches_the_model_word_for_word(model: VideoLLM) -> None:
    ids = model.prepare(make_clip(2), "what happens in the video ?").tensors["input_ids"][0]
    text = model.processor.tokenizer.convert_ids_to_tokens(ids[ids != model.family.video_token_id])
    assert text[-9:] == ["what", "happens", "in", "the", "video", "?", "<|im_end|>", "<|im_start|>", "assistant"]
    assert text.count("<|im_start|>") == 3


def byte_level_tokenizer(folder: Path) -> None:
    """The files that published checkpoints have: vocabulary, merges, and the name of Qwen2's tokenizer."""
    letters = sorted(ByteLevel.alphabet())
    words = {letter: i for i, letter in enumerate([*letters, "th"])}
    special = {str(len(words) + i): word for i, word in enumerate(("<|endoftext|>", "<|im_start|>", "<|im_end|>"))}
    added = {i: {"content": word, "special": True, "normalized": False} for i, word in special.items()}
    settings = {"tokenizer_class": "Qwen2Tokenizer", "pad_token": "<|endoftext|>", "added_tokens_decoder": added}
    (folder / "vocab.json").write_text(json.dumps(words))
    (folder / "merges.txt").write_text("#version: 0.2\nt h\n")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def test_a_published_tokenizer_loads(folder: Path, tmp_path: Path, weights: dict[str, Tensor]) -> None:
    copy = changed(folder, tmp_path / "copy", vocab_size=300)
    (copy / "tokenizer.json").unlink()
    byte_level_tokenizer(copy)
    names = ("model.embed_tokens.weight", "lm_head.weight")
    wide = {name: weights[name].repeat(10, 1)[:300] for name in names}
    save_file(weights | wide, copy / "model.safetensors")
    model = load_model(copy, device="cpu")
    text = model.processor.decode(model.prepare(make_clip(1), "in the end ?").tensors["input_ids"][0])
    assert text.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<video>")
    assert text.endswith("related to this video.\nin the end ?<|im_end|>\n<|im_start|>assistant\n")
    assert video_tokens(model, make_clip(1)).grid == (1, SIDE, SIDE)


def test_pixels_are_siglips(model: VideoLLM) -> None:
    white = replace(make_clip(1), frames=make_clip(1).frames * 0 + 255)
    pixels = model.prepare(white).tensors["pixel_values_videos"]
    assert pixels.shape == (1, 1, 3, 56, 56)
    torch.testing.assert_close(pixels, torch.ones_like(pixels))  # (1 - 0.5) / 0.5


def changed(folder: Path, to: Path, **config: Any) -> Path:
    shutil.copytree(folder, to)
    raw = json.loads((to / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(raw | config))
    return to


def test_what_is_no_llava_video_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mm_newline_position='one_token'.*llava-hf/llava-onevision"):
        load_model(changed(folder, tmp_path / "a", mm_newline_position="one_token"), device="cpu")
    with pytest.raises(ValueError, match="names the vision tower 'google/other', expected one of google/siglip"):
        load_model(changed(folder, tmp_path / "b", mm_vision_tower="google/other"), device="cpu")
    with pytest.raises(ValueError, match="no room for two placeholders"):
        load_model(changed(folder, tmp_path / "c", vocab_size=30), device="cpu")


def test_a_checkpoint_without_a_tower_is_refused(folder: Path, tmp_path: Path, weights: dict[str, Tensor]) -> None:
    lacking = changed(folder, tmp_path / "lacking")
    save_file({k: w for k, w in weights.items() if "vision_tower" not in k}, lacking / "model.safetensors")
    with pytest.raises(ValueError, match="holds no weights of the vision tower"):
        load_model(lacking, device="cpu")
