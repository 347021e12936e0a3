"""`evaluate` on the bundled model and clips, and on a small model of every family."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from redundancy.apply import prune
from redundancy.evaluation import session
from redundancy.evaluation.answers import answered, evaluate
from redundancy.evaluation.cells import NothingMeasuredError, own_folder
from redundancy.evaluation.scoring import score_questions
from redundancy.evaluation.sharing import reads_question
from redundancy.evaluation.statistics.scores import accuracy, fidelity_means, paired_accuracy
from redundancy.metrics.fidelity import next_token_kl
from redundancy.models import VideoLLM, load_model
from redundancy.pruning import FastV, FastVID, PruneVid, PruneVidStage2, RandomInner, RandomTokens
from redundancy.questions import Question
from redundancy.recording import available_salience
from redundancy.sources import list_videos
from redundancy.video import NotAVideoError
from redundancy.world.questions import SKILLS
from tests.evaluation.test_scoring import QUESTIONS, every_third
from tests.family_fixtures import hooks_of
from tests.tiny_models import make_clip

SOURCES = list_videos(limit=4)
TOKENS = 32 * 49


@pytest.fixture(scope="module")
def model() -> VideoLLM:
    return load_model("tiny-llava-onevision", device="cpu")


@pytest.fixture(scope="module")
def whole(model: VideoLLM) -> pd.DataFrame:
    return evaluate(model, SOURCES, frames=32, max_new_tokens=1, keep_logits=True)


@pytest.fixture(scope="module")
def reduced(model: VideoLLM, whole: pd.DataFrame) -> pd.DataFrame:
    return evaluate(model, SOURCES, FastVID(retention=0.25), frames=32, reference=whole, max_new_tokens=1)


def test_rows_are_the_questions(whole: pd.DataFrame):
    asked = [(s.name, s.kind, i, q) for s in SOURCES for i, q in enumerate(s.record.questions)]  # type: ignore[union-attr]
    assert len(whole) == len(asked)
    for row, (name, kind, number, question) in zip(whole.itertuples(), asked, strict=True):
        assert (row.video, row.kind, row.question) == (name, kind, number)
        assert (row.skill, row.text, row.answer) == (question.skill, question.text, question.answer)
        assert tuple(row.options) == question.options
        assert row.chance == 1 / len(question.options)
        assert row.correct == (row.predicted == question.answer)
        assert row.predicted == question.options[int(np.argmax(row.loglikelihood))]
        share = np.exp(row.loglikelihood)
        assert row.probability == pytest.approx(share[question.options.index(question.answer)] / share.sum())
    assert set(whole["skill"]) == set(SKILLS)
    assert whole["shared"].all()


def test_likelihood_and_generation_agree(model: VideoLLM, whole: pd.DataFrame, reduced: pd.DataFrame):
    """The bundled model's answers are one token, and it answers with an option: the likeliest is the greedy one."""
    for rows, method in ((whole, None), (reduced, FastVID(retention=0.25))):
        assert (rows["generated"] == rows["predicted"]).all()
        assert (rows["generated_correct"] == rows["correct"]).all()
        for source in SOURCES[:1]:
            clip, about = source.load(model, frames=32), rows[rows["video"] == source.name]
            if method is None:
                assert about["predicted"].tolist() == [model.generate(clip, t, max_new_tokens=1) for t in about["text"]]
            else:
                with prune(model, method):
                    said = [model.generate(clip, t, max_new_tokens=1) for t in about["text"]]
                assert about["predicted"].tolist() == said


def test_retention_and_settings_are_reported(whole: pd.DataFrame, reduced: pd.DataFrame, model: VideoLLM):
    assert (whole[["requested", "achieved", "achieved_with_newlines", "achieved_inside"]] == 1).all(axis=None)
    assert (whole[["kept", "video_tokens"]] == TOKENS).all(axis=None)
    assert (whole["method"] == "none").all()
    assert (reduced["requested"] == 0.25).all()
    assert (reduced["achieved"] == reduced["kept"] / TOKENS).all()
    assert set(reduced["method"]) == {"FastVID"}
    assert json.loads(reduced["settings"].iloc[0])["retention"] == 0.25
    inner = evaluate(model, SOURCES[0], inner=[RandomInner(layer=1, drop_rate=0.5)], frames=32)
    assert (inner["achieved"] == 1).all()
    assert (inner["achieved_inside"] == 0.5).all()
    assert set(inner["inner"]) == {"RandomInner"}
    assert json.loads(inner["inner_settings"].iloc[0])[0]["layer"] == 1
    assert whole.attrs["model"] == "tiny-llava-onevision"
    assert len(whole.attrs["weights_sha256"]) == 64


def test_fidelity_by_reference_and_by_running_are_the_same(model: VideoLLM, whole: pd.DataFrame, reduced: pd.DataFrame):
    run = evaluate(model, SOURCES, FastVID(retention=0.25), frames=32, fidelity=True, max_new_tokens=1)
    pd.testing.assert_frame_equal(run, reduced, check_exact=True)
    assert "logits" not in run
    kept = evaluate(model, SOURCES[0], FastVID(retention=0.25), frames=32, fidelity=True, keep_logits=True)
    first = whole[whole["video"] == SOURCES[0].name]
    kl = next_token_kl(*(torch.tensor(np.stack(list(t["logits"]))) for t in (first, kept)))
    np.testing.assert_allclose(kept["kl"], kl.numpy())
    assert (reduced["agreement"] == (reduced["predicted"] == reduced["full_predicted"])).all()
    assert reduced["full_predicted"].tolist() == whole["predicted"].tolist()
    assert reduced["kl"].gt(0).all()
    itself = evaluate(model, SOURCES, frames=32, reference=whole)
    assert (itself["agreement"] == 1).all()
    assert itself["kl"].abs().max() == 0


def test_tables_of_it_can_be_read(whole: pd.DataFrame, reduced: pd.DataFrame):
    assert accuracy(whole).set_index("skill").loc["count", "accuracy"] == 1
    assert len(paired_accuracy(reduced, whole)) == len(SKILLS) + 1
    assert fidelity_means(reduced)["mean"].notna().all()


def test_everything_again_is_the_same(model: VideoLLM, reduced: pd.DataFrame, whole: pd.DataFrame, tmp_path: Path):
    again = evaluate(model, SOURCES, FastVID(retention=0.25), frames=32, reference=whole, max_new_tokens=1)
    pd.testing.assert_frame_equal(again, reduced, check_exact=True)
    for name, rows in (("a", again), ("b", reduced)):
        rows.to_parquet(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_methods_that_read_the_question_share_nothing(model: VideoLLM):
    source, clip = SOURCES[3], SOURCES[3].load(model, frames=32)
    for method, inner in (
        (None, [FastV(layer=1, drop_rate=0.9)]),
        (FastVID(retention=0.5), [FastV(layer=2, drop_rate=0.5), RandomInner(layer=3, drop_rate=0.5)]),
        (PruneVid(), [PruneVidStage2(layer=1, alpha=0.3)]),
    ):
        assert reads_question(inner)
        rows = evaluate(model, source, method, inner=inner, frames=32, keep_logits=True)
        assert not rows["shared"].any()
        for row in rows.itertuples():
            with prune(model, method, inner=inner) as pruned:
                logits = model.prefill(model.prepare(clip, row.text)).logits[0, -1]
            np.testing.assert_array_equal(row.logits, logits.numpy())  # the very same computation
            assert row.achieved_inside == pruned.inner[-1].achieved
        with pytest.raises(ValueError, match="shared=True given with a method inside the model that reads"):
            evaluate(model, source, method, inner=inner, frames=32, shared=True)
    assert not reads_question([RandomInner(layer=1)])


def test_what_would_go_wrong_if_it_were_shared(model: VideoLLM):
    """The test above can fail: with one prefill for all, FastV would keep other tokens."""
    source = SOURCES[3]
    clip, asked = source.load(model, frames=32), source.record.questions  # type: ignore[union-attr]
    with prune(model, None, inner=[FastV(layer=1, drop_rate=0.9)]):
        alone = score_questions(model, clip, asked)
        together = score_questions(model, clip, asked, shared=True)
    assert max((a.logits - b.logits).abs().max().item() for a, b in zip(alone, together, strict=True)) > 1e-2


def test_every_family(family_model: VideoLLM):
    clips = [make_clip(seed=1), make_clip(seed=2)]
    together = evaluate(family_model, clips, every_third, questions=QUESTIONS, fidelity=True, keep_logits=True)
    alone = evaluate(
        family_model, clips, every_third, questions=QUESTIONS, fidelity=True, keep_logits=True, shared=False
    )
    assert together["shared"].all()
    assert not alone["shared"].any()
    for a, b in zip(together["logits"], alone["logits"], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)  # float32 sums in another order
    assert together["predicted"].tolist() == alone["predicted"].tolist()
    assert together["achieved"].between(0.33, 0.35).all()
    assert set(together["video"]) == {"random:1", "random:2"}
    salience = available_salience(family_model)[0]
    inside = evaluate(
        family_model,
        clips[0],
        FastVID(retention=0.5, salience=salience, features="mean"),
        inner=[FastV(layer=2, drop_rate=0.5)],
        questions={"random:1": QUESTIONS},
    )
    assert (inside["achieved_inside"] < inside["achieved"]).all()


def test_seeds_are_given_to_what_draws(model: VideoLLM):
    drawn = {
        seed: evaluate(model, SOURCES[0], RandomTokens(retention=0.1), frames=32, seed=seed, keep_logits=True)
        for seed in (0, 1)
    }
    assert json.loads(drawn[1]["settings"].iloc[0])["seed"] == 1
    assert (drawn[1]["seed"] == 1).all()
    assert not np.array_equal(drawn[0]["logits"].iloc[0], drawn[1]["logits"].iloc[0])
    inner = evaluate(model, SOURCES[0], inner=[RandomInner(layer=1), FastV(layer=2)], frames=32, seed=5)
    assert json.loads(inner["inner_settings"].iloc[0])[0]["seed"] == 5
    with pytest.raises(ValueError, match="seed=1 given and no method has a seed"):
        evaluate(model, SOURCES[0], FastVID(), frames=32, seed=1)


def test_the_world_and_paths_are_sources(model: VideoLLM):
    rows = evaluate(model, "world:2?scenes=2", frames=32)
    assert rows["video"].nunique() == 2
    assert set(rows["kind"]) == {"2 scenes"}
    assert rows["frames"].eq(32).all()
    path = SOURCES[0].path
    asked = [Question("count", "how many scenes ?", "two", ("one", "two"))]
    assert evaluate(model, path, questions=asked, frames=8)["frames"].tolist() == [8]


def test_wrong_input_is_refused(model: VideoLLM, whole: pd.DataFrame):
    clip = make_clip(frames=8)
    with pytest.raises(ValueError, match="no question about 'random:0' given"):
        evaluate(model, clip)
    with pytest.raises(ValueError, match="expected at least one, with names that differ"):
        evaluate(model, [clip, clip], questions=QUESTIONS)
    with pytest.raises(ValueError, match="expected at least one, with names that differ"):
        evaluate(model, [])
    with pytest.raises(ValueError, match="normalise='mean' given"):
        evaluate(model, SOURCES[0], normalise="mean")
    with pytest.raises(ValueError, match="fidelity=True and reference"):
        evaluate(model, SOURCES[0], fidelity=True, reference=whole)
    with pytest.raises(ValueError, match=r"a reference without \['logits'\] given"):
        evaluate(model, SOURCES[0], frames=32, reference=whole.drop(columns="logits"))
    with pytest.raises(ValueError, match="expected exactly one for each question about 'clip_000"):
        evaluate(model, SOURCES[0], frames=32, reference=whole.iloc[1:])
    unknown = replace(SOURCES[0].record.questions[0], answer="hexagon", options=("hexagon", "ring"))  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="option 'hexagon' given"):
        evaluate(model, SOURCES[0], frames=32, questions=[unknown])
    with (
        prune(model, "fastvid(0.25)"),  # its rows would say that all tokens were there
        pytest.raises(NotImplementedError, match="inside a prune context already"),
    ):
        evaluate(model, SOURCES[0], frames=8)


# failures, resume ---------------------------------------------------------------------------------------------------


def test_a_video_that_fails_is_a_row_and_the_others_are_kept(model: VideoLLM, tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    rows = evaluate(model, [SOURCES[0], broken, make_clip(frames=4), SOURCES[1]], frames=8)
    failed = rows[rows["error"].notna()].set_index("video")
    assert failed["error_type"].to_dict() == {"broken.mp4": "ValueError", "random:0": "ValueError"}
    assert "no question about 'broken.mp4'" in failed.loc["broken.mp4", "error"]
    assert list(dict.fromkeys(rows["video"])) == [SOURCES[0].name, "broken.mp4", "random:0", SOURCES[1].name]
    assert set(rows["grid"].dropna()) == {"8x7x7"}
    assert set(rows["model"]) == {"tiny-llava-onevision"}
    good = answered(rows)
    assert good["correct"].dtype == bool
    pd.testing.assert_frame_equal(accuracy(rows), accuracy(good))
    again = evaluate(model, SOURCES[:2], frames=8)
    pd.testing.assert_frame_equal(answered(again), good.reset_index(drop=True), check_dtype=False)
    assert len(paired_accuracy(rows, again)) == len(SKILLS) + 1
    with pytest.raises(NothingMeasuredError, match=r"no video could be measured: broken\.mp4: .*; random:0: "):
        evaluate(model, [broken, make_clip(frames=4)])
    with pytest.raises(NotAVideoError, match=r"broken\.mp4"):
        evaluate(model, broken, questions=SOURCES[0].record.questions)  # type: ignore[union-attr]


def test_what_is_stored_is_not_computed_again(
    model: VideoLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    computed: list[str] = []
    real = session.rows_of

    def counted(*given: Any, asking: Any, **named: Any) -> pd.DataFrame:
        computed.append(asking.video)
        return real(*given, asking=asking, **named)

    monkeypatch.setattr(session, "rows_of", counted)

    def run(count: int, **settings: Any) -> tuple[pd.DataFrame, int]:
        computed.clear()
        given = {"method": FastVID(retention=0.25), "frames": 8, "keep_logits": True, "out": tmp_path / "out"}
        return evaluate(model, SOURCES[:count], **(given | settings)), len(computed)

    count = run(1)[1]
    both, more = run(2)
    stored, none = run(2)
    plain, _ = run(2, out=None)
    assert (count, more, none) == (1, 1, 0)
    for rows in (stored, plain):
        pd.testing.assert_frame_equal(both, rows, check_exact=True)
        assert isinstance(rows["options"].iloc[0], list)
    for other in ({"method": FastVID(retention=0.5)}, {"frames": 16}, {"max_new_tokens": 1}, {"normalise": "token"}):
        assert run(1, **other)[1] == 1
    cell = sorted((tmp_path / "out" / "cells").glob("*.parquet"))
    for file in cell:
        file.write_bytes(b"")
    assert run(2)[1] == 2
    assert "was damaged and was computed again" in capsys.readouterr().err
    with torch.no_grad():
        weight = model.model.get_input_embeddings().weight  # type: ignore[operator, union-attr]
        weight[-1] += 1
        assert run(1)[1] == 1  # other weights under the same name
        weight[-1] -= 1
    with torch.autocast("cpu", torch.bfloat16):
        assert run(1)[1] == 1
    with pytest.raises(FileExistsError, match="holds results of evaluate"):
        own_folder(tmp_path / "out", "retention_curve").__enter__()


def test_a_failure_leaves_the_model_as_it_was(model: VideoLLM):
    """An exception deep in the language model, inside `prune`, ends every context that was open."""

    def fail(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    before = hooks_of(model)
    handle = model.family.text_model.layers[-1].register_forward_hook(fail)  # type: ignore[union-attr, index]
    with pytest.raises(torch.OutOfMemoryError):
        evaluate(model, SOURCES[0], FastVID(retention=0.25), inner=[RandomInner(layer=1)], frames=8)
    handle.remove()
    assert hooks_of(model) == before
    assert len(evaluate(model, SOURCES[0], frames=8)) == len(SOURCES[0].record.questions)  # type: ignore[union-attr]
