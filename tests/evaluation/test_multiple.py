"""Many comparisons: p by all signs, q by the step-up rule, and intervals that cover nothing where nothing is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest

from redundancy.evaluation.statistics.intervals import mean_interval
from redundancy.evaluation.statistics.multiple import benjamini_hochberg, paired_tests, sign_flip_p
from redundancy.paths import data_folder


@pytest.mark.parametrize("seed", range(4))
def test_p_is_the_share_of_signs_that_reach_as_far(seed: int) -> None:
    differences = np.random.default_rng(seed).normal(0.3, 1, 7)
    reached = [abs(np.mean(differences * signs)) for signs in product((-1, 1), repeat=7)]
    expected = np.mean(np.array(reached) >= abs(differences.mean()) - 1e-12)
    assert sign_flip_p(differences) == pytest.approx(expected)
    with_gap = np.concatenate([differences, [np.nan]])
    assert sign_flip_p(with_gap) == pytest.approx(expected)


def test_p_of_little() -> None:
    assert np.isnan(sign_flip_p(np.array([np.nan])))
    assert sign_flip_p(np.array([0.5])) == 1.0
    assert sign_flip_p(np.zeros(5)) == 1.0


def test_q_is_the_step_up_rule() -> None:
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.5])
    # ranked .01 .03 .04 .5: p m / rank = .04 .06 .0533 .5, then the smallest of each and all above it
    assert benjamini_hochberg(p) == pytest.approx([0.04, 0.16 / 3, np.nan, 0.16 / 3, 0.5], nan_ok=True)


def test_a_condition_that_is_its_control_counts_with_no_other() -> None:
    videos = [f"v{i}" for i in range(8)]
    rows = [
        {"condition": c, "variant": v, "video": name, "kl": base + (shift if v == "own" else 0.0)}
        for c, shift in (("same", 0.0), ("moved", 1.0), ("back", -1.0))
        for v in ("own", "base")
        for base, name in enumerate(videos)
    ]
    found = paired_tests(
        pd.DataFrame(rows),
        plus="own",
        minus="base",
        measures={"kl": "kl"},
        conditions=["same", "moved", "back", "none"],
    )
    p = found.sel(measure="kl", test="p").values
    assert np.isnan(p[[0, 3]]).all()
    assert p[1:3] == pytest.approx([2 / 2**8] * 2)
    assert found.sel(measure="kl", test="q").values[1:3] == pytest.approx([2 / 2**8] * 2)  # two tests, not three


def test_intervals_of_no_effect_cover_zero() -> None:
    """Random tokens against random tokens of another seed, clips and seeds drawn from what is stored of them."""
    rows = pd.read_parquet(data_folder() / "results" / "random_tokens.parquet")
    draw = np.random.default_rng(0)
    covered = []
    for measure, retention in product(("correct", "kl"), sorted(rows["requested"].unique())):
        table = rows[rows["requested"] == retention].pivot_table(index="video", columns="seed", values=measure)
        values = table.to_numpy()
        assert values.shape == (64, 3)
        for _ in range(50):
            clips = draw.integers(0, len(values), 64)
            first = draw.integers(0, 3, 64)
            other = (first + draw.integers(1, 3, 64)) % 3
            interval = mean_interval(values[clips, first] - values[clips, other], resamples=999)
            covered.append(interval.low <= 0 <= interval.high)
    assert len(covered) == 400
    assert 0.92 <= np.mean(covered) <= 0.98
