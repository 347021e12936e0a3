"""The study of costs: pairs, ratios, and what is reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from redundancy.evaluation.tables import Table
from redundancy.models import load_model
from redundancy.pruning.methods.controls import UniformTokens
from redundancy.pruning.table import METHODS
from redundancy.recording import open_dataset
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens
from studies.efficiency import STUDY, Options

SMALL = Options(
    methods=("fastvid", "average_pool"), retentions=(0.5, 0.25), limit=1, repeats=2, new_tokens=3, frames=16
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("efficiency")
    STUDY.run(replace(SMALL, out=out))
    return out


@pytest.fixture
def summary(stored: Path) -> xr.Dataset:
    return open_dataset(stored / "summary.zarr").load()


def test_rows_are_pairs_in_turn(stored: Path):
    rows = pd.read_parquet(stored / "rows.parquet")
    labels = ["full", "fastvid(0.5)", "fastvid(0.25)", "average_pool"]
    assert sorted(zip(rows["repeat"], rows["condition"], strict=True)) == sorted(product([0, 1], labels))
    assert (rows.groupby("condition")["full_first"].sum() == 1).all()
    assert rows["error"].isna().all()
    stages = rows[["tower", "decision", "shorten", "language", "other"]].sum(axis=1)
    assert np.allclose(stages, rows["first_token"], rtol=1e-12)  # sums of the same floats
    everything = rows["read"] + rows["prepare"] + rows["first_token"] + rows["decode"]
    assert np.allclose(everything, rows["total"], rtol=1e-12)
    assert (rows["other"] > 0).all()
    assert np.allclose(rows["decode_step"], rows["decode"] / 2)  # three tokens are two steps
    assert np.allclose(rows["decode_rate"], 1e3 / rows["decode_step"])
    assert ((rows["decision"] == 0) == (rows["condition"] == "full")).all()
    assert (rows["full_decision"] == 0).all()


def test_requested_and_achieved_stand_beside_each_other(summary: xr.Dataset):
    assert summary["requested"].values[:3].tolist() == [1.0, 0.5, 0.25]
    assert np.isnan(summary["requested"].values[3])  # a fixed rate is not requested
    achieved = summary["achieved"]
    assert achieved.sel(condition="full") == 1
    assert achieved.sel(condition="average_pool") == 16 / 49  # blocks of 2 x 2
    assert achieved.sel(condition="fastvid(0.5)") == pytest.approx(0.5, abs=1 / 49)  # rounding in frames of 49 tokens
    table = STUDY.tables[0]
    assert isinstance(table, Table)
    printed = table.frame(summary)
    assert printed["requested"].tolist() == ["1", "0.5", "0.25", "fixed"]
    assert printed["achieved"].tolist()[3] == "0.327"


def test_flops_by_hand(summary: xr.Dataset):
    """4 layers of 160 channels, 480 inside; of 7 x 7 tokens 4 x 4 are kept, in 16 frames."""
    n = 16 * 16
    fastvid = 4 * (2 * n * 160**2 + 2 * n * 160 * 160 + 2 * n**2 * 160 + 3 * n * 160 * 480) / 1e9
    holitom = 4 * (4 * n * 160**2 + 2 * n**2 * 160 + 2 * n * 160 * 480) / 1e9
    pooled = summary["value"].sel(condition="average_pool", statistic="estimate")
    assert pooled.sel(measure="flops_fastvid") == fastvid
    assert pooled.sel(measure="flops_holitom") == holitom
    ratio = summary["ratio"].sel(condition="average_pool", statistic="estimate")
    assert float(ratio.sel(measure="flops_fastvid")) == pytest.approx(fastvid / 1.83042048, rel=1e-12)


def test_memory_and_provenance(summary: xr.Dataset):
    whole = summary["value"].sel(condition="full", statistic="estimate")
    pooled = summary["value"].sel(condition="average_pool", statistic="estimate")
    assert pooled.sel(measure="peak_language") < whole.sel(measure="peak_language")
    assert summary["ratio"].sel(condition="full", measure="peak", statistic="estimate") == 1
    assert np.isnan(summary["ratio"].sel(measure="decision")).all()
    assert {"machine", "date", "memory", "weights_sha256", "pairs", "videos", "left_out"} <= set(summary.attrs)
    assert summary.attrs["pairs"] == 2
    assert "torch.profiler" in summary.attrs["memory"]


@dataclass(frozen=True)
class Refusing(UniformTokens):
    def _decide(self, tokens: VideoTokens) -> Reduction:
        raise ValueError("never today")


def test_what_cannot_run_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setitem(METHODS, "refusing", replace(METHODS["uniform_tokens"], method=Refusing()))
    options = replace(SMALL, methods=("refusing", "average_pool"), retentions=(0.5,), repeats=1, out=tmp_path)
    summary = STUDY.run(options)
    assert summary["condition"].values.tolist() == ["full", "average_pool"]
    assert summary.attrs["left_out"] == ["refusing(0.5): ValueError: never today"]
    assert "Left out - refusing(0.5): ValueError: never today" in capsys.readouterr().out


def test_conditions_are_every_method_and_retention():
    conditions = Options().conditions()
    assert {c.factors["method"] for c in conditions} == {"full", *METHODS}
    assert len({c.label for c in conditions}) == len(conditions)
    for c in conditions[1:]:
        assert np.isnan(c.factors["requested"]) == (not hasattr(c.method, "retention"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"methods": ("fastvids",)}, "there is no method 'fastvids'"),
        ({"new_tokens": 1}, "new_tokens must be at least 2, given 1"),
        ({"threads": 0}, "threads must be at least 1, given 0"),
        ({"repeats": 0}, "repeats must be at least 1, given 0"),
    ],
)
def test_wrong_options_are_refused(option: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        Options(**option)  # type: ignore[arg-type]


def test_every_family(family_name: str, tiny_folder: Callable[[str], Path], tmp_path: Path, drawn: bool):
    methods = ("fastvid", "holitom", "vcast", "dycoke", "random_tokens")  # all decide on every family elsewhere
    small = replace(SMALL, methods=methods, retentions=(0.5,), frames=8, repeats=1, out=tmp_path)
    options = replace(small, model=str(tiny_folder(family_name)))
    summary = STUDY.run(options)
    head = load_model(options.model, device="cpu").pooling_head
    expected = [] if head is not None or "llava" not in family_name else ["fastvid"]  # reads the head on these families
    assert set(summary["method"].values) == {"full", *methods} - set(expected)
    assert [reason.partition("(")[0] for reason in summary.attrs["left_out"]] == expected
    assert not expected or "it needs the salience 'pooling_head'" in summary.attrs["left_out"][0]
    times = summary["value"].sel(statistic="estimate")
    assert (times.sel(measure=["tower", "language", "first_token", "decode_step"]) > 0).all()
    assert (tmp_path / "efficiency.png").is_file() == drawn
