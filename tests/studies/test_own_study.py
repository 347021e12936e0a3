"""A study in a user's own folder, with own method, merger, segmenter and metric: by Python and by command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from redundancy.models import VideoLLM
from redundancy.plugins import load_plugin
from studies.registry import study
from tests.warm_python import python as warm

ROOT = Path(__file__).resolve().parents[2]
MINE = '''
"""Do thirds of the tokens turn as often as a random third?"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from redundancy.evaluation.conditions import grid
from redundancy.metrics.registry import metric
from redundancy.plot import compose
from redundancy.pruning import Method, register
from redundancy.pruning.parts.merge import ClusterWeights, Drop, Merger
from redundancy.pruning.parts.segment import Segmenter
from studies.core.panels import over_retention, panel
from redundancy.evaluation.tables import Column, Table
from studies.core.study import MethodOptions, Study

START = 0


@register
@dataclass(frozen=True)
class Thirds(Method):
    """Every third token."""

    step: int = 3

    def _decide(self, tokens):
        places = tokens.grid.frames * tokens.grid.tokens_per_frame
        return self._select(tokens, torch.arange(START, places, self.step))


@register
@dataclass(frozen=True)
class MineMerger(Merger):
    """Drops what is not kept."""

    def __call__(self, target, outputs):
        return Drop()(target, outputs)


@register
@dataclass(frozen=True)
class Halves(Segmenter):
    """Two segments."""

    def __call__(self, tokens):
        return torch.tensor([2, tokens.grid.frames - 2])


@metric(
    dims=("frame",),
    unit="1",
    bounds=(0, float("inf")),
    higher="longer frame features",
    known=("of ones: the root of the number of channels",),
)
def frame_norm(frame_features):
    """Length of the feature of each frame."""
    return frame_features.norm(dim=-1)


@dataclass(frozen=True, kw_only=True)
class Options(MethodOptions):
    """Measure thirds.

    Parameters
    ----------
    power
        Of the norm.
    """

    methods: tuple[str, ...] = ("thirds", "fastvid:merger=mine_merger;segmenter=halves")
    retentions: tuple[float, ...] = (0.5,)
    power: float = 1.0


def measure(video, condition, options):
    if video.source.name == os.environ.get("SLOW"):
        Path(os.environ["STARTED"]).touch()
        time.sleep(60)
    for seed, reduction, note in video.decide(condition.outer):
        found = video.measure(reduction, ["frame_norm", "reconstruction_error"])
        yield {
            "seed": seed,
            "achieved": reduction.achieved,
            "norm": float(found["frame_norm"].mean()) ** options.power,
            "rebuilt": float(found["reconstruction_error"]),
        }


def figure(summary):
    return compose(summary, {"rebuilt": panel(over_retention, "rebuilt")}, height=3)


STUDY = Study(
    name="my_study",
    options=Options,
    conditions=Options.conditions,
    measure=measure,
    depends=("power",),
    measures={"norm": "length of frame features", "rebuilt": "error of rebuilding all tokens"},
    tables=(Table({"rebuilt": Column("rebuilt")}),),
    figures={"": figure},
)

if __name__ == "__main__":
    STUDY.command_line()
'''
LABELS = ["thirds", "fastvid(0.5, segmenter=halves, merger=mine_merger)"]

pytestmark = pytest.mark.usefixtures("own_tables")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's file, alone in the folder in which the user works."""
    file = tmp_path / "my_study.py"
    file.write_text(MINE)
    monkeypatch.chdir(tmp_path)
    return file


def command(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """A command of the user, who has the package installed and works in an own folder."""
    known = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(warm(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=known)


def forget() -> None:
    """As in a new process: no plug-in is loaded."""
    for name in [n for n in sys.modules if n.startswith("plugin_") or n == "my_study"]:
        del sys.modules[name]
    sys.modules["redundancy.plugins"]._LOADED.clear()


def test_killed_on_the_command_line_it_goes_on_in_python(
    mine: Path, tiny: VideoLLM, opened: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    given = ["--frames", "8", "--limit", "2"]
    started = mine.with_name("started")
    process = command("my_study.py", *given, SLOW="clip_001.mp4", STARTED=str(started))
    end = time.monotonic() + 240
    while not started.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    out = Path("results/my_study")  # of the folder in which the user works
    assert not (out / "rows.parquet").exists()

    monkeypatch.syspath_prepend(str(mine.parent))
    own = __import__("my_study")
    options = own.Options(frames=8, limit=2)
    summary = own.STUDY.run(options, model=tiny)
    assert opened == [("clip_001.mp4", LABELS)]
    assert summary["condition"].values.tolist() == LABELS
    assert summary["value"].sel(measure="rebuilt", statistic="n").values.tolist() == [2, 2]
    assert "1 taken from stored results" in capsys.readouterr().out
    whole = own.STUDY.run(replace(options, out=Path("whole")), model=tiny)
    assert (out / "rows.parquet").read_bytes() == Path("whole/rows.parquet").read_bytes()
    assert whole.identical(summary)


def test_changed_code_is_computed_again_and_the_rest_is_taken(mine: Path, tiny: VideoLLM, opened: list[Any]):
    def run() -> pd.DataFrame:
        forget()
        opened.clear()
        own = load_plugin(mine)
        own.STUDY.run(own.Options(frames=8, limit=1, methods=("thirds", "fastvid")), model=tiny)
        return pd.read_parquet("results/my_study/rows.parquet").set_index("condition")

    first = run()
    again = run()
    assert opened == []
    mine.write_text(MINE.replace("START = 0", "START = 1"))  # what the method's code looks up
    changed = run()
    assert opened == [("clip_000.mp4", ["thirds"])]
    pd.testing.assert_frame_equal(first, again)
    pd.testing.assert_frame_equal(first.loc[["fastvid(0.5)"]], changed.loc[["fastvid(0.5)"]])
    assert first.loc["thirds", "rebuilt"] != changed.loc["thirds", "rebuilt"]
    mine.write_text(MINE.replace("** options.power", "** (2 * options.power)"))  # the study's own code: all rows
    run()
    assert opened == [("clip_000.mp4", ["thirds", "fastvid(0.5)"])]


def test_a_study_of_the_package_with_a_plugin(mine: Path, tiny: VideoLLM, opened: list[Any], monkeypatch: Any):
    given = ["--frames", "8", "--limit", "1", "--retentions", "0.5", "--seeds", "1", "--plugin", "my_study.py"]
    methods = ["--methods", "thirds:step=9", "fastvid:merger=mine_merger"]
    inner = ["--inner", "holitom_inner:layer=2;merge_rate=0.5"]
    process = command("-m", "studies.retention_curve", *given, *methods, *inner)
    printed, said = process.communicate(timeout=400)
    assert process.returncode == 0, said
    out = Path("results/retention_curve")
    inside = "holitom_inner(layer=2)"
    rows = pd.read_parquet(out / "rows.parquet")
    assert inside in printed
    assert "thirds(step=9)" in printed

    chosen: Any = study("retention_curve")
    options = chosen.options(
        plugin=("my_study.py",),
        methods=("thirds(step=9)", "fastvid(merger=mine_merger)"),
        retentions=(0.5,),
        inner=("holitom_inner(layer=2, merge_rate=0.5)",),
        seeds=1,
        frames=8,
        limit=1,
    )
    before = (out / "rows.parquet").read_bytes()
    summary = chosen.run(options, model=tiny)
    assert opened == []
    assert (out / "rows.parquet").read_bytes() == before
    assert set(summary["condition"].values) == set(rows["condition"])
    assert set(summary["inner"].values) >= {inside}


def test_a_file_changed_within_the_same_second_runs_as_it_is(tmp_path: Path):
    path = tmp_path / "changed_at_once.py"
    for value in (1, 2):
        path.write_text(f"VALUE = {value}\n")
        os.utime(path, (10**9, 10**9))
        forget()
        found = vars(load_plugin(path))
        assert found["VALUE"] == value
    assert not (tmp_path / "__pycache__").exists()
