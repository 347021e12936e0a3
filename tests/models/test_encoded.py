"""Calls that begin behind the vision tower give what calls with pixels give."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from redundancy.apply import prune
from redundancy.models import VideoLLM, load_model
from redundancy.models.encoded import run_tower, takes_features
from redundancy.models.video_llm import Prepared
from redundancy.pruning import RandomTokens
from redundancy.recording.encode import encode
from tests.tiny_models import make_clip

CLIP, OTHER = make_clip(seed=1), make_clip(seed=2)


@pytest.fixture
def tower_runs(family_model: VideoLLM) -> Iterator[list[int]]:
    """Grows with every call of the tower."""
    seen: list[int] = []
    handle = family_model.family.tower.register_forward_hook(lambda *_: seen.append(1))
    yield seen
    handle.remove()


@pytest.fixture
def model(tiny_folder: Callable[[str], Path]) -> VideoLLM:
    return load_model(tiny_folder("llava_onevision"), device="cpu")


def given(model: VideoLLM) -> list[Prepared]:
    """One prompt; a batch padded on the left; a row with two clips beside one with one."""
    return [
        model.prepare(CLIP, "what ?"),
        model.prepare(CLIP, ["what ?", "what happens in the video ?"]),
        model.prepare([[CLIP, OTHER], [OTHER]], ["what ?", "what happens in the video ?"]),
    ]


@pytest.mark.parametrize("share", [None, 0.5])
def test_calls_behind_the_tower_give_the_same(family_model: VideoLLM, tower_runs: list[int], share: float | None):
    def run(inputs: Prepared) -> tuple[torch.Tensor, Any]:
        with nullcontext() if share is None else prune(family_model, RandomTokens(retention=share)):
            return family_model.prefill(inputs).logits, family_model.generate(inputs, max_new_tokens=3)

    for inputs in given(family_model):
        logits, answers = run(inputs)
        encoded = encode(family_model, inputs)
        tower_runs.clear()
        got, same = run(encoded)
        assert not tower_runs
        assert torch.equal(got, logits)
        assert same == answers
        assert "get_video_features" not in vars(family_model.family.core)


def test_several_answers_to_a_prompt(family_model: VideoLLM):
    inputs = family_model.prepare([CLIP, OTHER], ["what ?", "what happens in the video ?"])
    several = {"max_new_tokens": 3, "num_beams": 2, "num_return_sequences": 2}
    assert family_model.generate(encode(family_model, inputs), **several) == family_model.generate(inputs, **several)


def test_what_is_kept_of_the_tower_is_what_the_core_reads(family_model: VideoLLM):
    features = run_tower(family_model.family, family_model.prepare(CLIP).tensors)
    levels = ["deepstack_features"] if family_model.family.name.startswith("qwen3") else []
    assert list(features) == ["pooler_output", *levels]


def test_a_prompt_without_video_is_refused(model: VideoLLM):
    with pytest.raises(ValueError, match="without video given"):
        encode(model, model.prepare([[]], ["what ?"]))


def test_the_model_is_as_it_was_after_an_error(model: VideoLLM):
    encoded = encode(model, model.prepare(CLIP, "what ?"))
    expected = model.prefill(encoded).logits
    with pytest.raises(TypeError):
        model.prefill(encoded, logits_to_keep="no number")
    assert "get_video_features" not in vars(model.family.core)
    assert torch.equal(model.prefill(encoded).logits, expected)


def test_another_thread_is_refused_meanwhile(model: VideoLLM):
    encoded, errors = encode(model, model.prepare(CLIP, "what ?")), []

    def other() -> None:
        try:
            model.prefill(encoded)
        except NotImplementedError as error:
            errors.append(str(error))

    def during(*_: Any) -> None:
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()

    handle = model.family.text_model.register_forward_pre_hook(during)
    model.prefill(encoded)
    handle.remove()
    assert len(errors) == 1
    assert "another thread" in errors[0]


def test_a_replaced_get_video_features_is_refused_where_it_would_be_replaced(model: VideoLLM):
    encoded, core = encode(model, model.prepare(CLIP, "what ?")), model.family.core
    core.get_video_features = core.get_video_features
    if takes_features(core):  # the newer versions' argument needs no such thing
        model.prefill(encoded)
    else:
        with pytest.raises(NotImplementedError, match="get_video_features was replaced"):
            model.prefill(encoded)


@pytest.mark.parametrize("wrapped", [nn.DataParallel, lambda model: torch.compile(model, backend="eager")])
def test_wrapped_models_begin_behind_the_tower(model: VideoLLM, wrapped: Callable[[nn.Module], Any]):
    inputs = model.prepare(CLIP, "what ?")
    expected = model.prefill(inputs).logits
    other = replace(model, model=wrapped(model.model))
    assert torch.equal(other.prefill(encode(other, inputs)).logits, expected)


@pytest.mark.parametrize("family", ["llava_video", "qwen3_vl"])
def test_bfloat16(family: str, tiny_folder: Callable[[str], Path]):
    model = load_model(tiny_folder(family), device="cpu", dtype=torch.bfloat16)
    inputs = model.prepare(CLIP, "what ?")
    assert torch.equal(model.prefill(encode(model, inputs)).logits, model.prefill(inputs).logits)


@pytest.mark.parametrize("family", ["llava_video", "qwen3_vl"])
def test_an_offloaded_model(family: str, tiny_folder: Callable[[str], Path]):
    accelerate = pytest.importorskip("accelerate", reason="accelerate, which offloads, is not installed")
    model, other = (load_model(tiny_folder(family), device="cpu") for _ in range(2))
    inputs = model.prepare(CLIP, "what ?")
    accelerate.cpu_offload(other.model, execution_device=torch.device("cpu"))
    got = other.prefill(encode(other, inputs)).logits
    torch.testing.assert_close(got, model.prefill(inputs).logits, atol=1e-5, rtol=0)  # the same operations
