"""The warm Python that other tests start programs with behaves as Python does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.warm_python import python

SHOW = "import os, sys; print(sys.argv[1:], os.getcwd(), os.environ['SHOWN'], sys.path[:2], __name__)"


def both(folder: Path, *arguments: str, text: str = "", **environment: str) -> list[subprocess.CompletedProcess[str]]:
    known = os.environ | {"SHOWN": "x", "PYTHONPATH": str(folder / "more"), **environment}
    known.pop("PYTHONSAFEPATH", None)
    return [
        subprocess.run(command, cwd=folder, env=known, input=text, capture_output=True, text=True, check=False)
        for command in (python(*arguments), [sys.executable, *arguments])
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", SHOW, "a", "b c"),
        ("-m", "shown", "a"),
        ("shown.py", "a"),
        ("sub/shown.py",),
        ("-c", "import sys; print(sys.stdin.read()); print('told', file=sys.stderr); sys.exit(7)"),
        ("-c", "import sys; sys.exit('a reason')"),
        ("-c", "import atexit; atexit.register(print, 'last'); print('first', end='')"),
        ("-c", "import os; os._exit(9)"),
        ("-c", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"),
    ],
)
def test_it_is_as_a_python_that_was_just_started(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for file in ("shown.py", "sub/shown.py"):
        (tmp_path / file).write_text(f"{SHOW}\nprint(__file__, __spec__ is None)\n")
    warm, plain = both(tmp_path, *arguments, text="given")
    assert (warm.stdout, warm.returncode) == (plain.stdout, plain.returncode)
    assert warm.stderr == plain.stderr


def test_an_error_is_told_and_ends_it(tmp_path: Path) -> None:
    warm, plain = both(tmp_path, "-c", "print('before')\nraise ValueError('wrong')")
    assert (warm.stdout, warm.returncode) == (plain.stdout, plain.returncode) == ("before\n", 1)
    assert warm.stderr.startswith("Traceback (most recent call last):")
    assert warm.stderr.splitlines()[-1] == plain.stderr.splitlines()[-1] == "ValueError: wrong"


def test_packages_of_others_are_there_and_none_of_ours(tmp_path: Path) -> None:
    ours = "[m for m in sys.modules if m.split('.')[0] in ('redundancy', 'studies', 'tests')]"
    code = f"import sys; print('torch' in sys.modules, {ours})"
    warm, plain = both(tmp_path, "-c", code)
    assert warm.stdout == "True []\n"
    assert plain.stdout == "False []\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signals_reach_the_program(number: signal.Signals, tmp_path: Path) -> None:
    code = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    process = subprocess.Popen(python("-c", code))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.01)
    program = int((tmp_path / "pid").read_text())
    process.send_signal(number)
    assert process.wait(timeout=20) == -number
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.kill(program, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    raise AssertionError(f"{program} still runs")
