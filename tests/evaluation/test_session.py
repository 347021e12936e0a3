"""A session gives what plain runs give, bit for bit, with one run of the vision tower."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import redundancy as rd
from redundancy.evaluation.answers import answered, evaluate
from redundancy.evaluation.session import VideoSession
from redundancy.models import VideoLLM
from redundancy.pruning import RandomTokens
from redundancy.questions import Question
from tests.tiny_models import make_clip

CLIP = make_clip(seed=1)
QUESTIONS = [
    Question("when", "which runs first ?", "cat", ("cat", "dog")),
    Question("where", "which jumps in the video ?", "dog", ("cat", "dog")),
]
RANDOM = RandomTokens(retention=0.5, seed=3)


@pytest.fixture
def tower_runs(family_model: VideoLLM) -> Iterator[list[int]]:
    """Grows with every call of the tower."""
    seen: list[int] = []
    handle = family_model.family.tower.register_forward_hook(lambda *_: seen.append(1))
    yield seen
    handle.remove()


def same_tokens(one: rd.VideoTokens, other: rd.VideoTokens) -> None:
    xr.testing.assert_identical(one.to_xarray(), other.to_xarray())


def same_rows(one: pd.DataFrame, other: pd.DataFrame) -> None:
    assert list(one.columns) == list(other.columns)
    for name in one.columns:
        assert all(np.array_equal(a, b) for a, b in zip(one[name], other[name], strict=True)), name


def test_a_session_gives_what_plain_runs_give_with_one_run_of_the_tower(
    family_model: VideoLLM, tower_runs: list[int]
) -> None:
    text = QUESTIONS[1].text
    with VideoSession(family_model, CLIP, QUESTIONS) as session:
        tokens, end = session.tokens, session.prompt_end
        captures = {
            (prompt, rows): session.capture(prompt, rows)
            for prompt in (None, text, "what ?")
            for rows in (None, "last", "question", "generated")
        }
        attention = session.attention()
        draws = list(session.decide(RANDOM, seeds=2))
        answers = session.answers(draws[1].reduction)
        inside = session.answers(inner="holitom_inner(layer=2)")
        by_method = session.answers("random_tokens(0.5, seed=3)", against=None)
        full, measured = session.full, session.measure(draws[0].reduction)
        assert len(tower_runs) == 1
    expected = rd.video_tokens(family_model, CLIP, QUESTIONS[0].text)
    same_tokens(tokens, expected)
    for (prompt, rows), found in captures.items():
        prompt = QUESTIONS[0].text if prompt is None else prompt
        plain = rd.capture(family_model, CLIP, prompt, attention_rows=rows)
        xr.testing.assert_identical(found, plain)
    assert end == (captures[None, None].last_position, captures[None, None].text_after)
    rows = [rd.capture(family_model, CLIP, q.text, attention_rows="last")["attention"] for q in QUESTIONS]
    mean = xr.concat([r.isel(query=0, drop=True) for r in rows], "question").mean("question")
    np.testing.assert_array_equal(attention["attention"].values, mean.values)
    xr.testing.assert_identical(measured, rd.measure(expected, draws[0].reduction))
    ask = {"questions": QUESTIONS}
    plain = evaluate(family_model, CLIP, **ask, keep_logits=True)
    same_rows(full, answered(plain).drop(columns=["model", "commit"]))
    assert torch.equal(draws[1].reduction.anchor, RandomTokens(retention=0.5, seed=1)(expected).anchor)
    same_rows(answers, answered(evaluate(family_model, CLIP, draws[1].reduction, **ask, reference=plain)))
    same_rows(inside, answered(evaluate(family_model, CLIP, inner="holitom_inner(layer=2)", **ask, reference=plain)))
    same_rows(by_method, answered(evaluate(family_model, CLIP, RANDOM, **ask)))
