"""The two commands say clearly what is missing on a machine without a fitting Python."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def make(target: str, python: str, venv: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", "-C", str(ROOT), f"PYTHON={python}", f"VENV={venv}", target]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("target", ["demo", "test"])
def test_python_that_is_too_old(tmp_path: Path, target: str):
    old = tmp_path / "python3.10"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.10.12 && exit 0\nexit 1\n')
    old.chmod(0o755)
    done = make(target, str(old), tmp_path / "venv")
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "Python 3.10.12" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_no_python_at_all(tmp_path: Path):
    done = make("demo", "no-such-python", tmp_path / "venv")
    assert done.returncode != 0
    assert "There is no no-such-python on this machine" in done.stderr
