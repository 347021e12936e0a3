"""Accuracy and fidelity of evaluations with intervals, and paired differences between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from redundancy.evaluation.answers import answered
from redundancy.evaluation.rows import FIDELITY, KEY
from redundancy.evaluation.same_grid import check_comparable
from redundancy.evaluation.statistics.bounds import bounds_of
from redundancy.evaluation.statistics.intervals import (
    FEW,
    MARKED,
    interval_name,
    is_marked,
    mean_interval,
    paired_difference,
)

ALL = "all"


def accuracy(rows: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """Share of right answers per skill and over all questions, with Wilson intervals.

    The interval takes questions as independent, which those about one video are not quite: within a skill there is one
    per video; for differences use `paired_accuracy`, which resamples videos.

    Parameters
    ----------
    rows
        Of `evaluate`; of one method and, for a method that draws, one seed.
    confidence
        Of the interval, in (0, 1).

    Returns
    -------
    One row per skill, in the order in which they appear, then `all`: `skill, accuracy, low, high, right, questions,
    chance, videos, interval`.

    Raises
    ------
    ValueError
        If there is no row, a question is there twice, or `confidence` is out of its range.

    Source: Wilson 1927; scipy.stats.binomtest.
    """
    rows = answered(rows)
    _check(rows, "correct", once=True)
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence} given, expected a number between 0 and 1")
    table = []
    for skill, of_skill in _by_skill(rows):
        right, count = int(of_skill["correct"].sum()), len(of_skill)
        interval = binomtest(right, count).proportion_ci(confidence_level=confidence, method="wilson")
        table.append(
            {
                "skill": skill,
                "accuracy": right / count,
                "low": float(interval.low),
                "high": float(interval.high),
                "right": right,
                "questions": count,
                "chance": float(of_skill["chance"].mean()),
                "videos": of_skill["video"].nunique(),
                "interval": f"{confidence:.0%} intervals: Wilson over questions",
            }
        )
    return pd.DataFrame(table)


def paired_accuracy(first: pd.DataFrame, second: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Difference in accuracy of two evaluations of the same questions, per skill and over all.

    1. A question that is there several times (a method with several seeds) counts with its mean.
    2. Difference: mean over videos of a video's mean of `first - second`, with the interval of `mean_interval` over
       videos.
    3. McNemar's exact test: among questions that one of the two alone answers rightly, either is as likely.

    Parameters
    ----------
    first, second
        Rows of `evaluate`, in any order.
    seed
        Of the resamples.

    Returns
    -------
    One row per skill, then `all`: `skill, first, second` (mean accuracy over videos), `difference, low, high, videos,
    interval` (which one it is), `first_only, second_only` (questions that one alone answers rightly) and `p`
    (two-sided; 1 where there is none). The last three are NaN where a question counts with a mean of right and wrong.

    Raises
    ------
    ValueError
        If there is no row, the two are not of the same questions, or of other numbers of frames on other grids.

    Source: McNemar 1947, scipy.stats.binomtest.
    """
    pairs = _pairs(first, second, "correct")
    table = []
    for skill, of_skill in _by_skill(pairs):
        table.append({"skill": skill, **_difference(of_skill, seed, "correct"), **_mcnemar(of_skill)})
    return pd.DataFrame(table)


def fidelity_means(rows: pd.DataFrame, *, columns: Sequence[str] | None = None, seed: int = 0) -> pd.DataFrame:
    """Mean fidelity per skill and over all questions, with the interval of `mean_interval` over videos.

    Parameters
    ----------
    rows
        Of `evaluate` with `fidelity` or `reference`; several seeds of a method are averaged.
    columns
        Which measures; None: agreement and all of `FIDELITY`.
    seed
        Of the resamples.

    Returns
    -------
    One row per skill and measure, then `all`: `skill, measure, mean, low, high, videos, interval`. A mean is over
    videos of a video's mean; NaN (undefined for a question) is left out.

    Raises
    ------
    ValueError
        If there is no row, a column is missing, or a value is infinite, which has no mean.
    """
    chosen = ("agreement", *FIDELITY) if columns is None else tuple(columns)
    rows = answered(rows)
    _check(rows, *chosen)
    table = []
    for skill, of_skill in _by_skill(rows):
        for name in chosen:
            means = of_skill.groupby("video", sort=True)[name].mean().to_numpy(float)
            if np.isinf(means).any():
                raise ValueError(f"an infinite {name} of skill {skill!r} given, expected finite values")
            interval = mean_interval(means, seed=seed, bounds=bounds_of(name))
            about = {"skill": skill, "measure": name, **interval._asdict()}
            table.append(about | {"interval": interval_name(interval.videos)})
    return pd.DataFrame(table)


def paired_measure(first: pd.DataFrame, second: pd.DataFrame, column: str, *, seed: int = 0) -> pd.DataFrame:
    """Difference of any column of two evaluations of the same questions, per skill and over all.

    Parameters
    ----------
    first, second
        Rows of `evaluate`, in any order; several seeds of a method are averaged.
    column
        For example `kl` or `probability`.
    seed
        Of the resamples.

    Returns
    -------
    One row per skill, then `all`: `skill, first, second, difference, low, high, videos, interval`, as in
    `paired_accuracy`.

    Raises
    ------
    ValueError
        If there is no row, the column is missing, or the two are not of the same questions.
    """
    pairs = _by_skill(_pairs(first, second, column))
    return pd.DataFrame([{"skill": skill, **_difference(of_skill, seed, column)} for skill, of_skill in pairs])


def separations(rows: pd.DataFrame, labels: Mapping[str, str]) -> pd.DataFrame:
    """Which methods answer which skill differently although they keep equally many tokens of every video compared.

    Of each pair of methods, the videos on which both keep as many tokens are compared by `paired_accuracy`.

    Parameters
    ----------
    rows
        One row per question and seed: columns of `evaluate`, with `kept`, and `condition`.
    labels
        By name of a method the condition that stands for it, for example those asked for the same retention.

    Returns
    -------
    One row per pair and skill: columns of `paired_accuracy`, `one`, `other` (names) and `clips` (videos compared);
    empty where no pair shares a video.
    """
    tables = {n: rows[rows["condition"] == label].astype({"correct": float}) for n, label in labels.items()}
    found = []
    for one, other in combinations(tables, 2):
        kept = [tables[name].groupby("video")["kept"].agg(["min", "max"]) for name in (one, other)]
        same = kept[0].index[(kept[0] == kept[1].reindex(kept[0].index)).all(axis=1)]
        if not len(same):
            continue
        pair = [tables[name][tables[name]["video"].isin(same)] for name in (one, other)]
        found.append(paired_accuracy(*pair).assign(one=one, other=other, clips=len(same)))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame()


def separating(table: pd.DataFrame) -> pd.DataFrame:
    """The lines of `separations` whose interval leaves out 0: single skills, at least 8 videos (`is_marked`)."""
    if not len(table):
        return table
    clear = np.array([is_marked(*row) for row in table[["low", "high", "videos"]].itertuples(index=False)], dtype=bool)
    columns = ["skill", "one", "other", "first", "second", "difference", "low", "high", "clips", "p"]
    return table[clear & (table["skill"] != ALL).to_numpy()][columns].sort_values(["skill", "one", "other"])


def separation_text(rows: pd.DataFrame, labels: Mapping[str, str], asked: str) -> str:
    """What `separating` leaves of the `separations` of some conditions, as a table under its title."""
    clear = separating(separations(rows, labels))
    title = f"Skills that separate methods asked for {asked}, on clips where both keep equally many tokens"
    rule = f"(at least {MARKED} clips; {interval_name(MARKED, FEW)}):"
    table = clear.to_string(index=False, float_format=lambda x: f"{x:.3f}") if len(clear) else "none"
    return f"{title} {rule}\n{table}"


def _difference(pairs: pd.DataFrame, seed: int, column: str) -> dict[str, float | int | str]:
    """Means over videos and their paired difference."""
    means = pairs.groupby("video", sort=True)[["first", "second"]].mean()
    first, second = (means[name].to_numpy(float) for name in ("first", "second"))
    difference = paired_difference(first, second, seed=seed, bounds=bounds_of(column))
    return {
        "first": float(first.mean()),
        "second": float(second.mean()),
        "difference": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "videos": difference.videos,
        "interval": interval_name(difference.videos),
    }


def _mcnemar(pairs: pd.DataFrame) -> dict[str, float | int]:
    values = pairs[["first", "second"]].to_numpy(float)
    if not np.isin(values, (0.0, 1.0)).all():
        return dict.fromkeys(("first_only", "second_only", "p"), np.nan)
    only = [int((pairs["first"] > pairs["second"]).sum()), int((pairs["first"] < pairs["second"]).sum())]
    p = float(binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0
    return {"first_only": only[0], "second_only": only[1], "p": p}


def _pairs(first: pd.DataFrame, second: pd.DataFrame, column: str) -> pd.DataFrame:
    """One row per question with the mean of the column in both."""
    means = []
    for rows in map(answered, (first, second)):
        _check(rows, column)
        means.append(rows.groupby([*KEY, "skill"], sort=False)[column].mean().astype(float))
    different = means[0].index.symmetric_difference(means[1].index)
    if len(different):
        raise ValueError(
            f"{len(different)} questions are in one evaluation alone, expected the same in both; for example "
            f"{different[0]}"
        )
    grids = [rows.groupby([*KEY, "skill"], sort=False)["grid"].first() for rows in (first, second) if "grid" in rows]
    if len(grids) == 2:
        check_comparable(grids[0], grids[1].reindex(grids[0].index))
    joined = pd.DataFrame({"first": means[0], "second": means[1].reindex(means[0].index)})
    return joined.reset_index()


def _by_skill(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Rows of each skill in order of appearance, then all."""
    for skill, of_skill in rows.groupby("skill", sort=False):
        yield str(skill), of_skill
    yield ALL, rows


def _check(rows: pd.DataFrame, *columns: Any, once: bool = False) -> None:
    missing = {*KEY, "skill", *columns} - set(rows.columns)
    if missing or not len(rows):
        raise ValueError(f"{len(rows)} rows without the columns {sorted(missing)} given, expected rows of evaluate")
    if once and rows.duplicated(list(KEY)).any():
        raise ValueError("a question is given twice, expected rows of one method and one seed")
