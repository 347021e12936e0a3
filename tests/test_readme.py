"""The README's code runs, and its tables are those of the registries."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools.readme import README, with_tables


def test_tables_are_up_to_date():
    text = README.read_text()
    assert with_tables(text) == text, "run python -m tools.readme"


def test_code_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(code.strip().splitlines()) <= 12
    for name in ("data",):
        (tmp_path / name).symlink_to(README.parent / name)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[0] in {"one", "two", "three", "four"}


def test_pictures_and_files_exist():
    text = README.read_text()
    named = re.findall(r"\]\(([^)h][^)]*)\)", text) + re.findall(r"`((?:data|notebooks|docs)/[\w./-]+)`", text)
    assert named
    assert [n for n in named if not (README.parent / n).exists()] == []
