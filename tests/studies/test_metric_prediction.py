"""The study of what predicts accuracy: correlations from its rows by pandas and scipy alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from redundancy.evaluation.statistics.rank_correlation import rank_correlation
from redundancy.recording import open_dataset
from studies.metric_prediction import PREDICTORS, STUDY, Options

SMALL = Options(
    methods=("fastvid", "random_tokens", "uniform_tokens", "average_pool"),
    retentions=(0.5, 0.25),
    seeds=2,
    limit=2,
    resamples=99,
    inside=(),
)
NAMES = list(PREDICTORS)


def test_the_summary_is_that_of_the_rows(tmp_path: Path) -> None:
    """From the rows with pandas and scipy alone."""
    STUDY.run(replace(SMALL, out=tmp_path / "own", rows=tmp_path / "curve"))
    rows = pd.read_parquet(tmp_path / "own" / "rows.parquet")
    summary = open_dataset(tmp_path / "own" / "summary.zarr").load()

    def estimate(measure: str, level: str) -> float:
        at = {"measure": measure, "level": level, "skill": "all", "statistic": "estimate"}
        return float(summary["correlation"].sel(at))

    rows = rows[rows["condition"] != "full"]
    clips = rows.groupby(["condition", "video"])[["correct", *NAMES]].mean().groupby("condition").mean().round(12)
    assert len(clips) == 7
    for name in NAMES:
        if len(set(clips[name])) > 1:
            expected = spearmanr(clips[name], clips["correct"]).statistic
            assert estimate(name, "all settings") == pytest.approx(expected, abs=1e-9)
    at = [clips.loc[[f"{m}({r})" for m in SMALL.methods[:3]]] for r in (0.5, 0.25)]
    each = [rank_correlation(t["attention_lost"].to_numpy(), t["correct"].to_numpy()) for t in at]
    assert estimate("attention_lost", "equal retention") == pytest.approx(np.nanmean(each))
    assert list(map(str, summary["measure"].values)) == NAMES
    assert set(map(str, summary["skill"].values)) == {"all", *rows["skill"]}
    assert summary.attrs["study"] == "metric_prediction"
    assert "99 resamples" in summary.attrs["interval"]


def test_resamples_must_be_positive() -> None:
    with pytest.raises(ValueError, match="resamples must be at least 1, given 0"):
        Options(resamples=0)
