"""Training lowers the loss, survives a kill, and ends in a folder that plain transformers loads."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from redundancy.models import load_model
from redundancy.training.__main__ import main
from redundancy.training.card import main as write_again
from redundancy.training.export import TRAINING, export
from redundancy.training.fit import Loss, Report, Schedule, fit, read_history
from redundancy.training.held_out import answer_held_out, as_dataset, chance_beaten, held_out_videos
from redundancy.training.recipe import Recipe, recipe_of
from redundancy.training.run import Trained, train
from redundancy.training.small_models import FAMILIES, SIZES
from redundancy.world.clip import WorldVideo

BRIEF = Schedule(1, batch=2, rate=1e-2, other_rate=1e-3, warmup=1, decay=0.01)
SHORT = Schedule(4, batch=4, rate=1e-2, other_rate=1e-3, warmup=2, decay=0.01)


def short(family: str = "qwen2_5_vl", **changes: Any) -> Recipe:
    given = Recipe(
        family=family, size="nano", videos=6, tower=SHORT, language=SHORT, questions=4, drop=0.7, few_until=0.0, seed=3
    )
    return replace(given, **changes)


def state_of(trained: Trained) -> dict[str, torch.Tensor]:
    return dict(trained.model.state_dict())


def silent(line: str) -> None:
    """Progress that nobody reads."""


class Killed(BaseException):
    """What a kill looks like from inside."""


def test_a_minute_of_training_lowers_the_loss_and_exports(tmp_path: Path):
    """With the command that trains the bundled models, and small batches."""
    arguments = "--family llava_onevision --videos 24 --tower-steps 16 --language-steps 16 --log-every 4"
    arguments += " --tower-batch 24 --language-batch 4 --held-out 1 --compared 1"
    arguments += f" --run {tmp_path / 'run'} --out {tmp_path / 'models'}"
    main(arguments.split())
    history = pd.DataFrame(read_history(tmp_path / "run"))
    for stage, share in (("tower", 0.7), ("language", 0.85)):
        losses = history.loc[history["stage"] == stage, "loss"].tolist()
        assert losses[-1] < share * losses[0], stage
    folder = tmp_path / "models" / "tiny-llava-onevision"
    card = (folder / "README.md").read_text()
    skills = ("shape", "direction", "color", "digit", "when", "where", "count", "first", "mean")
    assert all(f"| {skill} | 0." in card for skill in skills)
    assert all((folder / "figures" / f"{name}.png").stat().st_size > 10_000 for name in ("learning_curve",))
    assert (folder / "figures" / "accuracy_over_retention.png").is_file()
    tables = json.loads((folder / "held_out.json").read_text())
    assert {row["share"] for row in tables["random"]} == {1.0, 0.5, 0.25, 0.1, 0.05}
    assert (folder / "siglip" / "config.json").is_file()
    loaded = load_model(folder, device="cpu")
    assert loaded.pooling_head is not None
    (folder / "README.md").unlink()
    write_again([str(folder)])
    assert (folder / "README.md").read_text() == card


@pytest.mark.parametrize("family", list(FAMILIES))
def test_the_export_loads_with_plain_transformers(family: str, tmp_path: Path):
    recipe = short(family, tower=BRIEF, language=BRIEF, videos=2)
    trained = train(recipe, tmp_path / "run", say=silent)
    before = {name: value.clone() for name, value in state_of(trained).items()}
    folder = export(trained, tmp_path)
    assert folder.name == FAMILIES[family]
    assert all(torch.equal(value, before[name]) for name, value in state_of(trained).items())
    told = json.loads((folder / TRAINING).read_text())
    assert Recipe.from_dict(told["recipe"]) == recipe
    assert told["made_with"]["torch"] == torch.__version__
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    processor = AutoProcessor.from_pretrained(folder)
    loaded = model.state_dict()
    assert set(loaded) == set(before)
    for name, value in before.items():
        torch.testing.assert_close(loaded[name], value.half().float(), atol=0, rtol=0)
    messages = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "how many scenes ?"}]}]
    text = processor.apply_chat_template(messages, add_generation_prompt=True)
    clip = held_out_videos(SIZES["nano"], 1)[0].load()
    frames = torch.from_numpy(clip.frames).permute(0, 3, 1, 2)
    inputs = processor(text=[text], videos=[frames], do_sample_frames=False, return_tensors="pt")
    inputs.pop("video_metadata", None)
    ids = model.generate(**inputs, max_new_tokens=1, do_sample=False)
    assert ids.shape[1] == inputs["input_ids"].shape[1] + 1
    assert (folder / "model.safetensors").stat().st_size < 7e6


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("whole")
    train(short(), folder, log_every=1, say=silent)
    return folder


@pytest.mark.parametrize("stage", ["tower", "language"])
def test_a_killed_run_goes_on_to_the_same_weights(stage: str, whole: Path, tmp_path: Path):
    def killing(line: str) -> None:
        if line.startswith(f"{stage} 3/4"):
            raise Killed

    with pytest.raises(Killed):
        train(short(), tmp_path / "killed", log_every=1, save_every=0, say=killing)
    lines: list[str] = []
    resumed = train(short(), tmp_path / "killed", log_every=1, say=lines.append)
    assert any(line.startswith(f"{stage}: going on from step 2 of 4") for line in lines)
    for name, value in state_of(train(short(), whole, say=silent)).items():
        assert torch.equal(value, state_of(resumed)[name]), name
    histories = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in read_history(run)]
        for run in (whole, tmp_path / "killed")
    ]
    assert json.dumps(histories[0]) == json.dumps(histories[1])


def test_a_finished_run_is_only_read(whole: Path):
    lines: list[str] = []
    again = train(short(), whole, say=lines.append)
    stored = torch.load(whole / "language.pt", weights_only=True)
    assert stored
    assert not any("videos" in line for line in lines)
    once_more = state_of(train(short(), whole, say=silent))
    assert all(torch.equal(v, once_more[k]) for k, v in state_of(again).items())


def test_a_seed_is_a_run(whole: Path, tmp_path: Path):
    """The user's own random numbers are left alone."""
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    other = train(short(seed=2), tmp_path, say=silent)
    assert torch.equal(torch.rand(3), expected)
    one = state_of(train(short(), whole, say=silent))
    assert any(not torch.equal(v, state_of(other)[k]) for k, v in one.items())


def test_a_folder_of_another_recipe_is_refused(whole: Path):
    with pytest.raises(ValueError, match="holds a run of another recipe"):
        train(short(questions=5), whole, say=silent)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path):
    wild = replace(SHORT, rate=1e30, other_rate=1e30, steps=6)
    with pytest.raises(FloatingPointError, match="tower: the loss up to step"):
        train(short(tower=wild), tmp_path, log_every=1, say=silent)


def test_one_loss_that_is_not_finite_is_enough(tmp_path: Path):
    """The weights are lost from there on, so a mean that leaves it out would save them."""
    losses = iter([1.0, 1.0, 1.0, math.nan])
    weight, bias = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))
    module = torch.nn.ParameterList([weight, bias])

    def loss(generator: torch.Generator, progress: float) -> Loss:
        return (weight.sum() + bias.sum()) * next(losses), {}

    with pytest.raises(FloatingPointError, match="tower: the loss up to step 4 is nan"):
        fit(
            "tower",
            loss,
            module,
            parameters={"weight": weight, "bias": bias},
            schedule=SHORT,
            report=Report(tmp_path, 4, 0.0, silent),
            seed=0,
            precision=nullcontext,
        )
    assert not (tmp_path / "tower.pt").exists()


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--family", "qwen3_vl", "--videos", "0"])
    assert "videos=0 given, expected at least 1" in capsys.readouterr().err


def test_schedules_rise_and_fall():
    schedule = recipe_of("qwen3_vl", "nano", tower_steps=100).tower
    factors = [schedule.factor(step) for step in range(100)]
    top = max(range(100), key=factors.__getitem__)
    assert factors[:top] == sorted(factors[:top])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert factors[0] == pytest.approx(1 / schedule.warmup, rel=0.01)
    assert 0.03 <= factors[-1] < 0.04


def test_held_out_answers_come_with_their_controls():
    model = load_model("tiny-llava-onevision", device="cpu")
    answers = answer_held_out(model, SIZES["small"], videos=6, compared=3, say=silent)
    random, methods = answers.random, answers.methods
    assert random.groupby("share")["skill"].nunique().eq(9).all()
    whole = random[random["share"] == 1].set_index("skill")
    skills = whole.drop("mean")
    assert whole.loc["mean", "accuracy"] == pytest.approx(skills["accuracy"].mean())
    assert (random["low"] <= random["accuracy"] + 1e-12).all()
    assert (random["accuracy"] <= random["high"] + 1e-12).all()
    assert set(methods["kind"]) == {"full", "method", "control"}
    assert len(methods) == 1 + 6 * 4
    assert (methods["achieved"] <= 1).all()
    assert methods["videos"].eq(3).all()
    beaten = chance_beaten(random, 1.0)
    assert beaten == [s for s in skills.index if skills.loc[s, "low"] > skills.loc[s, "chance"]]
    assert "count" in beaten
    drawn = as_dataset(answers)
    assert drawn.sizes == {"condition": 25, "statistic": 3, "share": 5, "skill": 8}
    assert float(drawn["random"].sel(skill="count").isel(share=-1, statistic=0)) == whole.loc["count", "accuracy"]


def test_held_out_videos_are_none_of_the_bundled_clips():
    videos = held_out_videos(SIZES["small"], 3)
    assert [v.world for v in videos] == [WorldVideo(2_000_000 + i) for i in range(3)]


def test_more_videos_to_compare_than_there_are_is_refused():
    model = load_model("tiny-llava-onevision", device="cpu")
    with pytest.raises(ValueError, match=r"compared=5 given, expected a number in \[1, 4\]"):
        answer_held_out(model, SIZES["small"], videos=4, compared=5)
