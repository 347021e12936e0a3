"""Commands: errors in a line, exit statuses, help that says what every option means, near names."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from redundancy.command_line import exit_status, parsed
from redundancy.evaluation.cells import NothingMeasuredError
from redundancy.models import VideoLLM
from redundancy.video import RemoteVideoError
from studies import ask, figures
from studies.core.run import command_line
from studies.registry import STUDIES, TOOLS, one_line, study

OPTIONS: dict[str, Any] = {name: study(name).options for name in STUDIES}
OPTIONS |= {"ask": ask.Options, "figures": figures.Options}


def said_by(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, without frames and line breaks."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", "".join(capsys.readouterr())).split())


def left_with(options: Any, arguments: list[str]) -> Any:
    with pytest.raises(SystemExit) as left:
        parsed(options, arguments)
    return left.value.code


@pytest.mark.parametrize("name", list(OPTIONS))
def test_help_says_what_every_option_means(name: str, capsys: pytest.CaptureFixture[str]):
    assert left_with(OPTIONS[name], ["--help"]) == 0
    said = said_by(capsys)
    assert said.startswith("usage: ")
    assert str(OPTIONS[name].__doc__).partition("\n")[0] in said
    meanings = meanings_of(OPTIONS[name])
    for field in dataclasses.fields(OPTIONS[name]):
        assert f"--{field.name.replace('_', '-')}" in said or f"[{field.name.upper()} [" in said or name == "figures"
        assert meanings[field.name] in said, field.name


def meanings_of(options: type[Any]) -> dict[str, str]:
    """What the docstrings of a class and its bases say of each field."""
    found: dict[str, str] = {}
    for cls in reversed(options.__mro__[:-1]):
        section = inspect.cleandoc(cls.__doc__ or "").partition("Parameters\n----------\n")[2]
        for name, text in re.findall(r"^(\w+)\n((?:(?: {4}.*)?\n?)+)", section, re.MULTILINE):
            found[name] = " ".join(text.split())
    return found


def test_every_command_is_listed_with_its_question(capsys: pytest.CaptureFixture[str]):
    for name in (*STUDIES, *TOOLS):
        assert 20 < len(one_line(name)) <= 120


def test_a_reader_that_goes_away_hears_nothing():
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}  # every line is a write of its own
    command = f"{sys.executable} -m studies | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "python -m studies.ablate_segments\n"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--methods", "fastvd"], "there is no method 'fastvd' (did you mean fastvid?), expected some of fastvid, "),
        (["--methods", "fastvid:dd=3"], "but fastvid has no setting 'dd' (did you mean 'd'?)"),
        (["--methods", "fastvid", "FastVID"], "['fastvid(0.5)'] given more than once, expected every condition once"),
        (["--methods"], "no method given, expected some of ['fastvid', "),
        (["--retentions"], "no retention given, expected shares of the tokens to keep"),
        (["--retentions", "half"], "Error parsing --retentions"),
        (["--retentions", "1.5"], "retention"),
        (["--frames", "0"], "frames must be at least 1, given 0"),
        (["--limit", "0"], "limit must be at least 1, given 0"),
        (["--seeds", "0"], "seeds must be at least 1, given 0"),
        (["--metods", "fastvid"], "Perhaps you meant: --methods"),
        (["--decoder", "opencv"], "auto"),
        (["--decode-timeout", "soon"], "Error parsing --decode-timeout"),
    ],
)
def test_wrong_options_are_said_in_words(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]):
    given = arguments if "--retentions" in arguments else [*arguments, "--retentions", "0.5"]
    assert left_with(OPTIONS["position_drift"], given) == 2
    said = said_by(capsys)
    assert expected in said
    assert "Traceback" not in said


def test_wrong_options_of_other_studies(capsys: pytest.CaptureFixture[str]):
    for name, arguments, expected in (
        ("retention_curve", ["--inner", "fastvid"], "'fastvid' given, which belongs elsewhere: give it as the method"),
        ("ablate_segments", ["--segmenters", "dysegg"], "['dysegg'] given, expected each once, of ['"),
        ("redundancy_profile", ["--metrics", "spead"], "['spead'] given, expected each once, of ["),
        ("attention_lost", ["--rows", "first"], "last"),
    ):
        assert left_with(OPTIONS[name], arguments) == 2
        assert expected in said_by(capsys)


def test_a_plugin_that_is_not_there(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as left:
        command_line(study("position_drift"), ["--plugin", "mine.py"])
    assert left.value.code == 2
    assert re.fullmatch(r"ValueError: plug-in .*mine\.py given, expected a file that exists\n", capsys.readouterr().err)


@dataclass(frozen=True)
class NoOptions:
    """Nothing to choose."""


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (None, None, ""),
        (NothingMeasuredError("no video could be measured"), 3, "no video could be measured\n"),
        (ValueError("frames must be at least 1"), 2, "ValueError: frames must be at least 1\n"),
        (FileExistsError("the folder holds others"), 2, "FileExistsError: the folder holds others\n"),
        (RemoteVideoError("https://a/b.mp4"), 2, "RemoteVideoError: "),
        (KeyboardInterrupt(), 130, "\nStopped. What was computed is stored; the same command goes on from there.\n"),
    ],
)
def test_exit_status(error: BaseException | None, status: int | None, said: str, capsys: pytest.CaptureFixture[str]):
    def run() -> None:
        with exit_status():
            parsed(NoOptions, [])
            if error is not None:
                raise error

    if status is None:
        run()
    else:
        with pytest.raises(SystemExit) as left:
            run()
        assert left.value.code == status
    printed = capsys.readouterr()
    assert printed.err.startswith(said)
    assert printed.err.count("\n") == said.count("\n") or said.endswith(": ")


def test_faults_of_the_program_are_not_hidden():
    with pytest.raises(RuntimeError), exit_status():
        raise RuntimeError("a hook did not fire")


@pytest.mark.usefixtures("opened")
def test_videos_that_fail_give_status_3(
    tiny: VideoLLM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("redundancy.load_model", lambda name: tiny, raising=False)
    (tmp_path / "a.mp4").write_text("no video")
    given = ["--methods", "uniform_tokens", "average_pool", "--retentions", "0.5", "--frames", "4"]
    some = [*given, "--videos", "world:1?frames=8", "a.mp4"]
    for arguments, error in ((some, ""), ([*given, "--videos", "a.mp4"], "no video could be measured: a.mp4: NotAVid")):
        with pytest.raises(SystemExit) as left:
            command_line(study("method_agreement"), arguments)
        assert left.value.code == 3
        printed = capsys.readouterr()
        assert error in printed.err
        if not error:
            assert "a.mp4: NotAVideoError: " in printed.out
            assert "Rows, summary and figures: results/method_agreement" in printed.out  # where nothing else is said


def test_figures_without_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ValueError, match="holds no results of efficiency; run a study first"):
        figures.main(figures.Options(studies=("efficiency",), results=tmp_path))
    assert "run python -m studies.efficiency" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"there is no study 'efficency' \(did you mean efficiency\?\)"):
        figures.main(figures.Options(studies=("efficency",), results=tmp_path))
