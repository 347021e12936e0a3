"""Stages against a clock that only the test moves; FLOPs against hand-computed ones and against counted products."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from redundancy.apply import outer
from redundancy.evaluation.cost import times as efficiency
from redundancy.evaluation.cost.flops import DecoderShape, fastvid_flops, holitom_flops
from redundancy.evaluation.cost.times import (
    PROMPT_STAGES,
    STAGES,
    PromptFlops,
    VideoSize,
    prompt_flops,
    time_answer,
    video_size,
)
from redundancy.models import VideoLLM, load_model
from redundancy.models.hooks import Hooks
from redundancy.pruning.methods.controls import RandomTokens, UniformTokens
from redundancy.pruning.methods.fastvid import FastVID
from redundancy.reduction import Reduction
from redundancy.sources import VideoSource, list_videos
from redundancy.tokens import TokenGrid, VideoTokens
from redundancy.video import VideoError
from tests.family_fixtures import hooks_of

CLIP = list_videos()[0]
QUESTION = "how many scenes ?"


@pytest.fixture(scope="module")
def model() -> VideoLLM:
    return load_model("tiny-llava-onevision", device="cpu")


class Clock:
    """Seconds that pass only when somebody says so."""

    def __init__(self) -> None:
        self.seconds: float = 0.0

    def perf_counter(self) -> float:
        return self.seconds

    def passing(self, seconds: float) -> Callable[..., None]:
        """A hook that takes so long."""

        def hook(*_: Any) -> None:
            self.seconds += seconds

        return hook


@dataclass(frozen=True)
class Slow(UniformTokens):
    """A control whose decision takes five seconds of the clock that it is given."""

    clock: Any = None

    def _decide(self, tokens: VideoTokens) -> Reduction:
        self.clock.seconds += 5
        return super()._decide(tokens)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Reading takes 100 s, preparing 200; binary fractions and whole numbers add without rounding."""
    made = Clock()
    monkeypatch.setattr(efficiency, "time", made)
    for cls, name, seconds in ((VideoSource, "load", 100), (VideoLLM, "prepare", 200)):
        monkeypatch.setattr(cls, name, after(made.passing(seconds), getattr(cls, name)))
    return made


def after(passing: Callable[..., None], plain: Callable[..., Any]) -> Callable[..., Any]:
    """The function, behind a wait."""

    def slow(*args: Any, **kwargs: Any) -> Any:
        passing()
        return plain(*args, **kwargs)

    return slow


def slowed(model: VideoLLM, clock: Clock) -> Hooks:
    """Seconds inside the tower (3), the projector (0.5), a layer of the language model (7 a call), the head (0.25)."""
    hooks, family = Hooks(), model.family
    hooks.before(next(m for m in family.tower.modules() if isinstance(m, nn.Conv2d)), clock.passing(3))
    hooks.before(family.core.multi_modal_projector, clock.passing(0.5))  # type: ignore[arg-type]
    hooks.before(family.text_model.layers[1], clock.passing(7))  # type: ignore[index, arg-type]
    hooks.before(model.model.lm_head, clock.passing(0.25))  # type: ignore[arg-type]
    return hooks


@pytest.mark.parametrize("reduced", [False, True])
def test_every_second_is_in_its_stage(model: VideoLLM, clock: Clock, reduced: bool):
    method = Slow(retention=0.25, clock=clock) if reduced else None
    with slowed(model, clock):
        times = time_answer(model, CLIP, QUESTION, method=method, frames=16, new_tokens=4)
    assert times.seconds == {
        "read": 100,
        "prepare": 200,
        "tower": 3,
        "decision": 5 if reduced else 0,
        "shorten": 0,
        "language": 7,
        "other": 0.75,
        "decode": 3 * 7.25,
    }
    assert tuple(times.seconds) == STAGES
    assert times.decode_steps == 3
    assert times.prefill == (12 if reduced else 7)  # the decision is inside
    assert times.first_token == (15.75 if reduced else 10.75)
    assert times.total == clock.seconds == 300 + times.first_token + 3 * 7.25


def test_collecting_tokens_is_part_of_shortening(model: VideoLLM, clock: Clock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(outer, "tokens_of_call", after(clock.passing(11), outer.tokens_of_call))
    times = time_answer(model, CLIP, QUESTION, method=Slow(retention=0.5, clock=clock), frames=16, new_tokens=2)
    assert (times.seconds["decision"], times.seconds["shorten"]) == (5, 11)


def test_a_real_clock(model: VideoLLM):
    times = time_answer(
        model, CLIP, QUESTION, method=RandomTokens(retention=0.25, across_frames=True), frames=16, new_tokens=3
    )
    assert all(times.seconds[stage] > 0 for stage in STAGES)
    assert times.first_token == pytest.approx(sum(times.seconds[s] for s in PROMPT_STAGES), rel=1e-12)  # sum of floats
    assert times.reduction is not None
    assert times.reduction.achieved == 0.25


def test_every_family(family_model: VideoLLM):
    inputs = family_model.prepare(CLIP.load(family_model, frames=8), "what happens ?")
    size = video_size(family_model, inputs)
    before = hooks_of(family_model)
    whole, reduced = (
        time_answer(family_model, CLIP, "what happens ?", method=method, frames=8, new_tokens=2)
        for method in (None, RandomTokens(retention=0.5))
    )
    assert hooks_of(family_model) == before
    assert whole.prompt == size.prompt == inputs.tensors["input_ids"].shape[1]
    assert reduced.reduction is not None
    assert size.tokens == reduced.reduction.grid.frames * reduced.reduction.grid.tokens_per_frame
    assert whole.seconds["decision"] == 0 < reduced.seconds["decision"]
    assert reduced.prompt < whole.prompt
    assert min(*whole.seconds.values(), *reduced.seconds.values()) >= 0  # no stage overlaps another
    config: Any = family_model.family.text_model.config
    flops = prompt_flops(family_model, size, times=reduced)
    if getattr(config, "num_experts", None):
        assert flops.fastvid != flops.fastvid  # neither formula speaks of experts
        return
    per_row = family_model.family.layout.newline == "row"
    rows = reduced.reduction.grid.frames * reduced.reduction.grid.rows if per_row else 0
    assert size.newlines == rows
    block = round(reduced.reduction.achieved_with_newlines * (size.tokens + rows))  # an independent count of newlines
    shape = DecoderShape.from_config(config)
    assert flops == PromptFlops(fastvid_flops(block, shape), holitom_flops(reduced.reduction.kept, shape))


def test_flops_of_a_report_by_hand(model: VideoLLM):
    """4 layers of 160 channels, 480 inside, keys and values as wide as queries; 16 frames of 49 tokens."""
    whole = 4 * (2 * 784 * 160**2 + 2 * 784 * 160 * 160 + 2 * 784**2 * 160 + 3 * 784 * 160 * 480)
    assert whole == 1_830_420_480
    size = VideoSize(tokens=784, newlines=0, prompt=792, grid=TokenGrid(16, 7, 7))
    times = time_answer(model, CLIP, QUESTION, frames=16, new_tokens=2)
    assert prompt_flops(model, size, times=times) == PromptFlops(1_830_420_480.0, 1_589_575_680.0)
    method = RandomTokens(retention=0.25, across_frames=True)
    times = time_answer(model, CLIP, QUESTION, method=method, frames=16, new_tokens=2)
    assert prompt_flops(model, size, times=times) == PromptFlops(310_087_680.0, 249_876_480.0)


def test_fastvids_formula_counts_what_the_language_model_multiplies():
    eager = load_model("tiny-llava-onevision", device="cpu", attn_implementation="eager")
    embeds = torch.zeros(1, 200, 160)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        eager.family.text_model(inputs_embeds=embeds)
    shape = DecoderShape.from_config(eager.family.text_model.config)
    assert counter.get_total_flops() / 2 == fastvid_flops(200, shape)  # a multiply-add is counted as two


def test_refused(model: VideoLLM):
    with pytest.raises(ValueError, match="new_tokens=1 given, expected at least 2"):
        time_answer(model, CLIP, QUESTION, new_tokens=1)


def test_collection_goes_on_after_an_error(model: VideoLLM, tmp_path: Path):
    time_answer(model, CLIP, QUESTION, frames=2, new_tokens=2)
    before = hooks_of(model)
    with pytest.raises(VideoError, match="absent"):
        time_answer(model, VideoSource(tmp_path / "absent.mp4", "absent"), QUESTION)
    assert gc.isenabled()
    assert hooks_of(model) == before


def test_a_method_is_given_what_it_needs(model: VideoLLM):
    """FastVID reads the pooling head, which is recorded only for methods that say so."""
    times = time_answer(model, CLIP, QUESTION, method=FastVID(retention=0.5), frames=16, new_tokens=2)
    assert times.reduction is not None
    assert times.reduction.requested == 0.5
