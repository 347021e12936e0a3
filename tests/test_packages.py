"""The two wheels, as a user installs them: what is inside, and that they work from any folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.warm_python import python as warm

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"redundancy": 2e6, "redundancy_data": 40e6}  # bytes
README_LINES = ROOT.joinpath("README.md").read_text().split("```python\n")[1].split("```")[0]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both, built once."""
    folder = tmp_path_factory.mktemp("wheels")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [*build, "--wheel-dir", str(folder), str(ROOT), str(ROOT / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture(scope="module")
def installed(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with the code alone."""
    folder = tmp_path_factory.mktemp("installed")
    unpack(wheels["redundancy"], folder)
    return folder


@pytest.fixture(scope="module")
def with_data(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed packages with both."""
    folder = tmp_path_factory.mktemp("both")
    for wheel in wheels.values():
        unpack(wheel, folder)
    return folder


def unpack(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder)


def run(installed: Path, folder: Path, *arguments: str) -> str:
    """What Python prints with these packages in front of those of the checkout."""
    environment = os.environ | {"PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(warm(*arguments), cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_what_the_wheels_hold(wheels: dict[str, Path]):
    assert set(wheels) == set(SIZES)
    tops = {}
    for name, wheel in wheels.items():
        assert wheel.stat().st_size < SIZES[name]
        with zipfile.ZipFile(wheel) as file:
            tops[name] = {n.partition("/")[0] for n in file.namelist() if ".dist-info/" not in n}
            if name == "redundancy":
                files = set(file.namelist())
                points = next(file.read(n).decode() for n in files if n.endswith("entry_points.txt"))
    assert tops == {"redundancy": {"redundancy"}, "redundancy_data": {"redundancy_data"}}
    studies = {f"redundancy/studies/{p.relative_to(ROOT / 'studies')}" for p in (ROOT / "studies").rglob("*.py")}
    assert studies <= files
    assert "redundancy/py.typed" in files
    assert "redundancy = redundancy.studies.__main__:main" in points


CALLS = """
import contextlib, io, json, sys
from redundancy.studies.__main__ import main
for status, arguments in json.loads(sys.argv[1]):
    sys.argv = ["redundancy", *arguments]
    ended = 0
    with contextlib.redirect_stderr(sys.stdout):
        try:
            main()
        except SystemExit as end:
            ended = end.code or 0
    assert ended == status, (arguments, ended)
"""  # calls of the command `redundancy` with their exit status, in one process


def test_it_works_from_any_folder(with_data: Path, tmp_path: Path):
    """The README's first lines, a study and a question; nothing comes from the checkout."""
    short = ("--limit", "1", "--frames", "8", "--methods", "fastvid", "--retentions", "0.5", "--format", "csv")
    calls = [
        (0, ("study", "position_drift", *short)),
        (0, ("ask", "--frames", "8", "--repeats", "1")),
        (0, ()),
        (2, ("study", "retention_curv")),
    ]
    code = f"{README_LINES}\nprint(rd.__file__)\nfrom redundancy.provenance import commit\nprint(commit())\n{CALLS}"
    said = run(with_data, tmp_path, "-c", code, json.dumps(calls))
    assert str(with_data) in said
    assert "\nredundancy 0.1.0\n" in said
    assert "1 measured, 0 failed" in said
    assert "Again: redundancy study position_drift --frames 8" in said
    assert list((tmp_path / "results" / "position_drift").glob("*.csv"))
    assert "first token" in said  # of the question
    assert "redundancy study retention_curve\n" in said
    assert "redundancy ask\n" in said
    assert "did you mean retention_curve?" in said


def test_without_the_data_it_says_what_to_install(installed: Path, tmp_path: Path):
    code = "import redundancy as rd\n"
    for call in ("rd.load_model('tiny-llava-onevision')", "rd.load_video('bundled:clip_000.mp4')"):
        code += f"try: {call}\nexcept OSError as error: print(error)\n"
    said = run(installed, tmp_path, "-c", code + CALLS, json.dumps([(2, ("ask",))]))
    assert said.count("pip install redundancy-data") == 3


def test_no_address_is_invented():
    """One setting names the repository; where it is empty nothing else names one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    address = project["tool"]["redundancy"]["repository"]
    assert project["project"].get("urls", {}) == ({"Repository": address} if address else {})
    texts = [ROOT / name for name in ("README.md", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md")]
    texts += [p for p in (ROOT / ".github").rglob("*") if p.is_file()]
    for file in texts:
        named = [w for w in file.read_text().split() if "github.com/" in w or "gitlab.com/" in w]
        assert all(address and address in word for word in named), f"{file.name} names {named}"
