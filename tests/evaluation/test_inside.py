"""Methods inside the model by relative depth, and the tokens of every layer, against what the model runs on."""

from __future__ import annotations

import pytest

from redundancy.evaluation import VideoSession
from redundancy.evaluation.ablation import answered, content_of
from redundancy.evaluation.inside import FastVByQuestion, Inside, layer_at, tokens_of_layers
from redundancy.models import VideoLLM, load_model
from redundancy.pruning import FastV, HoliTomInner, PruneVidStage2
from redundancy.reduction import Reduction
from redundancy.sources import list_videos
from redundancy.tokens import TokenGrid


@pytest.fixture(scope="module")
def session() -> VideoSession:
    model: VideoLLM = load_model("tiny-llava-onevision", device="cpu")
    source = list_videos(limit=1)[0]
    return VideoSession(model, source.load(model, frames=8), source.questions[:2], source=source)


def test_layers_of_a_depth() -> None:
    assert [layer_at(d, 28) for d in (2 / 28, 0.25, 0.5, 18 / 28, 0.99)] == [2, 7, 14, 18, 27]
    assert [layer_at(d, 4) for d in (0.01, 0.25, 0.5, 0.99)] == [1, 1, 2, 3]
    assert Inside(FastV(), ((0.25, 0.5), (0.3, 0.2))).methods(4) is None  # one layer twice
    assert Inside(FastV(), ((0.3, 0.5),), taken=(0.25,)).methods(4) is None
    schedule = Inside(FastV(), ((0.25, 0.5), (0.75, 0.1))).methods(4)
    assert schedule == (FastV(layer=1, drop_rate=0.5), FastV(layer=3, drop_rate=0.8))
    assert Inside(HoliTomInner(), ((0.5, 0.25),)).methods(28) == (HoliTomInner(layer=14, merge_rate=0.75),)
    assert Inside(PruneVidStage2(), ((10 / 28, 0.5),)).methods(28) == (PruneVidStage2(),)


def test_tokens_of_layers_are_those_that_are_left(session: VideoSession) -> None:
    methods = (FastV(layer=1, drop_rate=0.5), FastV(layer=3, drop_rate=0.3))
    found = answered(session, None, methods)
    size = session.tokens.grid.frames * session.tokens.grid.tokens_per_frame
    tokens = tokens_of_layers(methods, size, found.achieved * size, layers=session.decoder.layers)
    half = size - int(0.5 * size)
    assert tokens == [size, half, half, half - int(0.3 * half)]
    single = answered(session, None, methods[:1])
    assert single.achieved * size == half


def test_the_question_is_another_query(session: VideoSession) -> None:
    last, question = (answered(session, None, (m,)) for m in (FastV(1, 0.9), FastVByQuestion(1, 0.9)))
    assert last.achieved == question.achieved
    assert last.means["kl"] != question.means["kl"]


def test_answers_are_asked_once_for_a_decision(session: VideoSession) -> None:
    one, same, other = (Reduction.from_selection([0, 5, k], grid=session.tokens.grid) for k in (9, 9, 8))
    assert content_of(one) == content_of(same) != content_of(other)
    assert answered(session, one) is answered(session, same)
    grid = TokenGrid(1, 2, 2)
    merged = [content_of(Reduction.from_selection([0, 1], grid=grid, placement=p)) for p in ("anchor", "renumbered")]
    assert len(set(merged)) == 2
    plain = session.answers(one)
    assert answered(session, one).means["accuracy"] == plain["correct"].mean()
    assert answered(session, one).predicted == tuple(plain["predicted"])
