"""The study of accuracy over retention: rows, means, cost, comparisons, and that a kill loses nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from studies.conditions import Condition, conditions_of
from studies.runner import write_rows

import redundancy as rd
from redundancy.evaluation.statistics.intervals import mean_interval
from redundancy.paths import data_folder
from redundancy.recording import open_dataset
from redundancy.sources import list_videos
from redundancy.tokens import VideoTokens
from studies import retention_curve
from studies.retention_curve import FEWEST, MEASURED, WHOLE, Options, attention_of_questions, separating, separations

CLIPS = ("clip_000.mp4", "clip_011.mp4")  # with 8 and 7 questions
SMALL = Options(
    methods=("fastvid", "holitom", "random_tokens", "first_of_2x2"), retentions=(1.0, 0.25), seeds=2, frames=16
)
SETTINGS = {
    WHOLE,
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
    retention_curve.main(replace(SMALL, videos=(str(clips),), out=out))
    return out


@pytest.fixture(scope="module")
def rows(finished: Path) -> pd.DataFrame:
    return pd.read_parquet(finished / "rows.parquet")


def test_one_row_per_setting_draw_and_question(clips: Path, rows: pd.DataFrame):
    assert set(rows["setting"]) == SETTINGS
    assert not rows.duplicated(["video", "setting", "seed", "question"]).any()
    questions = {source.name: source.record.questions for source in list_videos([clips]) if source.record is not None}
    assert sorted(len(q) for q in questions.values()) == [7, 8]
    for (video, setting), of_setting in rows.groupby(["video", "setting"]):
        seeds = [0, 1] if str(setting).startswith("random_tokens") else [-1]
        asked = questions[str(video)]
        expected = [(seed, i, q.skill, q.text, q.answer) for seed in seeds for i, q in enumerate(asked)]
        found = of_setting[["seed", "question", "skill", "text", "answer"]].itertuples(index=False, name=None)
        assert list(found) == expected
    assert (rows["correct"] == (rows["predicted"] == rows["answer"])).all()


def test_requested_and_achieved_are_both_there(rows: pd.DataFrame):
    requested = rows.groupby("setting")["requested"].agg(["min", "max"])
    assert (requested.loc["fastvid(0.25)"] == 0.25).all()
    assert (requested.loc[WHOLE] == 1).all()
    assert requested.loc["first_of_2x2"].isna().all()
    assert np.array_equal(rows["achieved"], rows["kept"] / 784)  # 16 frames of 49 tokens
    achieved = rows.groupby("setting")["achieved"].agg(["min", "max"])
    assert tuple(achieved.loc["random_tokens(0.25)"]) == (12 / 49, 12 / 49)
    assert tuple(achieved.loc["first_of_2x2"]) == (16 / 49, 16 / 49)  # blocks of 2 x 2 of 7 x 7
    assert achieved.loc["holitom(0.25)", "min"] < 0.2  # far from what was asked for, and said


def test_a_retention_of_1_answers_as_all_tokens(rows: pd.DataFrame):
    key = ["video", "question"]
    whole = rows[rows["setting"] == WHOLE].set_index(key)
    assert (whole["agreement"] == 1).all()
    assert (whole["kl"] == 0).all()
    for setting in ("fastvid(1)", "holitom(1)", "random_tokens(1)"):
        same = rows[rows["setting"] == setting]
        of_whole = whole.loc[pd.MultiIndex.from_frame(same[key])]
        assert (same["achieved"] == 1).all()
        assert (same["agreement"] == 1).all()
        assert same["kl"].abs().max() < 1e-5  # sums of float32 in another order
        assert list(same["predicted"]) == list(of_whole["predicted"])
        np.testing.assert_allclose(same["probability"], of_whole["probability"], atol=1e-4)
        assert same["attention_lost"].abs().max() < 1e-6
        assert same["reconstruction_error"].abs().max() < 1e-5
    fewer = rows[rows["setting"] == "holitom(0.25)"]
    assert fewer["kl"].min() > 0


def test_attention_lost_is_a_plain_sum_over_the_mean_attention_of_the_questions(rows: pd.DataFrame, clips: Path):
    model, source = rd.load_model("tiny-llava-onevision"), list_videos([clips])[0]
    assert source.record is not None
    clip, asked = source.load(model, frames=16), source.record.questions
    captures = [rd.capture(model, clip, q.text, attention_rows="last") for q in asked]
    reduction = conditions_of(["fastvid"], [0.25])[0].method(VideoTokens.from_capture(captures[0]))
    attention = np.mean([c["attention"].isel(query=0).values.astype(float) for c in captures], axis=0)
    attention = attention.reshape(-1, 784)  # a row for each layer
    kept = attention[..., reduction.anchor.numpy()].sum(-1) / attention.sum(-1)
    own = rows[(rows["video"] == source.name) & (rows["setting"] == "fastvid(0.25)")]
    assert len(set(own["attention_lost"])) == 1
    assert own["attention_lost"].iloc[0] == pytest.approx(1 - kept.mean(), rel=1e-5)  # float32 sums
    joint = attention_of_questions(model, clip, asked)
    np.testing.assert_allclose(joint["attention"].values.reshape(attention.shape), attention, rtol=1e-5, atol=1e-9)
    assert not np.allclose(captures[0]["attention"].values.reshape(attention.shape), attention)  # questions differ
    assert set(joint.data_vars) == set(captures[0].data_vars)


def test_the_error_is_that_of_the_reduction_alone(rows: pd.DataFrame, clips: Path):
    model, source = rd.load_model("tiny-llava-onevision"), list_videos([clips])[0]
    capture = rd.capture(model, source.load(model, frames=16))
    reduction = conditions_of(["first_of_2x2"], [0.25])[0].method(VideoTokens.from_capture(capture))
    measured = rd.measure(capture, reduction, ["reconstruction_error", "alignment"])
    own = rows[(rows["video"] == source.name) & (rows["setting"] == "first_of_2x2")]
    assert own["reconstruction_error"].iloc[0] == pytest.approx(float(measured["reconstruction_error"]), rel=1e-6)
    assert (own["alignment_all"] == 1).all()  # nothing is merged or moved


def test_accuracy_is_the_mean_over_clips(finished: Path, rows: pd.DataFrame):
    """Question by question, draw by draw, clip by clip, in plain sums."""
    summary = open_dataset(finished / "summary.zarr").load()
    assert set(map(str, summary["setting"].values)) == SETTINGS
    for setting in sorted(SETTINGS):
        of_clip = []
        for video in CLIPS:
            answers = [
                row["predicted"] == row["answer"]
                for row in rows.to_dict("records")
                if (row["setting"], row["video"]) == (setting, video)
            ]
            of_clip.append(sum(answers) / len(answers))
        at = summary["value"].sel(setting=setting, measure="correct")
        assert float(at.sel(statistic="mean")) == pytest.approx(sum(of_clip) / 2)
        expected = mean_interval(np.array(of_clip), bounds=(0, 1))
        assert at.values.tolist() == pytest.approx(list(expected))
    digits = rows[(rows["setting"] == "random_tokens(0.25)") & (rows["skill"] == "digit")]
    shown = summary["accuracy"].sel(setting="random_tokens(0.25)", skill="digit", statistic="mean")
    assert float(shown) == pytest.approx(digits.groupby("video")["correct"].mean().mean())
    assert float(summary["chance"].sel(skill="digit")) == pytest.approx(0.1)
    absent = next(s for s in set(rows["skill"]) if len(set(rows[rows["skill"] == s]["video"])) == 1)
    assert float(summary["accuracy"].sel(setting=WHOLE, skill=absent, statistic="videos")) == 1
    assert float(summary["accuracy"].sel(statistic="low").min()) >= 0
    assert float(summary["accuracy"].sel(statistic="high").max()) <= 1


def test_achieved_is_the_mean_over_clips_whatever_the_number_of_questions(finished: Path, rows: pd.DataFrame):
    summary = open_dataset(finished / "summary.zarr").load()
    of_clip = rows[rows["setting"] == "holitom(0.25)"].groupby("video")["achieved"].first()
    assert len(set(of_clip)) > 1
    assert float(summary["achieved"].sel(setting="holitom(0.25)")) == pytest.approx(of_clip.mean(), abs=1e-12)
    assert np.isnan(summary["requested"].sel(setting="first_of_2x2"))


def test_cost_is_that_of_the_formulas(rows: pd.DataFrame):
    config: Any = rd.load_model("tiny-llava-onevision").family.text_model.config
    layers, D, ffn = config.num_hidden_layers, config.hidden_size, config.intermediate_size
    shared = config.num_key_value_heads * (D // config.num_attention_heads)
    n = rows["kept"].to_numpy(float)
    fastvid = layers * (2 * n * D**2 + 2 * n * D * shared + 2 * n**2 * D + 3 * n * D * ffn)
    holitom = layers * (4 * n * D**2 + 2 * n**2 * D + 2 * n * D * ffn)
    np.testing.assert_allclose(rows["flops_fastvid"], fastvid, rtol=1e-12)
    np.testing.assert_allclose(rows["flops_holitom"], holitom, rtol=1e-12)
    assert (rows[rows["setting"] == WHOLE]["kept"] == 784).all()
    cost = rows.groupby("kept")[["flops_fastvid", "flops_holitom"]].max()
    assert len(cost) > 3
    assert (cost.diff().dropna() > 0).all(axis=None)


def test_provenance_and_intervals_are_said(finished: Path):
    attrs = open_dataset(finished / "summary.zarr").attrs
    assert {"weights_sha256", "libraries", "commit", "model", "device", "interval", "attention"} <= set(attrs)
    assert (attrs["videos"], attrs["seeds"], attrs["frames"]) == (2, 2, 16)


def test_running_again_computes_nothing(
    finished: Path, clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = (finished / "rows.parquet").read_bytes()

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(retention_curve, "measure_video", never)
    retention_curve.main(replace(SMALL, videos=(str(clips),), out=finished))
    assert (finished / "rows.parquet").read_bytes() == before
    assert "Nothing to compute" in capsys.readouterr().out


def test_a_new_method_computes_only_its_own_rows(
    finished: Path, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []
    decide = retention_curve.decisions

    def noted(condition: Condition, tokens: VideoTokens, *, seeds: int) -> Any:
        asked.append(condition.label)
        return decide(condition, tokens, seeds=seeds)

    out = tmp_path / "more"
    shutil.copytree(finished / "cells", out / "cells")
    shutil.copy(finished / "study.json", out)
    monkeypatch.setattr(retention_curve, "decisions", noted)
    methods = ("fastvid", "average_pool")
    retention_curve.main(replace(SMALL, methods=methods, videos=(str(clips),), out=out, limit=1))
    assert asked == ["average_pool"]


def test_the_figure_is_drawn_from_stored_results_alone(finished: Path, tmp_path: Path):
    shutil.copytree(finished / "summary.zarr", tmp_path / "summary.zarr")  # no rows, no cells, no model
    written = retention_curve.draw(tmp_path)
    assert {file.name for file in written} == {"retention_curve.png", "retention_curve.svg"}
    assert (tmp_path / "retention_curve.svg").read_bytes() == (finished / "retention_curve.svg").read_bytes()


def test_killed_and_resumed_the_rows_are_the_same_bytes(rows: pd.DataFrame, clips: Path, tmp_path: Path):
    """SIGKILL of the command once some clips are stored; `test_runner_kill` does it at many more moments."""
    few = replace(SMALL, methods=("fastvid", "random_tokens"), retentions=(0.25,), videos=(str(clips),), out=tmp_path)
    chosen = ["--methods", *few.methods, "--retentions", "0.25", "--seeds", "2", "--frames", "16"]
    command = [sys.executable, "-m", "studies.retention_curve", "--videos", str(clips), "--out", str(tmp_path), *chosen]
    root = data_folder().parent
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # as here: other sums, other last bits
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=root, env=one_thread, **quiet)
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end and not list(tmp_path.glob("cells/*.parquet")):
        time.sleep(0.005)
    time.sleep(np.random.default_rng(0).uniform(0, 0.2))  # into the next clip
    process.kill()
    process.wait()
    stored = {file.name: file.read_bytes() for file in tmp_path.glob("cells/*.parquet")}
    assert process.returncode == -9
    assert len(stored) == 1
    retention_curve.main(few)
    assert all((tmp_path / "cells" / name).read_bytes() == content for name, content in stored.items())
    uninterrupted = rows[rows["setting"].isin([WHOLE, "fastvid(0.25)", "random_tokens(0.25)"])]
    write_rows(uninterrupted.reset_index(drop=True), tmp_path / "uninterrupted.parquet")
    assert (tmp_path / "rows.parquet").read_bytes() == (tmp_path / "uninterrupted.parquet").read_bytes()


def test_videos_without_questions_are_refused(tmp_path: Path):
    shutil.copy(data_folder() / "clips" / CLIPS[0], tmp_path / "mine.mp4")
    with pytest.raises(ValueError, match=r"mine\.mp4 comes without questions; give the bundled clips, world:N"):
        retention_curve.main(replace(SMALL, videos=(str(tmp_path / "mine.mp4"),), out=tmp_path / "out"))


def test_no_readable_video_is_said(tmp_path: Path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no video could be measured"):
        retention_curve.main(replace(SMALL, videos=(str(broken),), out=tmp_path / "out"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"methods": ("fastvd",)}, "there is no method 'fastvd' .did you mean fastvid"),
        ({"retentions": (1.5,)}, "retention"),
        ({"retentions": ()}, "retentions"),
        ({"seeds": 0}, "seeds must be at least 1, given 0"),
        ({"frames": 0}, "frames must be at least 1, given 0"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Options(**wrong)


# separations on rows whose difference is known ---------------------------------------------------------------------


def made_up(right: dict[str, dict[str, float]], kept: dict[str, int], videos: int = 40) -> pd.DataFrame:
    """Rows in which a method answers the first `share` of the clips' questions of a skill rightly."""
    return pd.DataFrame(
        [
            {
                "setting": f"{name}(0.25)",
                "video": f"v{v:02d}",
                "question": q,
                "text": skill,
                "skill": skill,
                "seed": -1,
                "kept": kept[name],
                "correct": float(v < share * videos),
            }
            for name, skills in right.items()
            for v in range(videos)
            for q, (skill, share) in enumerate(skills.items())
        ]
    )


CONDITIONS = conditions_of(["fastvid", "holitom", "vcast"], [0.25])


def test_a_known_difference_separates_and_equal_answers_do_not():
    right = {"fastvid": {"digit": 0.75, "where": 0.5}, "holitom": {"digit": 0.25, "where": 0.5}}
    table = separations(made_up(right, {"fastvid": 64, "holitom": 64}), CONDITIONS[:2], 0.25)
    assert list(table["skill"]) == ["digit", "where", "all"]
    digit, where, both = (table.set_index("skill").loc[s] for s in ("digit", "where", "all"))
    assert (digit["first"], digit["second"], digit["difference"]) == pytest.approx((0.75, 0.25, 0.5))
    # 20 of 40 clips differ by 1: the standard error of the mean is sqrt(0.25 / 40) = 0.079
    assert (digit["low"], digit["high"]) == pytest.approx((0.5 - 1.96 * 0.079, 0.5 + 1.96 * 0.079), abs=0.03)
    assert (digit["first_only"], digit["second_only"]) == (20, 0)
    assert digit["p"] == pytest.approx(2 * 0.5**20)
    assert (where["difference"], where["low"], where["high"], where["p"]) == (0, 0, 0, 1)
    assert both["difference"] == pytest.approx(0.25)
    clear = separating(table)
    assert clear[["skill", "one", "other", "clips"]].values.tolist() == [["digit", "fastvid", "holitom", 40]]


def test_a_difference_within_chance_does_not_separate():
    table = separations(
        made_up({"fastvid": {"digit": 0.525}, "holitom": {"digit": 0.5}}, {"fastvid": 64, "holitom": 64}),
        CONDITIONS[:2],
        0.25,
    )
    one = table.set_index("skill").loc["digit"]
    assert one["difference"] == pytest.approx(0.025)
    assert one["low"] <= 0 < one["high"]  # a single clip differs
    assert not len(separating(table))


def test_the_worse_method_separates_as_well():
    table = separations(
        made_up({"fastvid": {"digit": 0.1}, "holitom": {"digit": 0.9}}, {"fastvid": 64, "holitom": 64}),
        CONDITIONS[:2],
        0.25,
    )
    assert list(separating(table)["difference"]) == pytest.approx([-0.8])


@pytest.mark.parametrize(("videos", "listed"), [(FEWEST - 1, 0), (FEWEST, 1)])
def test_a_difference_of_few_clips_is_not_listed(videos: int, listed: int):
    """Clips that have a question of the skill count, not all that are compared."""
    rows = made_up(
        {"fastvid": {"digit": 1.0, "where": 0.5}, "holitom": {"digit": 0.0, "where": 0.5}},
        {"fastvid": 64, "holitom": 64},
    )
    rows = rows[(rows["skill"] == "where") | (rows["video"] < f"v{videos:02d}")]
    table = separations(rows, CONDITIONS[:2], 0.25)
    assert table.set_index("skill").loc["digit", ["low", "high", "clips"]].tolist() == [1, 1, 40]
    assert len(separating(table)) == listed


def test_only_clips_on_which_both_keep_as_many_tokens_are_compared():
    right = {"fastvid": {"digit": 1.0}, "holitom": {"digit": 0.0}, "vcast": {"digit": 0.0}}
    rows = made_up(right, {"fastvid": 64, "holitom": 64, "vcast": 65})
    rows.loc[(rows["setting"] == "holitom(0.25)") & (rows["video"] >= "v10"), "kept"] = 30
    table = separations(rows, CONDITIONS, 0.25)
    assert set(zip(table["one"], table["other"], strict=True)) == {("fastvid", "holitom")}
    assert set(table["clips"]) == {10}
    assert set(table["videos"]) == {10}
    nothing = separations(rows[rows["setting"] != "holitom(0.25)"], [CONDITIONS[0], CONDITIONS[2]], 0.25)
    assert nothing.empty
    assert separating(nothing).empty
    assert separations(rows, CONDITIONS, 0.5).empty  # nobody was asked for that


def test_draws_of_a_control_are_averaged_before_they_are_compared():
    rows = made_up({"fastvid": {"digit": 1.0}, "holitom": {"digit": 1.0}}, {"fastvid": 64, "holitom": 64}, videos=8)
    other = rows[rows["setting"] == "holitom(0.25)"]
    drawn = [other.assign(seed=0), other.assign(seed=1, correct=0.0)]
    table = separations(pd.concat([rows[rows["setting"] == "fastvid(0.25)"], *drawn]), CONDITIONS[:2], 0.25)
    digit = table.set_index("skill").loc["digit"]
    assert (digit["first"], digit["second"], digit["difference"]) == (1, 0.5, 0.5)
    assert np.isnan(digit["p"])  # right in one draw and wrong in the other is no count


def test_a_draw_that_keeps_another_number_is_not_compared():
    rows = made_up({"fastvid": {"digit": 1.0}, "holitom": {"digit": 0.0}}, {"fastvid": 64, "holitom": 64}, videos=4)
    other = rows[rows["setting"] == "holitom(0.25)"]
    drawn = [other.assign(seed=0), other.assign(seed=1, kept=66)]
    assert separations(pd.concat([rows[rows["setting"] == "fastvid(0.25)"], *drawn]), CONDITIONS[:2], 0.25).empty


def test_every_measure_has_a_value_where_it_is_defined(rows: pd.DataFrame):
    reduced = rows[rows["setting"] != WHOLE]
    assert reduced[list(MEASURED)].notna().all(axis=None)
    assert rows[rows["setting"] == WHOLE][list(MEASURED)].isna().all(axis=None)
