"""What tables say of their means: how many videos, which intervals, and what may be marked."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from studies.conditions import below_table, intervals, is_marked

from studies.metric_prediction import prediction_table


def summary(*videos: int) -> xr.Dataset:
    cells = np.array([[0.5, 0.4, 0.6, n] for n in videos])
    return xr.Dataset(
        {"value": (("setting", "statistic"), cells)}, coords={"statistic": ["mean", "low", "high", "videos"]}
    )


@pytest.mark.parametrize(
    ("videos", "expected"),
    [
        ((12, 12), "Means over 12 videos; 95% intervals: Student's t over videos"),
        ((25, 25), "Means over 25 videos; 95% intervals: percentile bootstrap over videos"),
        (
            (25, 6, 0),
            "Means over 25 videos (6 to 25 where a measure is not defined for all); 95% intervals: percentile "
            "bootstrap over videos, Student's t over videos where fewer than 20 enter",
        ),
    ],
)
def test_the_line_under_a_table(videos: tuple[int, ...], expected: str) -> None:
    assert below_table(summary(*videos), max(videos)) == expected


def test_shares_stay_shares_and_differences_may_be_negative() -> None:
    table = pd.DataFrame({"correct": [0.0, 1.0, 1.0], "my_own": [0.0, 1.0, 30.0]})
    assert intervals(table)[0, 1:3].tolist() == [0, 1]
    assert intervals(table, paired=True)[0, 1:3] == pytest.approx([-0.768, 1], abs=1e-3)
    assert intervals(table)[1, 1] < 0  # no bounds are known of it


@pytest.mark.parametrize(("videos", "marked"), [(7, False), (8, True), (40, True)])
def test_few_videos_mark_nothing(videos: int, marked: bool) -> None:
    assert is_marked(0.1, 0.9, videos) == marked
    assert not is_marked(-0.1, 0.9, videos)
    cell = np.array([0.5, 0.1, 0.9, videos]).reshape(1, 1, 1, 4)
    found = xr.Dataset(
        {"correlation": (("level", "measurement", "skill", "statistic"), cell)},
        coords={"level": ["all settings"], "measurement": ["kl"], "skill": ["when"]},
    )
    assert prediction_table(found, "all settings")["when"].tolist() == ["+0.50" + "*" * marked]
