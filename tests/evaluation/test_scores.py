"""Accuracy, paired differences and fidelity means on tables whose answers are worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from redundancy.evaluation.statistics.scores import (
    accuracy,
    fidelity_means,
    paired_accuracy,
    paired_measure,
    separating,
    separations,
)


def table(correct: list[list[int]], **more: object) -> pd.DataFrame:
    """Rows of videos x skills: `correct[video][skill]`."""
    rows = [
        {
            "video": f"v{v}",
            "question": s,
            "text": f"q{s}",
            "skill": "ab"[s],
            "correct": bool(right),
            "chance": (0.25, 0.5)[s],
        }
        for v, of_video in enumerate(correct)
        for s, right in enumerate(of_video)
    ]
    return pd.DataFrame(rows).assign(**more)


def wilson(right: int, count: int) -> tuple[float, float]:
    """Wilson 1927, written out."""
    z, p = norm.ppf(0.975), right / count
    middle = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    return middle - half, middle + half


def test_accuracy_and_wilson_intervals():
    shown = accuracy(table([[1, 0], [1, 1], [0, 1], [1, 1]])).set_index("skill")
    assert shown.index.tolist() == ["a", "b", "all"]
    assert shown["accuracy"].tolist() == [0.75, 0.75, 0.75]
    assert shown["right"].tolist() == [3, 3, 6]
    assert shown["chance"].tolist() == [0.25, 0.5, 0.375]
    for skill, (right, count) in {"a": (3, 4), "b": (3, 4), "all": (6, 8)}.items():
        assert tuple(shown.loc[skill, ["low", "high"]]) == pytest.approx(wilson(right, count), abs=1e-12)
    every = accuracy(table([[1, 1]] * 5)).iloc[0]
    assert every["high"] == 1
    assert every["low"] == pytest.approx(wilson(5, 5)[0])
    assert accuracy(table([[1, 0]] * 5), confidence=0.5).iloc[0]["low"] > every["low"]


def test_paired_difference_and_mcnemar():
    first = table([[1, 1], [1, 0], [1, 1], [0, 1], [1, 1], [1, 1]])
    second = table([[0, 1], [0, 0], [0, 1], [1, 1], [0, 1], [0, 0]])
    shown = paired_accuracy(first, second.sample(frac=1, random_state=0)).set_index("skill")
    a, b = shown.loc["a"], shown.loc["b"]
    assert (a["first_only"], a["second_only"]) == (5, 1)
    # exact two-sided binomial of 5 among 6 at 1/2: 2 (6 + 1) / 64
    assert a["p"] == pytest.approx(14 / 64)
    assert (a["first"], a["second"], a["difference"]) == pytest.approx((5 / 6, 1 / 6, 4 / 6))
    assert (b["first_only"], b["second_only"], b["p"]) == (1, 0, 1)
    assert a["low"] < a["difference"] < a["high"] <= 1
    assert a["videos"] == 6
    back = paired_accuracy(second, first).set_index("skill")
    np.testing.assert_allclose(back["difference"], -shown["difference"])
    same = paired_accuracy(first, first)
    assert same["p"].tolist() == [1, 1, 1]
    assert (same[["difference", "low", "high"]] == 0).all(axis=None)


def test_the_bootstrap_is_over_videos():
    """Questions of a video that all rise together are worth one: 8 questions a video give no narrower interval."""
    random = np.random.default_rng(0)
    gain = random.integers(0, 2, 30)

    def of(skills: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        base = table([[0]] * 30)
        rows = pd.concat(base.assign(question=i, text=f"q{i}") for i in range(skills)).reset_index(drop=True)
        rose = rows.assign(correct=rows["video"].map({f"v{i}": bool(g) for i, g in enumerate(gain)}))
        return rose, rows

    one, eight = (paired_accuracy(*of(n)).iloc[-1] for n in (1, 8))
    assert one[["difference", "low", "high"]].tolist() == eight[["difference", "low", "high"]].tolist()
    # normal approximation of the same interval
    assert eight["high"] - eight["low"] == pytest.approx(2 * 1.96 * gain.std() / math.sqrt(30), rel=0.15)


def test_several_seeds_count_with_their_mean():
    whole = table([[1, 1], [1, 1]])
    drawn = pd.concat([table([[1, 0], [0, 0]], seed=0), table([[0, 0], [0, 0]], seed=1)])
    shown = paired_accuracy(whole, drawn).set_index("skill")
    assert shown.loc["a", "second"] == 0.25
    assert np.isnan(shown.loc["a", "p"])
    assert shown.loc["b", "first_only"] == 2
    with pytest.raises(ValueError, match="a question is given twice"):
        accuracy(drawn)


def test_other_questions_are_refused():
    with pytest.raises(ValueError, match=r"2 questions are in one evaluation alone.*v2"):
        paired_accuracy(table([[1, 1]] * 3), table([[1, 1]] * 2))
    with pytest.raises(ValueError, match=r"0 rows without the columns \[\] given"):
        accuracy(table([[1, 1]]).iloc[:0])
    with pytest.raises(ValueError, match=r"without the columns \['agreement'\]"):
        fidelity_means(table([[1, 1]]), columns=["agreement"])
    with pytest.raises(ValueError, match=r"confidence=1\.0 given"):
        accuracy(table([[1, 1]]), confidence=1.0)


def test_fidelity_means():
    rows = table([[1, 1], [1, 1], [1, 0]]).assign(agreement=[1.0, 0, 1, 1, 0, 1], kl=[0.0, 1, 2, 3, 4, np.nan])
    shown = fidelity_means(rows, columns=["agreement", "kl"]).set_index(["skill", "measure"])
    assert shown.loc[("a", "agreement"), "mean"] == pytest.approx(2 / 3)
    assert shown.loc[("b", "kl"), "mean"] == 2
    assert shown.loc[("b", "kl"), "videos"] == 2
    assert shown.loc[("all", "kl"), "mean"] == pytest.approx((0.5 + 2.5 + 4) / 3)  # a mean over videos
    with pytest.raises(ValueError, match="an infinite kl of skill 'a'"):
        fidelity_means(rows.assign(kl=np.inf), columns=["kl"])


def test_paired_measure():
    first = table([[1, 1], [1, 1]]).assign(kl=[1.0, 2, 3, 4])
    second = first.assign(kl=first["kl"] - 0.5)
    shown = paired_measure(first, second, "kl").set_index("skill")
    assert shown["difference"].tolist() == [0.5, 0.5, 0.5]
    assert shown.loc["all", "first"] == 2.5
    assert "p" not in shown


def test_methods_are_told_apart_on_videos_where_they_keep_as_many_tokens():
    rows = pd.concat(
        rows_of(name, right=right, kept=lambda video, name=name: 20 + (name == "b" and video == 0))
        for name, right in (("a", 1.0), ("b", 0.0), ("c", 1.0))
    )
    found = separations(rows, {"A": "a", "B": "b", "C": "c"})
    pairs = found.drop_duplicates(["one", "other"])
    assert pairs[["one", "other", "clips"]].values.tolist() == [["A", "B", 9], ["A", "C", 10], ["B", "C", 9]]
    clear = separating(found)
    assert clear[["skill", "one", "other", "difference"]].values.tolist() == [["s", "A", "B", 1], ["s", "B", "C", -1]]
    assert separations(rows.assign(kept=range(len(rows))), {"A": "a", "B": "b"}).empty
    assert separating(pd.DataFrame()).empty
    few = separations(rows[rows["video"] < "v7"], {"A": "a", "B": "b"})
    assert separating(few).empty  # six videos mark nothing


def rows_of(condition: str, *, right: float, kept: Callable[[int], int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "condition": condition,
            "video": f"v{video}",
            "question": 0,
            "text": "?",
            "skill": "s",
            "correct": right,
            "kept": kept(video),
        }
        for video in range(10)
    )
