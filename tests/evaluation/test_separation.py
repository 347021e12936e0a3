"""What tells kinds of videos apart: against scipy, closed forms, and what `studies.redundancy_profile` gave."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from redundancy.evaluation.statistics.separation import rank_separation, separation


def profile_rows() -> pd.DataFrame:
    rng = np.random.default_rng(4)
    kinds = np.array(list("abc") * 4)
    values = rng.random((12, 4)) + np.arange(4) * 0.3 * (kinds == "a")[:, None]
    values[3, 0] = np.nan
    values[:, 3] = 1
    return pd.DataFrame(values, columns=[*"xyzw"]).assign(video=[f"v{i}" for i in range(12)], kind=kinds)


SEPARATION = [
    [0.014393939393939388, 0.014525993883792042, 0.7580645161290323, 11.0],
    [0.3776223776223776, 0.1321193441789527, 0.8144316436251918, 12.0],
    [0.7027972027972028, 0.6784452296819788, 0.924187725631769, 12.0],
    [np.nan, np.nan, np.nan, 12.0],
]
CHANCE = [0.5991464547107979, 0.5446785951916344, 0.5446785951916344, np.nan]
Q = [1.0, 0.3446168133213775, 0.11525173728689019, np.nan]


def test_numbers_are_those_of_redundancy_profile() -> None:
    found = separation(profile_rows(), measures=[*"xyzw"])
    np.testing.assert_allclose(found["separation"], SEPARATION, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["separation_chance"], CHANCE, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["separation_q"], Q, rtol=0, atol=1e-12)


def test_of_kinds_that_do_not_overlap_it_is_the_most_there_can_be() -> None:
    groups = [np.arange(4) + 10.0 * k for k in range(3)]
    assert rank_separation(*groups) == pytest.approx((1 - 1 / 9) / (1 - 1 / 144))
    assert rank_separation(*groups) == pytest.approx(stats.kruskal(*groups).statistic / 11)
    assert np.isnan(rank_separation(np.ones(3), np.ones(3)))


def test_seeds_of_a_video_are_averaged_and_one_video_of_a_kind_does_not_count() -> None:
    rows = profile_rows()
    twice = pd.concat([rows.assign(x=rows["x"] - 1), rows.assign(x=rows["x"] + 1)])
    one, both = (separation(r, measures=["x"]) for r in (rows, twice))
    np.testing.assert_allclose(one["separation"], both["separation"], atol=1e-12)
    more = pd.concat([rows, rows[:1].assign(video="alone", kind="d")])
    assert separation(more, measures=["x"]).equals(one)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (profile_rows().drop(columns="kind"), r"without the columns \['kind'\] given"),
        (profile_rows().assign(video="v"), "a video with several values of 'kind' given"),
    ],
)
def test_what_has_no_kinds_is_refused(rows: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        separation(rows, measures=["x"])
