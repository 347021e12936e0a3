"""What studies of methods share: a method of the table at a requested retention, its draws, its controls, its summary.

A method that reads a salience or frame features that the model does not give gets another source, and a note says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from redundancy.evaluation.statistics.bounds import bounds_of
from redundancy.evaluation.statistics.intervals import (
    FEW,
    MARKED,
    RESAMPLES,
    UNBOUNDED,
    difference_bounds,
    interval_name,
    mean_interval,
)
from redundancy.pruning.base import Method
from redundancy.pruning.methods.controls import RandomTokens
from redundancy.pruning.named import named_settings
from redundancy.pruning.table import METHODS
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens

RETENTIONS = (0.5, 0.25, 0.1, 0.05)
SALIENCE = ("pooling_head", "mean_query", "received", "norm")  # what published methods read first
STATISTICS = ("mean", "low", "high", "videos")
INTERVAL = f"{interval_name(0, FEW)}; {RESAMPLES} resamples, seed 0; draws and questions of a clip averaged"


class Condition(NamedTuple):
    """A method of the table at one setting; `requested` is NaN where the method's rate is fixed.

    `name` is that of the table, with other settings than the default's in brackets.
    """

    label: str
    name: str
    kind: str
    method: Method
    requested: float


def has_rate(name: str) -> bool:
    """Whether a method of the table takes a retention; the others have a fixed rate."""
    return "retention" in {f.name for f in fields(METHODS[name].method)}


def conditions_of(methods: Sequence[str], retentions: Sequence[float | int]) -> list[Condition]:
    """Every method at every retention; one whose rate is fixed, or that names its own retention, once.

    Parameters
    ----------
    methods
        Names of the table, with or without settings: `"fastvid"`, `"fastvid(c=4)"`, `"fastvid(retention=0.2)"`.
    retentions
        Shares of the tokens to keep.

    Raises
    ------
    ValueError
        If a method or setting is unknown, a condition is named twice, or nothing is left to compare.
    """
    if not methods or not retentions:
        raise ValueError(
            f"methods {list(methods)} at retentions {list(retentions)} given, expected some of {[*METHODS]}"
        )
    made = [condition for text in methods for condition in _conditions(text, retentions)]
    twice = sorted(label for label, count in Counter(c.label for c in made).items() if count > 1)
    if twice:
        raise ValueError(f"{twice} given more than once, expected every condition once")
    return made


def _conditions(text: str, retentions: Sequence[float | int]) -> list[Condition]:
    key, settings = named_settings(text)
    entry = METHODS[key]
    rates = [settings.pop("retention")] if "retention" in settings else list(retentions)
    method = replace(entry.method, **settings)
    others = ", ".join(f"{field}={value!r}" for field, value in settings.items())
    name = f"{key}({others})" if others else key
    if not has_rate(key):
        return [Condition(name, name, entry.kind, method, float("nan"))]
    made = []
    for r in rates:
        at: Any = replace(method, retention=r)  # type: ignore[call-arg]
        label = f"{key}({r:g}, {others})" if others else f"{key}({r:g})"
        made.append(Condition(label, name, entry.kind, at, float(r)))
    return made


def salience_of(tokens: VideoTokens) -> str:
    """The first source of salience that the tokens carry, the published methods' choices first.

    Raises
    ------
    ValueError
        If they carry none.
    """
    found = next((s for s in SALIENCE if s in tokens.salience), None)
    if found is None:
        raise ValueError(f"tokens with salience {sorted(tokens.salience)} given, expected some of {SALIENCE}")
    return found


def suited(method: Method, tokens: VideoTokens) -> tuple[Method, str]:
    """The method with sources that the tokens carry, and what was put in place of what (empty: nothing)."""
    needs, changed = method.needs(tokens.layout), {}
    if needs.salience is not None and needs.salience not in tokens.salience:
        changed["salience"] = (needs.salience, salience_of(tokens))
    if needs.frame_features not in (None, "mean") and needs.frame_features not in tokens.frame_features:
        changed["features"] = (str(needs.frame_features), "mean")
    if not changed:
        return method, ""
    note = ", ".join(f"{new} in place of {old} as {field}" for field, (old, new) in changed.items())
    sources: Any = {field: new for field, (_, new) in changed.items()}
    return replace(method, **sources), note


def decisions(condition: Condition, tokens: VideoTokens, *, seeds: int) -> Iterator[tuple[int, Reduction, str]]:
    """What a condition decides on a video: seed (-1: nothing is drawn), reduction, and what sources were replaced."""
    method, note = suited(condition.method, tokens)
    if "seed" not in {f.name for f in fields(method)}:
        yield -1, method(tokens), note
        return
    for seed in range(seeds):
        drawn: Any = replace(method, seed=seed)  # type: ignore[call-arg]
        yield seed, drawn(tokens), note


def random_like(reduction: Reduction, tokens: VideoTokens, *, seed: int) -> Reduction:
    """As many tokens as a reduction keeps, drawn over the whole video.

    Raises
    ------
    ValueError
        If another number is drawn, which would be no control.
    """
    T, rows, cols = reduction.grid
    drawn = RandomTokens(retention=reduction.kept / (T * rows * cols), seed=seed, across_frames=True)(tokens)
    if drawn.kept != reduction.kept:
        raise ValueError(f"{drawn.kept} random tokens drawn, expected {reduction.kept}")
    return drawn


# what is reported -------------------------------------------------------------------------------------------------


def intervals(table: pd.DataFrame, *, of: str | None = None, paired: bool = False) -> Float[np.ndarray, "measures 4"]:
    """Mean, interval and number of videos of every column; one row per video.

    Parameters
    ----------
    table
        Columns named as measures, whose bounds are those of `bounds_of`.
    of
        The measure that all columns hold, where they are named otherwise, for example by skill.
    paired
        True if the values are differences of two such measures.
    """
    bounds = {name: bounds_of(str(name) if of is None else of) for name in table.columns}
    if paired:
        bounds = {name: difference_bounds(b) if b != UNBOUNDED else b for name, b in bounds.items()}
    found = [mean_interval(table[name].to_numpy(float), bounds=bounds[name]) for name in table.columns]
    return np.array(found).reshape(-1, 4)


def below_table(summary: xr.Dataset, videos: int) -> str:
    """What stands under a table of means: of how many videos, and which intervals."""
    counts = [v.sel(statistic="videos").values.ravel() for v in summary.data_vars.values() if "statistic" in v.dims]
    known = np.concatenate(counts)
    known = known[known > 0]  # NaN and 0: no such measure
    fewest, most = (int(known.min()), int(known.max())) if len(known) else (0, 0)
    some = f" ({fewest} to {videos} where a measure is not defined for all)" if fewest < videos else ""
    return f"Means over {videos} videos{some}; {interval_name(fewest, most)}"


def is_marked(low: float, high: float, videos: float) -> bool:
    """Whether an interval may be marked as one that leaves out 0: of fewer than 8 videos none is."""
    return bool(videos >= MARKED and (low > 0 or high < 0))


def per_video(rows: pd.DataFrame, by: Sequence[str], measures: Sequence[str]) -> dict[tuple[str, ...], pd.DataFrame]:
    """Means over draws and questions, one table of videos by measures for every value of the columns `by`."""
    means = rows.groupby([*by, "video"])[list(measures)].mean().reset_index()
    return {
        tuple(str(k) for k in key): part.set_index("video")[list(measures)] for key, part in means.groupby(list(by))
    }


def labels_of(conditions: Sequence[Condition], rows: pd.DataFrame) -> dict[str, Any]:
    """Coordinates of the dim `setting`: method, kind, requested and achieved share of tokens (mean over clips)."""
    achieved = rows.groupby("setting")["achieved"].mean()
    return {
        "setting": [c.label for c in conditions],
        "method": ("setting", [c.name for c in conditions]),
        "method_kind": ("setting", [c.kind for c in conditions]),
        "requested": ("setting", [c.requested for c in conditions], {"meaning": "NaN: the method's rate is fixed"}),
        "achieved": ("setting", [float(achieved[c.label]) for c in conditions]),
    }


def replaced_sources(rows: pd.DataFrame) -> list[str]:
    """One line for each method that read another source than it does by default."""
    noted = rows[rows["replaced"].fillna("") != ""] if "replaced" in rows else rows[:0]
    names = [str(setting).split("(")[0] for setting in noted.get("setting", ())]
    return sorted({f"{name}: {note}" for name, note in zip(names, noted.get("replaced", ()), strict=True)})


def interval_text(cell: xr.DataArray, digits: int, sign: str = "") -> str:
    """Mean with its interval in brackets, a dash where there is none."""
    m, low, high = (float(v) for v in cell.values[:3])
    if np.isnan(m):
        return "-"
    return f"{m:{sign}.{digits}f} [{low:{sign}.{digits}f}, {high:{sign}.{digits}f}]"


def retention_columns(summary: xr.Dataset) -> dict[str, list[str]]:
    """First columns of a table over settings: setting, requested and achieved share."""
    return {
        "setting": [str(s) for s in summary["setting"].values],
        "requested": ["fixed" if np.isnan(r) else f"{r:g}" for r in summary["requested"].values],
        "achieved": [f"{a:.3f}" for a in summary["achieved"].values],
    }
