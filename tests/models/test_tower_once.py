"""One run of the tower for prompts about the same pixels, and one for each where something is different."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from redundancy.apply import prune
from redundancy.evaluation.scoring import score_questions
from redundancy.models import VideoLLM
from redundancy.models.tower_once import tower_once
from redundancy.pruning import RandomTokens
from redundancy.questions import Question
from tests.tiny_models import make_clip

CLIP = make_clip(seed=1)
OTHER = make_clip(seed=2)
QUESTIONS = [
    Question("when", "which runs first ?", "cat", ("cat", "dog")),
    Question("where", "which jumps ?", "dog", ("cat", "dog")),
]


@contextmanager
def runs_of(model: VideoLLM) -> Iterator[list[int]]:
    """Grows with every run of what is inside the tower; wraps a forward, since a hook would make the tower run."""
    inside = next(m for m in model.family.tower.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
    run, seen = inside.forward, []

    def forward(*args: Any) -> Any:
        seen.append(1)
        return run(*args)

    inside.forward = forward  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        del inside.forward


def logits_of(model: VideoLLM, clip: Any = CLIP, prompt: str = "what ?") -> torch.Tensor:
    return model.prefill(model.prepare(clip, prompt)).logits[0, -1]


def test_the_same_numbers_with_fewer_runs(family_model: VideoLLM):
    """Prompts, reductions and clips in turn; the last clip is known, the one before it is not."""
    given: list[tuple[Any, str, float | None]] = [
        (CLIP, "what ?", None),
        (CLIP, "how many ?", None),
        (CLIP, "how many ?", 0.5),
        (OTHER, "what ?", None),
        (OTHER, "what ?", 0.5),
        (CLIP, "what ?", None),
    ]

    def every() -> list[torch.Tensor]:
        found = []
        for clip, prompt, share in given:
            with nullcontext() if share is None else prune(family_model, RandomTokens(retention=share)):
                found.append(logits_of(family_model, clip, prompt))
        return found

    with runs_of(family_model) as seen:
        expected = every()
        assert len(seen) == 6
        with tower_once(family_model), tower_once(family_model):
            found = every()
        assert len(seen) == 6 + 3
    assert "forward" not in vars(family_model.family.tower)
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one, other)


def test_pixels_that_were_changed_in_place_are_run_again(family_model: VideoLLM):
    inputs = family_model.prepare(CLIP, "what ?")
    with runs_of(family_model) as seen, tower_once(family_model):
        before = family_model.prefill(inputs).logits
        inputs.tensors["pixel_values_videos"].mul_(0.5)
        after = family_model.prefill(inputs).logits
    assert len(seen) == 2
    assert not torch.equal(before, after)


def _hooked(model: VideoLLM) -> Any:
    return list(model.family.tower.modules())[-1].register_forward_hook(lambda *_: None)


def _pre_hooked(model: VideoLLM) -> Any:
    return list(model.family.tower.modules())[-1].register_forward_pre_hook(lambda *_: None)


@pytest.mark.parametrize("hook", [_hooked, _pre_hooked])
def test_what_reads_inside_the_tower_sees_every_run(family_model: VideoLLM, hook: Callable[[VideoLLM], Any]):
    with runs_of(family_model) as seen, tower_once(family_model):
        logits_of(family_model)
        handle = hook(family_model)
        try:
            logits_of(family_model)
        finally:
            handle.remove()
        logits_of(family_model)
    assert len(seen) == 2


def test_gradients_training_and_wrapped_models_run_the_tower(family_model: VideoLLM):
    inputs = family_model.prepare(CLIP, "what ?")
    with runs_of(family_model) as seen, tower_once(family_model):
        for _ in range(2):
            with torch.enable_grad():
                family_model.model(**inputs.tensors, **family_model.family.prefill_arguments(inputs.tensors))
        family_model.family.tower.train()
        try:
            for _ in range(2):
                logits_of(family_model)
        finally:
            family_model.family.tower.eval()
    wrapped = replace(family_model, model=nn.DataParallel(family_model.model))
    with tower_once(wrapped):
        assert "forward" not in vars(wrapped.family.tower)
    assert len(seen) == 4


def test_questions_about_one_video_share_the_tower(family_model: VideoLLM):
    with runs_of(family_model) as seen:
        score_questions(family_model, CLIP, QUESTIONS, shared=False)
    assert len(seen) == 1
