"""The README's code runs, and its tables are those of the registries."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from redundancy._moved import MOVED
from redundancy.command_line import parsed
from redundancy.pruning import METHODS
from studies.registry import STUDIES, TOOLS, study
from tools.readme import README, with_tables

CONTRIBUTING = README.parent / "CONTRIBUTING.md"


def test_tables_are_up_to_date():
    text = README.read_text()
    assert with_tables(text) == text, "run python -m tools.readme"


def test_code_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The blocks in their order, as one reader types them."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 2
    assert max(len(code.strip().splitlines()) for code in blocks) <= 12
    (tmp_path / "data").symlink_to(README.parent / "data")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for code in blocks:
        exec(compile(code, "README.md", "exec"), names)
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first in {"one", "two", "three", "four"}
    assert last.startswith("random_tokens(0.1)")


COMMANDS = sorted(set(re.findall(r"python -m studies\.([a-z]\w*)((?: [^`\n]*)?)", README.read_text())))


@pytest.mark.parametrize(("name", "arguments"), COMMANDS)
def test_commands_are_understood(name: str, arguments: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Every command line of a study names options and methods that there are; plug-ins are those of CONTRIBUTING."""
    for file, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", CONTRIBUTING.read_text(), re.DOTALL):
        (tmp_path / file).write_text(code)
    monkeypatch.chdir(tmp_path)
    before = dict(METHODS)
    options = study(name).options if name in STUDIES else import_module(f"studies.{name}").Options
    try:
        assert parsed(options, shlex.split(arguments, comments=True)) is not None
    finally:  # what the plug-in registered would be there in other tests
        sys.modules.pop("plugin_my_method", None)
        METHODS.clear()
        METHODS.update(before)


def test_every_study_and_option_is_named():
    text = README.read_text()
    assert {name for name, _ in COMMANDS} >= {*STUDIES, *TOOLS}
    options = {f.name for name in STUDIES for f in fields(study(name).options)}
    named = {n.replace("-", "_") for n in re.findall(r"`--([a-z-]+)", text)}
    assert named - options - {"help", "size"} == set()


def test_pictures_and_files_exist():
    text = README.read_text()
    named = re.findall(r"\]\(([^)h][^)]*)\)", text) + re.findall(r"`((?:data|notebooks|docs)/[\w./-]+)`", text)
    assert named
    assert [n for n in named if not (README.parent / n).exists()] == []


def test_the_changelog_names_every_module_that_moved():
    text = (README.parent / "CHANGELOG.md").read_text()
    assert [old for old in MOVED if f"`{old}`" not in text] == []
