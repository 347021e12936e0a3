"""`benchmarks.gpu` on a CPU: its sections run without what a rented machine lacks, and a difference is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from benchmarks.gpu.correct import DifferenceError, close, counted, noted, same
from benchmarks.gpu.report import Report
from redundancy.pruning import RandomTokens
from redundancy.tokens import VideoTokens
from tests import golden
from tests.conftest import ROOT

ABSENT = ("decord", "av", "matplotlib", "seaborn", "tyro", "zarr", "beartype")
BLOCK = f"""import sys, importlib.abc
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
"""


def test_one_family_is_compared_without_what_a_rented_machine_lacks(tmp_path: Path):
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    out = tmp_path / "gpu.json"
    given = ["--device", "cpu", "--size", "small", "--out", str(out), "--only", "goldens", "families"]
    subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *given],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        check=True,
        capture_output=True,
    )
    sections = json.loads(out.read_text())["sections"]
    assert sections["goldens"]["compared"] == 76
    assert sections["goldens"]["differ"] == {}
    assert sections["families"]["llava_onevision"]["compared"] > 90
    assert sections["families"]["llava_onevision"]["differ"] == {}


def test_a_difference_is_told():
    tokens = VideoTokens.from_features(torch.randn(3, 4, 8), rows=2, cols=2)
    decided = RandomTokens(retention=0.5)(tokens)
    found: dict[str, str] = {}
    other = replace(decided, anchor=decided.anchor.flip(0))
    with noted(found, "same"):
        same(decided, decided)
    with noted(found, "anchors"):
        same(decided, other)
    with noted(found, "values"):
        close(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1]), 1e-2, "values")
    with noted(found, "crash"):
        int("x")
    assert counted(found)["compared"] == 4
    assert set(counted(found)["differ"]) == {"anchors", "values", "crash"}
    with pytest.raises(DifferenceError, match="NaN at 1 places, on the CPU at 0"):
        close(torch.tensor([torch.nan]), torch.tensor([0.0]), 1e-2, "values")


def test_sections_after_the_end_are_not_reached_and_an_error_is_written(tmp_path: Path):
    def broken(*_: object) -> None:
        raise RuntimeError("no memory")

    report = Report(torch.device("cpu"), out=tmp_path / "gpu.json", size="small", seconds=60)
    report.run("first", broken)
    report.ends = 0
    report.run("second", broken)
    sections = json.loads((tmp_path / "gpu.json").read_text())["sections"]
    assert sections["first"]["error"] == "RuntimeError: no memory"
    assert sections["second"] == "not reached"
    assert report.problems == 1


def test_a_comparison_that_does_not_hold_is_a_problem(tmp_path: Path):
    report = Report(torch.device("cpu"), out=tmp_path / "gpu.json", size="small", seconds=60)
    report.run("families", lambda _, found: found.update(a=counted({"x": "ok"}), b=counted({"x": "ok", "y": "off"})))
    assert report.problems == 1


def test_functions_of_checks_run_on_the_device_last_named():
    module = ModuleType("checks")
    module.spread = spread  # type: ignore[attr-defined]
    where: list[str] = []
    spread.__module__ = "redundancy.spread"
    for device in ("meta", "cpu", "meta"):
        golden.move_functions(module, device)
        where += module.spread((torch.ones(2), {"x": torch.ones(2)}), y=torch.ones(2))
    assert where == ["meta"] * 3 + ["cpu"] * 3 + ["meta"] * 3


def spread(pair: tuple[Tensor, dict[str, Tensor]], *, y: Tensor) -> list[str]:
    """Where the tensors are that a function is given."""
    return [x.device.type for x in (pair[0], pair[1]["x"], y)]
