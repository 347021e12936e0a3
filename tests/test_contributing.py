"""The blocks of CONTRIBUTING - a method, a metric, a study - run as they stand, from a folder of a user's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from redundancy.recording import open_dataset
from tests.warm_python import python as warm

ROOT = Path(__file__).resolve().parents[1]
BLOCKS = {
    name: f"# {name}.py\n{code}"
    for name, code in re.findall(
        r"```python\n# (\w+)\.py\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), flags=re.DOTALL
    )
}
METHODS = ("fastvid", "most_changed", "most_changed:first=5")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the blocks as files, where the study ran once from the command line."""
    path = tmp_path_factory.mktemp("own")
    for name, code in BLOCKS.items():
        (path / f"{name}.py").write_text(code)
    (path / "data").symlink_to(ROOT / "data")
    return path


def python(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(warm(*arguments), cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_blocks_are_a_method_a_metric_and_a_study():
    assert set(BLOCKS) == {"my_method", "my_metric", "my_study"}
    assert len(BLOCKS["my_study"].splitlines()) < 60


def test_the_study_runs_with_the_method(folder: Path):
    short = ("--limit", "1", "--frames", "8", "--seeds", "1")
    run = ("my_study.py", *short, "--plugin", "my_method.py", "--methods", *METHODS)
    assert "1 measured, 0 failed" in python(folder, *run)
    results = folder / "results" / "my_study"
    rows = pd.read_parquet(results / "rows.parquet")
    mergers = ("", ", merger=drop", ", merger=cluster_mean")  # that of the default is not named
    merged = {f"fastvid({r}{merger})" for r in ("0.25", "0.1") for merger in mergers}
    own = {f"most_changed({r}{first})" for r in ("0.25", "0.1") for first in ("", ", first=5")}
    assert set(rows["condition"]) == merged | own
    assert rows[["correct", "kl", "reconstruction_error"]].notna().all(axis=None)
    summary = open_dataset(results / "summary.zarr")
    assert summary["value"].dims == ("condition", "measure", "statistic")
    assert (results / "my_study.png").stat().st_size > 0


def test_the_metric_is_measured(folder: Path):
    code = (
        "import json, torch, redundancy as rd; from redundancy.plugins import load_plugin; load_plugin('my_metric.py');"
        "x = torch.eye(4)[[0, 0, 1]][:, None].expand(3, 2, 4);"
        "m = rd.measure(rd.VideoTokens.from_features(x, rows=1, cols=2), metrics=['changed_places']);"
        "print(json.dumps(m['changed_places'].values.tolist()))"
    )
    assert json.loads(python(folder, "-c", code)) == [0.0, 1.0]


def test_the_table_names_what_exists():
    """Every path and table that CONTRIBUTING names is there."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = {n for n in re.findall(r"`((?:redundancy|pruning|models|studies|tests)/[\w./]+)", text) if "<" not in n}
    assert named
    assert [n for n in sorted(named) if not ((ROOT / n).exists() or (ROOT / "redundancy" / n).exists())] == []
