"""A session gives what plain runs give, bit for bit, with one run of the vision tower."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import redundancy as rd
from redundancy.apply import prune
from redundancy.evaluation.answers import answered, evaluate
from redundancy.evaluation.cost.flops import DecoderShape, fastvid_flops, holitom_flops
from redundancy.evaluation.session import VideoSession
from redundancy.evaluation.statistics.scores import fidelity_means
from redundancy.metrics.coverage import kmeans_error, reconstruction_gap
from redundancy.models import VideoLLM, load_model
from redundancy.models.hooks import on_text_entry
from redundancy.pruning import FastV, FastVID, HoliTom, RandomTokens
from redundancy.questions import Question
from tests.tiny_models import make_clip

CLIP = make_clip(seed=1)
QUESTIONS = [
    Question("when", "which runs first ?", "cat", ("cat", "dog")),
    Question("where", "which jumps in the video ?", "dog", ("cat", "dog")),
]
RANDOM = RandomTokens(retention=0.5, seed=3)


@pytest.fixture
def model(tiny_folder: Callable[[str], Path]) -> VideoLLM:
    return load_model(tiny_folder("qwen2_vl"), device="cpu")


@pytest.fixture
def session(model: VideoLLM) -> Iterator[VideoSession]:
    with VideoSession(model, CLIP, QUESTIONS) as opened:
        yield opened


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
    assert torch.equal(draws[1].reduction.anchor, RandomTokens(retention=0.5, seed=4)(expected).anchor)
    same_rows(answers, answered(evaluate(family_model, CLIP, draws[1].reduction, **ask, reference=plain)))
    same_rows(inside, answered(evaluate(family_model, CLIP, inner="holitom_inner(layer=2)", **ask, reference=plain)))
    same_rows(by_method, answered(evaluate(family_model, CLIP, RANDOM, **ask)))


def test_methods_inside_that_read_the_question_get_a_prefill_each(
    family_model: VideoLLM, tower_runs: list[int]
) -> None:
    inner = FastV(layer=2)
    prefills: list[int] = []
    with (
        on_text_entry(family_model.family, lambda _: prefills.append(1)),
        VideoSession(family_model, CLIP, QUESTIONS) as session,
    ):
        rows = session.answers(inner=inner, against=None)
    assert len(prefills) == len(QUESTIONS)
    assert len(tower_runs) == 1
    assert not rows["shared"].any()
    for i, question in enumerate(QUESTIONS):
        alone = answered(evaluate(family_model, CLIP, inner=inner, questions=[question]))
        assert alone["loglikelihood"][0] == rows["loglikelihood"][i]


# what it decides ---------------------------------------------------------------------------------------------------


def test_sources_that_the_model_does_not_give_are_replaced_and_noted(session: VideoSession) -> None:
    method, note = session.suited(FastVID(salience="pooling_head", features="pooling_head"))
    assert (method.salience, method.features) == ("mean_query", "mean")  # type: ignore[attr-defined]
    assert note == "mean_query in place of pooling_head as salience, mean in place of pooling_head as features"
    assert session.suited(HoliTom(salience="received")) == (HoliTom(salience="received"), "")
    draws = list(session.decide(FastVID(salience="pooling_head"), seeds=3))
    assert [(d.seed, d.note) for d in draws] == [(-1, "mean_query in place of pooling_head as salience")]


def test_decisions_by_name_and_seed(session: VideoSession) -> None:
    draws = list(session.decide("random_tokens(0.5)", seeds=3))
    assert [d.seed for d in draws] == [0, 1, 2]
    for draw in draws:
        assert torch.equal(draw.reduction.anchor, RandomTokens(retention=0.5, seed=draw.seed)(session.tokens).anchor)
    with pytest.raises(TypeError):
        session.suited(draws[0].reduction)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="seeds"):
        next(session.decide(RANDOM, seeds=0))


def test_as_many_random_tokens(session: VideoSession) -> None:
    (draw,) = session.decide(FastVID(retention=0.4, salience="norm", features="mean"))
    N = session.tokens.grid.tokens_per_frame
    counts = torch.bincount(draw.reduction.anchor_token // N)
    over_all, by_frame = (session.random_like(draw.reduction, seed=1, per_frame=p) for p in (False, True))
    other = session.random_like(draw.reduction, seed=2, per_frame=True)
    for drawn in (over_all, by_frame, other):
        assert drawn.kept == draw.reduction.kept
        assert drawn.is_selection
    assert torch.equal(torch.bincount(by_frame.anchor_token // N), counts)
    assert not torch.equal(by_frame.anchor_token, other.anchor_token)
    assert torch.equal(by_frame.anchor_token, by_frame.anchor_token.sort().values)


# what it costs -----------------------------------------------------------------------------------------------------


def test_costs_and_references(session: VideoSession) -> None:
    shape = DecoderShape.from_config(session.model.family.text_model.config)
    T, N = session.tokens.grid.frames, session.tokens.grid.tokens_per_frame
    (draw,) = session.decide("uniform_tokens(0.5)")
    assert session.flops() == {
        "flops_fastvid": fastvid_flops(T * N, shape),
        "flops_holitom": holitom_flops(T * N, shape),
    }
    assert session.flops(draw.reduction)["flops_fastvid"] == fastvid_flops(draw.reduction.kept, shape)
    error = kmeans_error(session.tokens.features, draw.reduction).item()
    assert session.kmeans_error(draw.reduction.kept) == error
    assert session.reconstruction_gap(draw.reduction) == reconstruction_gap(session.tokens.features, draw.reduction)
    made = [session.once("key", lambda: object()) for _ in range(2)]
    assert made[0] is made[1]
    assert session.grid_text == "x".join(str(n) for n in session.tokens.grid)


def test_answers_can_be_held_against_other_rows(session: VideoSession) -> None:
    alone = session.answers(RANDOM, against=None)
    assert "kl" not in alone
    compared = session.answers(RANDOM, against=session.full)
    same_rows(compared, session.answers(RANDOM))
    by_character = session.answers(RANDOM, normalise="character", max_new_tokens=1)
    assert {"generated", "kl"} <= set(by_character)
    assert len(fidelity_means(compared)) > 0
    plain = session.answers()
    assert (plain["kl"].abs() < 1e-12).all()
    assert (plain["agreement"] == 1).all()


def test_captures_share_what_is_equal(session: VideoSession) -> None:
    first, other = session.capture("which runs first ?"), session.capture("which jumps in the video ?")
    assert np.shares_memory(first["tokens"].values, other["tokens"].values)
    assert not np.array_equal(first["attention"].values, other["attention"].values)


def test_less_can_be_read_inside_the_tower(model: VideoLLM) -> None:
    with VideoSession(model, CLIP, QUESTIONS, salience=["received"]) as session:
        assert set(session.tokens.salience) == {"received", "norm"}
        assert "salience_mean_query" not in session.capture()
        with pytest.raises(RuntimeError, match=r"'mean_query'.* asked for and not recorded"):
            session.answers(HoliTom(salience="mean_query"))
        assert len(session.answers(HoliTom(salience="received"))) == len(QUESTIONS)


# what it refuses ---------------------------------------------------------------------------------------------------


def test_a_session_inside_prune_is_refused(session: VideoSession) -> None:
    verbs: list[Callable[[], Any]] = [lambda: session.tokens, session.capture, session.answers, lambda: session.full]
    with prune(session.model, RANDOM):
        for verb in verbs:
            with pytest.raises(NotImplementedError, match="inside a prune context"):
                verb()
    assert len(session.answers()) == len(QUESTIONS)
    with prune(session.model, RANDOM), pytest.raises(NotImplementedError, match="inside a prune context"):
        session.capture()  # also what is known


def test_a_model_in_training_mode_is_refused(session: VideoSession) -> None:
    session.model.model.train()
    with pytest.raises(NotImplementedError, match="training mode"):
        _ = session.tokens
    session.model.model.eval()
    assert session.tokens.grid


@pytest.mark.parametrize("known", [False, True])
def test_changed_weights_are_refused(session: VideoSession, known: bool) -> None:
    if known:
        _ = session.tokens
    with torch.no_grad():
        next(session.model.family.tower.parameters()).mul_(0.5)
    if not known:  # nothing was computed from the old ones
        assert session.tokens.grid
        return
    for verb in (lambda: session.tokens, session.capture, session.answers):
        with pytest.raises(RuntimeError, match="were changed since this session ran"):
            verb()


def test_another_precision_is_refused(session: VideoSession) -> None:
    _ = session.tokens
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(RuntimeError, match="torch's precision"):
        session.answers()


def test_an_error_in_a_verb_leaves_session_and_model_as_they_were(session: VideoSession) -> None:
    def broken(tokens: rd.VideoTokens) -> Any:
        raise ZeroDivisionError

    for verb in (lambda: session.answers(broken), lambda: session.capture("what ?", [10**6])):
        with pytest.raises((ZeroDivisionError, ValueError)):
            verb()
    hooks = [
        h for m in session.model.model.modules() for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())
    ]
    assert not [h for h in hooks if type(h).__module__.startswith("redundancy")]
    same_rows(
        session.answers(RANDOM, against=None), answered(evaluate(session.model, CLIP, RANDOM, questions=QUESTIONS))
    )


def test_two_sessions_on_one_model(session: VideoSession) -> None:
    other_clip = make_clip(seed=2)
    with VideoSession(session.model, other_clip, QUESTIONS) as other:
        a, b, c = session.tokens, other.tokens, session.answers(RANDOM)
        d = other.answers(RANDOM)
    same_tokens(a, rd.video_tokens(session.model, CLIP, QUESTIONS[0].text))
    same_tokens(b, rd.video_tokens(session.model, other_clip, QUESTIONS[0].text))
    assert c["loglikelihood"].tolist() != d["loglikelihood"].tolist()


def test_a_closed_session_is_refused_and_holds_nothing(model: VideoLLM) -> None:
    with VideoSession(model, CLIP, QUESTIONS) as session:
        session.capture()
        _ = session.full
    with pytest.raises(RuntimeError, match="closed"):
        _ = session.tokens
    with pytest.raises(RuntimeError, match="closed"):
        session.answers()
    assert not session._captures
    assert not {"_shown", "_prompts", "_recorded", "_full"} & vars(session).keys()


def test_a_session_without_questions_has_tokens_and_no_answers(model: VideoLLM) -> None:
    with VideoSession(model, CLIP) as session:
        same_tokens(session.tokens, rd.video_tokens(model, CLIP))
        assert set(session.attention().dims) >= {"layer", "frame", "token"}
        with pytest.raises(ValueError, match="without questions"):
            session.answers()
    with pytest.raises(TypeError, match="questions"):
        VideoSession(model, CLIP, ["which runs ?"])  # type: ignore[list-item]
