"""Methods of a study by name, with settings, at every retention."""

from __future__ import annotations

import pandas as pd
import pytest
from studies.conditions import conditions_of, intervals

from redundancy.evaluation.statistics.bounds import bounds_of
from redundancy.evaluation.statistics.intervals import UNBOUNDED
from redundancy.pruning import FastVID
from studies import attention_lost_summary, method_agreement, position_drift_summary, retention_curve


def test_methods_of_studies_are_named_with_settings() -> None:
    made = conditions_of(["fastvid", "FastVID(c=4)", "fastvid(0.2)", "average_pool"], (0.5, 0.1))
    assert [c.label for c in made] == [
        *("fastvid(0.5)", "fastvid(0.1)", "fastvid(0.5, c=4)", "fastvid(0.1, c=4)", "fastvid(0.2)", "average_pool")
    ]
    assert [c.name for c in made] == ["fastvid", "fastvid", "fastvid(c=4)", "fastvid(c=4)", "fastvid", "average_pool"]
    assert made[3].method == FastVID(retention=0.1, c=4)
    with pytest.raises(ValueError, match="given more than once"):
        conditions_of(["fastvid", "FastVID"], (0.5,))


def test_intervals_of_studies_stay_in_the_bounds_of_their_measures() -> None:
    studies = (attention_lost_summary, method_agreement, position_drift_summary, retention_curve)
    measures = {measure for study in studies for measure in study.MEASURES} | {*attention_lost_summary.PREDICTIONS}
    assert [measure for measure in sorted(measures) if bounds_of(measure) == UNBOUNDED] == []
    _, low, high, _ = intervals(pd.DataFrame({"moved_cells": [0.0, 1.0], "excess": [0.9, -0.9]})).T
    assert low.tolist() == [0, -1]
    assert high[1] == 1
    assert intervals(pd.DataFrame({"digit": [0.0, 1.0]}), of="accuracy")[0, 1:3].tolist() == [0, 1]
