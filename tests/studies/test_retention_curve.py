"""The study of accuracy over retention: rows, means and cost by hand."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import redundancy as rd
from redundancy.evaluation.conditions import FULL, grid
from redundancy.evaluation.cost.flops import DecoderShape, fastvid_flops
from redundancy.evaluation.order import order_sensitivity
from redundancy.evaluation.session import VideoSession
from redundancy.evaluation.statistics.intervals import mean_interval
from redundancy.paths import data_folder
from redundancy.pruning import FastV, HoliTomInner, PruneVidStage2
from redundancy.recording import open_dataset
from redundancy.sources import list_videos
from redundancy.tokens import VideoTokens
from studies.retention_curve import MEASURED, STUDY, Options

CLIPS = ("clip_000.mp4", "clip_011.mp4")  # with 8 and 7 questions
SMALL = Options(
    methods=("fastvid", "holitom", "random_tokens", "first_of_2x2"),
    retentions=(1.0, 0.25),
    seeds=2,
    frames=16,
    inside=(),
    shuffles=0,
)
CONDITIONS = {
    FULL.label,
    *("fastvid(1)", "fastvid(0.25)", "holitom(1)", "holitom(0.25)"),
    *("random_tokens(1)", "random_tokens(0.25)", "first_of_2x2"),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    bundled = data_folder() / "clips"
    records = json.loads((bundled / "clips.json").read_text())
    records["clips"] = [r for r in records["clips"] if r["file"] in CLIPS]
    (folder / "clips.json").write_text(json.dumps(records))
    for name in CLIPS:
        shutil.copy(bundled / name, folder)
    return folder


@pytest.fixture(scope="module")
def finished(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "retention_curve"
    STUDY.run(replace(SMALL, videos=(str(clips),), out=out))
    return out


@pytest.fixture(scope="module")
def rows(finished: Path) -> pd.DataFrame:
    return pd.read_parquet(finished / "rows.parquet")


def test_one_row_per_setting_draw_and_question(clips: Path, rows: pd.DataFrame):
    assert set(rows["condition"]) == CONDITIONS
    assert not rows.duplicated(["video", "condition", "seed", "question"]).any()
    questions = {source.name: source.record.questions for source in list_videos([clips]) if source.record is not None}
    assert sorted(len(q) for q in questions.values()) == [7, 8]
    for (video, condition), of_condition in rows.groupby(["video", "condition"]):
        seeds = [0, 1] if str(condition).startswith("random_tokens") else [-1]
        asked = questions[str(video)]
        expected = [(seed, i, q.skill, q.text, q.answer) for seed in seeds for i, q in enumerate(asked)]
        found = of_condition[["seed", "question", "skill", "text", "answer"]].itertuples(index=False, name=None)
        assert list(found) == expected
    assert (rows["correct"] == (rows["predicted"] == rows["answer"])).all()


def test_requested_and_achieved_are_both_there(rows: pd.DataFrame):
    requested = rows.groupby("condition")["requested"].agg(["min", "max"])
    assert (requested.loc["fastvid(0.25)"] == 0.25).all()
    assert (requested.loc[FULL.label] == 1).all()
    assert requested.loc["first_of_2x2"].isna().all()
    assert np.array_equal(rows["achieved"], rows["kept"] / 784)  # 16 frames of 49 tokens
    achieved = rows.groupby("condition")["achieved"].agg(["min", "max"])
    assert tuple(achieved.loc["random_tokens(0.25)"]) == (12 / 49, 12 / 49)
    assert tuple(achieved.loc["first_of_2x2"]) == (16 / 49, 16 / 49)  # blocks of 2 x 2 of 7 x 7
    assert achieved.loc["holitom(0.25)", "min"] < 0.2  # far from what was asked for, and said


def test_a_retention_of_1_answers_as_all_tokens(rows: pd.DataFrame):
    key = ["video", "question"]
    whole = rows[rows["condition"] == FULL.label].set_index(key)
    assert (whole["agreement"] == 1).all()
    assert (whole["kl"] == 0).all()
    for condition in ("fastvid(1)", "holitom(1)", "random_tokens(1)"):
        same = rows[rows["condition"] == condition]
        of_whole = whole.loc[pd.MultiIndex.from_frame(same[key])]
        assert (same["achieved"] == 1).all()
        assert (same["agreement"] == 1).all()
        assert same["kl"].abs().max() < 1e-5  # sums of float32 in another order
        assert list(same["predicted"]) == list(of_whole["predicted"])
        np.testing.assert_allclose(same["probability"], of_whole["probability"], atol=1e-4)
        assert same["attention_lost"].abs().max() < 1e-6
        assert same["reconstruction_error"].abs().max() < 1e-5
    fewer = rows[rows["condition"] == "holitom(0.25)"]
    assert fewer["kl"].min() > 0


def test_attention_lost_is_a_plain_sum_over_the_mean_attention_of_the_questions(rows: pd.DataFrame, clips: Path):
    model, source = rd.load_model("tiny-llava-onevision"), list_videos([clips])[0]
    assert source.record is not None
    clip, asked = source.load(model, frames=16), source.record.questions
    captures = [rd.capture(model, clip, q.text, attention_rows="last") for q in asked]
    reduction = grid(["fastvid"], [0.25])[0].outer(VideoTokens.from_capture(captures[0]))
    attention = np.mean([c["attention"].isel(query=0).values.astype(float) for c in captures], axis=0)
    attention = attention.reshape(-1, 784)  # a row for each layer
    kept = attention[..., reduction.anchor.numpy()].sum(-1) / attention.sum(-1)
    own = rows[(rows["video"] == source.name) & (rows["condition"] == "fastvid(0.25)")]
    assert len(set(own["attention_lost"])) == 1
    assert own["attention_lost"].iloc[0] == pytest.approx(1 - kept.mean(), rel=1e-5)  # float32 sums
    with VideoSession(model, clip, asked) as video:
        joint = video.attention("last")
    np.testing.assert_allclose(joint["attention"].values.reshape(attention.shape), attention, rtol=1e-5, atol=1e-9)
    assert not np.allclose(captures[0]["attention"].values.reshape(attention.shape), attention)  # questions differ
    assert set(joint.data_vars) == set(captures[0].data_vars)


def test_the_error_is_that_of_the_reduction_alone(rows: pd.DataFrame, clips: Path):
    model, source = rd.load_model("tiny-llava-onevision"), list_videos([clips])[0]
    capture = rd.capture(model, source.load(model, frames=16))
    reduction = grid(["first_of_2x2"], [0.25])[0].outer(VideoTokens.from_capture(capture))
    measured = rd.measure(capture, reduction, ["reconstruction_error", "alignment"])
    own = rows[(rows["video"] == source.name) & (rows["condition"] == "first_of_2x2")]
    assert own["reconstruction_error"].iloc[0] == pytest.approx(float(measured["reconstruction_error"]), rel=1e-6)
    assert (own["alignment_all"] == 1).all()  # nothing is merged or moved


def test_accuracy_is_the_mean_over_clips(finished: Path, rows: pd.DataFrame):
    """Question by question, draw by draw, clip by clip, in plain sums."""
    summary = open_dataset(finished / "summary.zarr").load()
    assert set(map(str, summary["condition"].values)) == CONDITIONS
    for condition in sorted(CONDITIONS):
        of_clip = []
        for video in CLIPS:
            answers = [
                row["predicted"] == row["answer"]
                for row in rows.to_dict("records")
                if (row["condition"], row["video"]) == (condition, video)
            ]
            of_clip.append(sum(answers) / len(answers))
        at = summary["value"].sel(condition=condition, measure="correct")
        assert float(at.sel(statistic="estimate")) == pytest.approx(sum(of_clip) / 2)
        expected = mean_interval(np.array(of_clip), bounds=(0, 1))
        assert at.values.tolist() == pytest.approx(list(expected))
    digits = rows[(rows["condition"] == "random_tokens(0.25)") & (rows["skill"] == "digit")]
    shown = summary["by_skill"].sel(condition="random_tokens(0.25)", skill="digit", statistic="estimate")
    assert float(shown.sel(measure="correct")) == pytest.approx(digits.groupby("video")["correct"].mean().mean())
    assert float(summary["chance"].sel(skill="digit", statistic="estimate", measure="chance")) == pytest.approx(0.1)
    absent = next(s for s in set(rows["skill"]) if len(set(rows[rows["skill"] == s]["video"])) == 1)
    assert float(summary["by_skill"].sel(measure="correct").sel(condition=FULL.label, skill=absent, statistic="n")) == 1
    assert float(summary["by_skill"].sel(measure="correct").sel(statistic="low").min()) >= 0
    assert float(summary["by_skill"].sel(measure="correct").sel(statistic="high").max()) <= 1


def test_achieved_is_the_mean_over_clips_whatever_the_number_of_questions(finished: Path, rows: pd.DataFrame):
    summary = open_dataset(finished / "summary.zarr").load()
    of_clip = rows[rows["condition"] == "holitom(0.25)"].groupby("video")["achieved"].first()
    assert len(set(of_clip)) > 1
    assert float(summary["achieved"].sel(condition="holitom(0.25)")) == pytest.approx(of_clip.mean(), abs=1e-12)
    assert np.isnan(summary["requested"].sel(condition="first_of_2x2"))


def test_cost_is_that_of_the_formulas(rows: pd.DataFrame):
    config: Any = rd.load_model("tiny-llava-onevision").family.text_model.config
    layers, D, ffn = config.num_hidden_layers, config.hidden_size, config.intermediate_size
    shared = config.num_key_value_heads * (D // config.num_attention_heads)
    n = rows["kept"].to_numpy(float)
    fastvid = layers * (2 * n * D**2 + 2 * n * D * shared + 2 * n**2 * D + 3 * n * D * ffn)
    holitom = layers * (4 * n * D**2 + 2 * n**2 * D + 2 * n * D * ffn)
    np.testing.assert_allclose(rows["flops_fastvid"], fastvid, rtol=1e-12)
    np.testing.assert_allclose(rows["flops_holitom"], holitom, rtol=1e-12)
    assert (rows[rows["condition"] == FULL.label]["kept"] == 784).all()
    cost = rows.groupby("kept")[["flops_fastvid", "flops_holitom"]].max()
    assert len(cost) > 3
    assert (cost.diff().dropna() > 0).all(axis=None)


def test_provenance_and_intervals_are_said(finished: Path):
    attrs = open_dataset(finished / "summary.zarr").attrs
    assert {"weights_sha256", "libraries", "commit", "model", "device", "interval", "attention"} <= set(attrs)
    assert (attrs["videos"], attrs["seeds"], attrs["frames"]) == (2, 2, 16)


def test_videos_without_questions_are_refused(tmp_path: Path):
    shutil.copy(data_folder() / "clips" / CLIPS[0], tmp_path / "mine.mp4")
    with pytest.raises(ValueError, match=r"mine\.mp4 comes without questions; give the bundled clips, world:N"):
        STUDY.run(replace(SMALL, videos=(str(tmp_path / "mine.mp4"),), out=tmp_path / "out"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"methods": ("fastvd",)}, "there is no method 'fastvd' .did you mean fastvid"),
        ({"retentions": (1.5,)}, "retention"),
        ({"retentions": ()}, "no retention given, expected shares"),
        ({"seeds": 0}, "seeds must be at least 1, given 0"),
        ({"frames": 0}, "frames must be at least 1, given 0"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Options(**wrong)


def test_every_measure_has_a_value_where_it_is_defined(rows: pd.DataFrame):
    reduced = rows[rows["condition"] != FULL.label]
    assert reduced[list(MEASURED)].notna().all(axis=None)
    assert rows[rows["condition"] == FULL.label][list(MEASURED)].isna().all(axis=None)


@pytest.fixture(scope="module")
def within(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Rows of what reduces inside the model, on eight frames of one clip, and how much answers need the order."""
    out = tmp_path_factory.mktemp("within")
    given = {"methods": ("random_tokens",), "retentions": (0.5,), "seeds": 2, "frames": 8, "limit": 1}
    STUDY.run(Options(**given, videos=(str(clips),), out=out))
    return pd.read_parquet(out / "rows.parquet").set_index("condition")


def test_methods_inside_the_model_are_those_that_were_published(within: pd.DataFrame, clips: Path):
    model, source = rd.load_model("tiny-llava-onevision"), list_videos([clips])[0]
    cases = {
        "fastv(0.5)": (None, FastV(layer=1, drop_rate=0.5)),
        "holitom + holitom_inner(0.5)": ("holitom(0.5)", HoliTomInner(layer=3, merge_rate=0.5)),
        "prunevid + prunevid_stage2": ("prunevid", PruneVidStage2(layer=1)),
    }
    assert set(within.index) == {"full", "random_tokens(0.5)", *cases}
    with VideoSession(model, source.load(model, frames=8), source.questions) as video:
        for condition, (method, inner) in cases.items():
            answers, own = video.answers(method, [inner]), within.loc[condition]
            assert list(own["predicted"]) == list(answers["predicted"])
            np.testing.assert_allclose(own["kl"], answers["kl"], rtol=1e-6, atol=1e-12)
            assert list(own["achieved"]) == list(answers["achieved_inside"])
            assert (own["flops_fastvid"] < within.loc["full", "flops_fastvid"].iloc[0]).all()
    assert set(within.loc["fastv(0.5)", "requested"]) == {0.5}
    assert within.loc["prunevid + prunevid_stage2", "requested"].isna().all()
    tokens = [8 * 49, 4 * 49, 4 * 49, 4 * 49]  # of four layers
    expected = fastvid_flops(tokens, DecoderShape.from_config(model.family.text_model.config))
    assert set(within.loc["fastv(0.5)", "flops_fastvid"]) == {expected}
    with pytest.raises(ValueError, match=r"inside='fastvid' given, expected some of \['holitom_inner', 'fastv'"):
        Options(inside=("fastvid",))


def test_order_sensitivity_is_that_of_the_function(within: pd.DataFrame, clips: Path):
    model, source = rd.load_model("tiny-llava-onevision"), list_videos([clips])[0]
    clip = source.load(model, frames=8)
    plain = order_sensitivity(model, clip, [q.text for q in source.questions], draws=1)
    expected = float(plain["kl"].sel(condition="shuffled").mean())
    assert within.loc["full", "order_sensitivity"].iloc[0] == pytest.approx(expected, rel=1e-5)
    drawn = within.loc["random_tokens(0.5)"].groupby("seed")["order_sensitivity"].first()
    assert drawn.notna().tolist() == [True, False]  # of the first draw alone
