"""Likelihoods against whole forwards without cache, shared prefill against one question at a time, every family."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from redundancy.apply import prune
from redundancy.evaluation.prompts import Running, prompts_of
from redundancy.evaluation.scoring import Scored, lettered, option_tokens, score_questions
from redundancy.models import Prepared, VideoLLM, load_model
from redundancy.models.hooks import on_text_entry
from redundancy.pruning import RandomInner
from redundancy.questions import Question
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens
from tests.family_fixtures import hooks_of
from tests.tiny_models import make_clip

QUESTIONS = (
    Question("yes", "what happens in the video ?", "yes", ("yes", "no")),
    Question("who", "which cat runs first ?", "cat", ("cat", "dog", "red cat jumps", "blue dog")),
    Question("digit", "what digit ?", "5", ("5", "7", "12")),
)
CLIP = make_clip()


def every_third(tokens: VideoTokens) -> Reduction:
    """A selection; newlines after rows stay with kept rows."""
    newline = "kept rows" if tokens.layout.newline == "row" else "none"
    index = torch.arange(0, tokens.grid.frames * tokens.grid.tokens_per_frame, 3)
    return Reduction.from_selection(index, grid=tokens.grid, newline=newline, requested=1 / 3)


def first_frame_renumbered(tokens: VideoTokens) -> Reduction:
    """The end of the video is gone and positions are counted anew: what follows must follow the shortened prompt."""
    return replace(
        Reduction.from_selection(
            torch.arange(tokens.grid.tokens_per_frame), grid=tokens.grid, newline=every_third(tokens).newline
        ),
        placement="renumbered",
    )


CONDITIONS: dict[str, dict[str, Any]] = {
    "whole": {},
    "anchor": {"method": every_third},
    "renumbered": {"method": first_frame_renumbered},
    "inside": {"method": None, "inner": [RandomInner(layer=1, drop_rate=0.5)]},
    "both": {"method": first_frame_renumbered, "inner": [RandomInner(layer=2, drop_rate=0.5)]},
}


@contextmanager
def condition(model: VideoLLM, name: str) -> Iterator[None]:
    if name == "whole":
        yield
    else:
        with prune(model, **CONDITIONS[name]):
            yield


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_shared_prefill_and_one_at_a_time_give_the_same(family_model: VideoLLM, name: str):
    with condition(family_model, name):
        together = score_questions(family_model, CLIP, QUESTIONS, shared=True, max_new_tokens=3)
        alone = score_questions(family_model, CLIP, QUESTIONS, max_new_tokens=3)
        by_itself = [score_questions(family_model, CLIP, [q], shared=True, max_new_tokens=3)[0] for q in QUESTIONS]
    for a, b, c in zip(together, alone, by_itself, strict=True):
        assert a.shared
        assert not b.shared
        # float32 sums in another order over at most a few hundred keys and four layers
        torch.testing.assert_close(a.logits, b.logits, atol=1e-4, rtol=0)
        torch.testing.assert_close(a.logits, c.logits, atol=1e-4, rtol=0)
        np.testing.assert_allclose(a.loglikelihood, b.loglikelihood, atol=3e-4)  # sums of three such logits
        assert a.generated == b.generated == c.generated


@pytest.mark.parametrize("name", ["whole", "anchor", "renumbered"])
def test_likelihood_is_that_of_whole_forwards(family_model: VideoLLM, name: str):
    """Oracle: prompt and option in one forward without cache, as the processor makes the prompt."""
    with condition(family_model, name):
        scored = score_questions(family_model, CLIP, QUESTIONS, shared=True)
        for one in scored:
            prompt = family_model.prepare(CLIP, one.question.text)
            for option, got in zip(one.question.options, one.loglikelihood, strict=True):
                tokens = family_model.processor.tokenizer(option, add_special_tokens=False)["input_ids"]
                assert got == pytest.approx(forced(family_model, prompt, tokens), abs=3e-4)


def forced(model: VideoLLM, prompt: Prepared, tokens: list[int]) -> float:
    tensors = dict(prompt.tensors)
    grown = {"input_ids": torch.tensor([tokens]), "attention_mask": torch.ones(1, len(tokens), dtype=torch.long)}
    grown["mm_token_type_ids"] = torch.zeros(1, len(tokens), dtype=torch.long)
    for key in grown.keys() & tensors.keys():
        tensors[key] = torch.cat([tensors[key], grown[key].to(tensors[key].dtype)], 1)
    output = model.prefill(Prepared(tensors, prompt.clips), logits_to_keep=len(tokens) + 1, use_cache=False)
    every = output.logits[0, :-1].double().log_softmax(-1)
    return sum(every[i, token].item() for i, token in enumerate(tokens))


@pytest.mark.parametrize("name", ["whole", "renumbered", "both"])
def test_generated_answers_are_those_of_generate(family_model: VideoLLM, name: str):
    with condition(family_model, name):
        scored = score_questions(family_model, CLIP, QUESTIONS, shared=True, max_new_tokens=3)
        assert [s.generated for s in scored] == [
            family_model.generate(CLIP, q.text, max_new_tokens=3) for q in QUESTIONS
        ]


def test_prompts_are_those_of_the_processor(family_model: VideoLLM):
    prompts = prompts_of(family_model, CLIP, [q.text for q in QUESTIONS])
    for ids, question in zip(prompts.ids, QUESTIONS, strict=True):
        expected = family_model.prepare(CLIP, question.text).tensors
        got = prompts.tensors(ids)
        assert set(got) == set(expected)
        assert all(torch.equal(got[key], expected[key]) for key in expected)
    first, second = (ids[: prompts.common + 1].tolist() for ids in prompts.ids[:2])
    assert first[:-1] == second[:-1]
    assert first != second
    assert prompts.common >= prompts.video_end


def test_the_processor_sees_the_frames_once(family_model: VideoLLM, monkeypatch: pytest.MonkeyPatch):
    calls: list[Any] = []
    prepare = VideoLLM.prepare
    monkeypatch.setattr(VideoLLM, "prepare", lambda *a, **k: calls.append(a) or prepare(*a, **k))
    prompts_of(family_model, CLIP, [q.text for q in QUESTIONS])
    assert len(calls) == 1


def test_the_video_is_run_once(family_model: VideoLLM):
    """Shared by the language model and the tower, else by the tower alone, which no question reaches."""
    towers: list[int] = []
    prefills: list[int] = []
    handle = family_model.family.tower.register_forward_hook(lambda *_: towers.append(1))
    try:
        with on_text_entry(family_model.family, lambda _: prefills.append(1)):
            score_questions(family_model, CLIP, QUESTIONS, shared=True)
            assert (len(towers), len(prefills)) == (1, 1)
            score_questions(family_model, CLIP, QUESTIONS)
    finally:
        handle.remove()
    assert (len(towers), len(prefills)) == (2, 1 + len(QUESTIONS))


def test_a_model_is_left_as_it_was(family_model: VideoLLM):
    before, hooks = family_model.generate(CLIP, QUESTIONS[0].text, max_new_tokens=3), hooks_of(family_model)
    state = getattr(family_model.family.core, "rope_deltas", None)
    score_questions(family_model, make_clip(frames=4), QUESTIONS, shared=True)
    assert getattr(family_model.family.core, "rope_deltas", None) is state
    assert hooks_of(family_model) == hooks
    assert family_model.generate(CLIP, QUESTIONS[0].text, max_new_tokens=3) == before


def test_tokens_are_taken_away_as_they_were_added(family_model: VideoLLM):
    running = Running(family_model, family_model.prepare(CLIP, QUESTIONS[0].text))
    some = torch.tensor([9, 10, 11])
    first = running.add(some, keep=3)
    running.take_away(3)
    again = torch.cat([running.add(some[:1]), running.add(some[1:], keep=2)])
    torch.testing.assert_close(first, again, atol=1e-4, rtol=0)  # float32 sums in another order
    with pytest.raises(ValueError, match="count=4 given, expected at most the 3 tokens"):
        running.take_away(4)


SCORED = Scored(
    Question("s", "?", "cc", ("aaaa", "b", "cc")),
    np.log([0.2, 0.3, 0.1]),
    (4, 2, 1),
    torch.zeros(3),
    16,
    True,
)


def test_normalised_scores_by_hand():
    assert SCORED.predicted() == "b"
    np.testing.assert_allclose(SCORED.scores("token"), [np.log(0.2) / 4, np.log(0.3) / 2, np.log(0.1)])
    assert SCORED.predicted("token") == "aaaa"
    np.testing.assert_allclose(SCORED.scores("character"), [np.log(0.2) / 4, np.log(0.3), np.log(0.1) / 2])
    assert SCORED.probability() == pytest.approx(0.1 / 0.6)
    assert replace(SCORED, loglikelihood=np.zeros(3)).predicted() == "aaaa"  # equal ones by order
    with pytest.raises(ValueError, match="normalise='mean' given, expected one of"):
        SCORED.scores("mean")


def test_lettered_question():
    asked = lettered(Question("where", "Where is it?", "left", ("right", "left")))
    assert asked.text == (
        "Where is it?\nA. right\nB. left\nAnswer with the option's letter from the given choices directly."
    )
    assert (asked.answer, asked.options) == ("B", ("A", "B"))
    with pytest.raises(ValueError, match="expected at most 26 options"):
        lettered(Question("x", "?", "up", ("right", "left")))


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Question("x", "?", "zebra", ("zebra", "cat")), "option 'zebra' given, expected one that the tokenizer"),
        (Question("x", "?", "", ("", "cat")), "option '' given"),
        (Question("x", "?", "cat", ("cat", "cat ")), "expected ones that differ in their tokens"),
        (Question("x", "?", "dog", ("cat", "red")), "answer='dog' given, expected one of the options"),
    ],
)
def test_options_that_cannot_be_scored_are_refused(family_model: VideoLLM, question: Question, message: str):
    with pytest.raises(ValueError, match=message):
        option_tokens(family_model, question)


BROKEN: dict[str, tuple[float, int, str]] = {
    "NaN at once": (torch.nan, 0, r"no numbers \(NaN or infinite logits\) about 'random:0'"),
    "infinite": (torch.inf, 0, r"no numbers \(NaN or infinite logits\) about 'random:0'"),
    "nothing possible": (-torch.inf, 0, r"no numbers \(NaN or infinite logits\) about 'random:0'"),
    "NaN behind the first token": (torch.nan, 1, r"no numbers \(NaN or infinite logits\) about 'random:0'"),
}


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("case", BROKEN)
def test_logits_that_are_no_numbers_are_no_answer(tiny_folder: Any, case: str, shared: bool):
    value, first, message = BROKEN[case]
    model = load_model(tiny_folder("qwen2_vl"), device="cpu")
    calls: list[int] = []

    def spoil(module: Any, args: Any, kwargs: Any, output: Any) -> Any:
        calls.append(1)
        output.logits[..., 3 if value > 0 or value != value else slice(None)] = value if len(calls) > first else 0.0
        return output

    model.model.register_forward_hook(spoil, with_kwargs=True)
    with pytest.raises(FloatingPointError, match=message):
        score_questions(model, CLIP, QUESTIONS[1:2], shared=shared, max_new_tokens=2)


def test_options_without_any_probability_are_no_answer(tiny_folder: Any):
    model = load_model(tiny_folder("qwen2_vl"), device="cpu")
    first = [int(tokens[0]) for tokens in option_tokens(model, QUESTIONS[0])]

    def exclude(module: Any, args: Any, kwargs: Any, output: Any) -> Any:
        output.logits[..., first] = -torch.inf
        return output

    model.model.register_forward_hook(exclude, with_kwargs=True)
    with pytest.raises(
        FloatingPointError, match=r"no option of 'what happens in the video .' about 'random:0' has any"
    ):
        score_questions(model, CLIP, QUESTIONS[:1])


def test_wrong_numbers_of_questions_are_refused(family_model: VideoLLM):
    with pytest.raises(ValueError, match="expected at least one question"):
        prompts_of(family_model, CLIP, [])
    prompts = prompts_of(family_model, CLIP, ["what ?"])
    with pytest.raises(ValueError, match="prompts of 1 questions given, expected those of 3"):
        score_questions(family_model, prompts, QUESTIONS)
