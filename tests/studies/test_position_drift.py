"""The study of position drift: its variants, and its comparisons paired on the same clips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from redundancy.recording import open_dataset
from studies.position_drift import STUDY, Options

SMALL = Options(
    methods=("fastvid", "holitom", "random_tokens", "average_pool"), retentions=(0.5, 0.25), seeds=2, limit=2, frames=16
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "position_drift"
    STUDY.run(replace(SMALL, out=out))
    return out


@pytest.fixture
def summary(finished: Path) -> xr.Dataset:
    return open_dataset(finished / "summary.zarr").load()


@pytest.fixture
def rows(finished: Path) -> pd.DataFrame:
    return pd.read_parquet(finished / "rows.parquet")


def test_rows_are_complete(rows: pd.DataFrame) -> None:
    counts = rows.groupby(["condition", "video", "variant"]).size()
    assert set(counts.xs("random", level="variant").loc["fastvid(0.25)"]) == {2}
    assert set(counts.xs("own", level="variant").loc["random_tokens(0.25)"]) == {2}
    assert "anchors_alone" not in set(rows[rows["condition"] == "random_tokens(0.25)"]["variant"])
    own = rows[rows["variant"] == "own"].set_index(["condition", "video"])
    assert (own.loc["holitom(0.25)", "placement"] == "renumbered").all()
    assert own.loc["holitom(0.25)", "moved_cells"].isna().all()
    assert own.loc["fastvid(0.25)", "moved_cells"].notna().all()


def test_summary_is_the_mean_over_clips(summary: xr.Dataset, rows: pd.DataFrame) -> None:
    means = rows.groupby(["variant", "condition", "video"])[["reconstruction_error", "alignment"]].mean()
    at = {"condition": "fastvid(0.25)", "statistic": "estimate"}
    own, alone = means.loc["own", "fastvid(0.25)"], means.loc["anchors_alone", "fastvid(0.25)"]
    shown = summary["value"].sel(variant="own", measure="reconstruction_error", **at)
    assert float(shown) == pytest.approx(own["reconstruction_error"].mean())
    merging = summary["merging"].sel(measure="reconstruction_error", **at)
    assert float(merging) == pytest.approx((own - alone)["reconstruction_error"].mean())
    random = means.loc["random", "fastvid(0.25)"]["reconstruction_error"]
    against = summary["against_random"].sel(measure="reconstruction_error", **at)
    assert float(against) == pytest.approx((own["reconstruction_error"] - random).mean())
    moved = means.loc["renumbered", "fastvid(0.25)"] - means.loc["at_anchors", "fastvid(0.25)"]
    renumbering = summary["renumbering"].sel(measure="alignment", **at)
    assert float(renumbering) == pytest.approx(moved["alignment"].mean())
    assert np.isnan(summary["merging"].sel(condition="random_tokens(0.25)", statistic="estimate")).all()
    assert summary["merges"].sel(condition="average_pool")
    assert not summary["merges"].sel(condition="random_tokens(0.5)")
    assert np.isnan(summary["requested"].sel(condition="average_pool"))
    assert float(summary["achieved"].sel(condition="holitom(0.5)")) < 0.4  # far from what was requested, and said
