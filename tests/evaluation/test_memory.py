"""Peaks of allocations whose sizes are known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from redundancy.evaluation.cost import memory
from redundancy.evaluation.cost.memory import PeakMemory, peak_memory
from redundancy.models import VideoLLM, load_model
from redundancy.pruning.methods.controls import RandomTokens
from redundancy.sources import list_videos

MB = 1 << 20


def array(size: int) -> torch.Tensor:
    return torch.empty(size, dtype=torch.uint8)


def measured(answer: Callable[[Callable[[], None]], None]) -> PeakMemory:
    return memory._peak_on_cpu(answer, torch.device("cpu"))


def test_the_peak_may_come_before_the_language_model():
    def answer(mark: Callable[[], None]) -> None:
        first = array(8 * MB)
        del first
        held = array(MB)
        mark()
        second, third = array(2 * MB), array(3 * MB)
        del second
        fourth = array(MB)
        del held, third, fourth

    assert measured(answer) == PeakMemory(answer=8 * MB, language=6 * MB)


def test_what_is_held_when_the_language_model_begins_counts():
    def answer(mark: Callable[[], None]) -> None:
        held = array(5 * MB)
        mark()
        del held
        small = array(MB)
        del small

    assert measured(answer) == PeakMemory(5 * MB, 5 * MB)


def test_what_was_held_before_does_not_count():
    weights = [array(16 * MB)]

    def answer(mark: Callable[[], None]) -> None:
        mark()
        weights.clear()
        new = array(2 * MB)
        del new

    assert measured(answer) == PeakMemory(2 * MB, 2 * MB)


@pytest.fixture(scope="module")
def model() -> VideoLLM:
    return load_model("tiny-llava-onevision", device="cpu")


def test_fewer_tokens_take_less_memory_and_the_same_answer_the_same(model: VideoLLM):
    inputs = model.prepare(list_videos()[0].load(model, frames=16), "how many scenes ?")
    peak_memory(model, inputs)  # what the first call keeps for later ones
    whole, again = peak_memory(model, inputs), peak_memory(model, inputs)
    reduced = peak_memory(model, inputs, method=RandomTokens(retention=0.25))
    assert whole == again
    assert reduced.language < whole.language <= whole.answer
    assert whole.language > 792 * 4 * 2 * 160 * 4  # the cache alone: columns, layers, keys and values, channels, bytes


def test_other_devices_are_refused(model: VideoLLM, monkeypatch: pytest.MonkeyPatch):
    inputs = model.prepare(list_videos()[0].load(model, frames=2), None)
    monkeypatch.setattr(VideoLLM, "device", torch.device("mps"))  # which the machine need not have
    with pytest.raises(ValueError, match=r"a model on mps given, expected one of \['cpu', 'cuda'\]"):
        peak_memory(model, inputs)
