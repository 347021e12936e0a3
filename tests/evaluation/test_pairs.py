"""Answers timed in pairs: rows by hand, and one clip on the tiny model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import pytest

import redundancy as rd
from redundancy.evaluation.cells import NothingMeasuredError
from redundancy.evaluation.cost.pairs import (
    QUANTITIES,
    PairedAnswers,
    machine,
    summarise_pairs,
    time_pairs,
)
from redundancy.evaluation.failures import with_failures
from redundancy.pruning import VisionZip
from redundancy.pruning.methods.controls import UniformTokens
from redundancy.reduction import Reduction
from redundancy.sources import list_videos
from redundancy.tokens import VideoTokens

NAMES = [m.name for m in QUANTITIES]


@dataclass(frozen=True)
class Case:
    label: str
    method: Any = None
    factors: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Refusing(UniformTokens):
    def _decide(self, tokens: VideoTokens) -> Reduction:
        raise ValueError("never today")


def rows_of(own: list[float], full: list[float]) -> pd.DataFrame:
    """Pairs in which every quantity has the same value."""
    base = {"video": "v", "condition": "m", "method": "m", "method_kind": "method", "requested": 0.5, "achieved": 0.4}
    values = [dict.fromkeys(NAMES, a) | {f"full_{name}": b for name in NAMES} for a, b in zip(own, full, strict=True)]
    return pd.DataFrame([base | {"error": None, "error_type": None} | v for v in values])


def test_ratios_are_medians_over_pairs_not_ratios_of_medians() -> None:
    summary = summarise_pairs(rows_of([1.0, 20.0, 300.0], [10.0, 10.0, 1000.0]))
    assert summary["ratio"].dims == ("condition", "measure", "statistic")
    assert summary["statistic"].values.tolist() == ["estimate", "low", "high", "n"]
    np.testing.assert_allclose(summary["ratio"].sel(measure="total"), [[0.3, 0.2, 1.15, 3]])
    np.testing.assert_allclose(summary["value"].sel(measure="total"), [[20, 10.5, 160, 3]])
    assert np.isnan(summary["ratio"].sel(measure="decision")).all()
    assert summary["achieved"].item() == 0.4
    assert rd.table(summary, "ratio")["measure"].tolist() == NAMES


def test_clips_count_alike_in_what_is_kept() -> None:
    one = rows_of([1.0, 1.0], [1.0, 1.0])
    summary = summarise_pairs(pd.concat([one, one[:1].assign(video="w", achieved=0.2)]))
    kept = [summary[name].item() for name in ("achieved", "achieved_least", "achieved_most")]
    assert kept == [pytest.approx(0.3), 0.2, 0.4]
    assert (summary.attrs["videos"], summary.attrs["pairs"]) == (2, 3)


def test_nothing_timed_is_an_error() -> None:
    with pytest.raises(NothingMeasuredError, match="no answer could be timed: no video"):
        summarise_pairs(pd.DataFrame([{"video": "v", "error": "no video", "error_type": "ValueError"}]))


def test_one_clip_on_the_tiny_model() -> None:
    model, source = rd.load_model("tiny-llava-onevision"), list_videos(limit=1)[0]
    conditions = [
        Case("full", factors={"method": "full"}),
        Case("uniform", UniformTokens(retention=0.25), {"method": "uniform_tokens", "requested": 0.25}),
        Case("refusing", Refusing(retention=0.5)),
    ]
    answers = PairedAnswers(model, source, prompt="how many scenes ?", frames=8, new_tokens=3)
    rows = with_failures(pd.DataFrame(time_pairs(answers, conditions, repeats=2)))
    timed = rows[rows["error"].isna()]
    assert timed["condition"].tolist() == ["full", "uniform"] * 2
    assert timed["full_first"].tolist() == [True, False, False, True]
    assert (timed[NAMES] >= 0).all(axis=None)
    summary = summarise_pairs(rows)
    assert summary.attrs["left_out"] == ["refusing: ValueError: never today"]
    assert summary["method"].values.tolist() == ["full", "uniform_tokens"]
    flops = summary["ratio"].sel(measure="flops_fastvid", statistic="estimate").values
    assert flops[0] == 1
    assert 0.1 < flops[1] < 0.5
    assert "torch threads" in machine(model)["machine"]


def test_salience_that_the_model_lacks_is_told() -> None:
    model, source = rd.load_model("tiny-llava-onevision"), list_videos(limit=1)[0]
    answers = PairedAnswers(model, source, prompt="how many scenes ?", frames=2, new_tokens=2)
    with pytest.raises(ValueError, match="it needs the salience 'absent', the model gives"):
        answers.warm_up(Case("x", Needy()))
    with pytest.raises(ValueError, match="'x' given first, expected the full model"):
        time_pairs(answers, [Case("x", VisionZip(retention=0.5))])


class Needy:
    """A method that reads what no model gives."""

    def needs(self, layout: object) -> Any:
        return _Needs()


@dataclass(frozen=True)
class _Needs:
    salience: str = "absent"
