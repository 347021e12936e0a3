"""The whole pipeline on every family: studies, figures, question, notebook, with no branch on a model's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jupytext
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from studies import ablate_segments, ask, attention_lost

NOTEBOOK = Path(__file__).resolve().parents[2] / "notebooks" / "01_capture_and_look.py"


def test_segments_are_ablated(family_name: str, tiny_folder: Callable[[str], Path], tmp_path: Path, drawn: bool):
    options = ablate_segments.Options(
        skills=(),
        model=str(tiny_folder(family_name)),
        frames=8,
        limit=1,
        segmenters=("fixed_interval", "dyseg"),
        seeds=1,
        segments=(2,),
        thresholds=(0.9,),
        out=tmp_path,
    )
    summary = ablate_segments.STUDY.run(options)
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert rows["error"].isna().all()
    assert set(rows["video"]) == {"clip_000.mp4"}
    steps = {sum(lengths) for lengths in rows["lengths"].dropna()}
    assert len(steps) == 1
    assert steps <= {4, 8}  # temporal steps of one frame or of two
    assert np.isfinite(summary["value"].sel(measure="error_0.25", statistic="estimate")).all()
    assert (tmp_path / "ablate_segments.png").is_file() == drawn
    assert summary.attrs["architecture"] in family_name


def test_attention_lost_is_measured(family_name: str, tiny_folder: Callable[[str], Path], tmp_path: Path, drawn: bool):
    options = attention_lost.Options(
        skills=(),
        prompt="which digit runs ?",
        rows="question",
        model=str(tiny_folder(family_name)),
        frames=8,
        limit=1,
        methods=("fastvid", "visionzip", "random_tokens"),
        retentions=(0.5,),
        seeds=1,
        out=tmp_path,
    )
    summary = attention_lost.STUDY.run(options)
    rows = pd.read_parquet(tmp_path / "rows.parquet")
    assert rows["error"].isna().all()
    lost = summary["value"].sel(measure="attention_lost", statistic="estimate")
    assert lost.sel(condition=["fastvid(0.5)", "visionzip(0.5)", "random_tokens(0.5)"]).notnull().all()  # noqa: PD004
    known = lost.values[~np.isnan(lost.values)]
    assert (known >= 0).all()
    assert (known <= 1).all()
    assert (tmp_path / "attention_lost.png").is_file() == drawn
    # where the tower has no class token or pooling head another source is read, and that is said
    noted = {line.partition(":")[0] for line in summary.attrs["replaced"]}
    assert noted <= {"fastvid", "visionzip"}


def test_a_question_is_asked_with_a_method(family_name: str, tiny_folder: Callable[[str], Path]):
    options = ask.Options(model=str(tiny_folder(family_name)), method="random_tokens", retention=0.5, repeats=1)
    answers = ask.main(options)
    pruned = answers["random_tokens"]
    assert pruned.tokens_after < pruned.tokens_before == answers["all tokens"].tokens_after


def test_the_first_notebook_runs(family_name: str, tiny_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch):
    cells = [c.source for c in jupytext.read(NOTEBOOK).cells if c.cell_type == "code"]
    code = "\n".join(cells).replace('MODEL = "tiny-llava-onevision"', f"MODEL = {str(tiny_folder(family_name))!r}")
    assert str(tiny_folder(family_name)) in code
    lines = [line for line in code.splitlines() if not line.startswith("%")]
    shown: list[object] = []
    with mpl.rc_context():
        exec(compile("\n".join(lines), NOTEBOOK.name, "exec"), {"display": shown.append})
    assert shown
