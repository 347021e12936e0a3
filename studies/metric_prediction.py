"""Which measurement predicts the accuracy that a method keeps? Rank correlations over methods, retentions and videos.

The rows of `studies.retention_curve` say for each clip, method and retention what a measurement is and which questions
are answered rightly. Settings are ranked by both (means over clips): over all settings, and among the methods that were
asked for the same retention, where the number of tokens cannot be what predicts. Beside it the same within each clip:
settings of one clip ranked, correlations averaged over clips. Intervals are over clips.

    python -m studies.metric_prediction
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int64
from scipy.stats import rankdata

from redundancy import plot
from redundancy.evaluation.statistics.intervals import FEW, MARKED, interval_name, jackknife_interval
from redundancy.recording import open_dataset
from studies import retention_curve
from studies.conditions import conditions_of, interval_text, is_marked, replaced_sources
from studies.retention_curve import MEASURED
from studies.runner import command_line, save_summary, say_what_ran, study_main

NAME = "metric_prediction"
PREDICTORS = {"achieved": "share of tokens kept"} | MEASURED
LEVELS = ("all settings", "equal retention", "within clips")
ALL = "all"
STATISTICS = ("value", "low", "high", "videos")


@dataclass(frozen=True, kw_only=True)
class Options(retention_curve.Options):
    """Rank measurements by how well they predict accuracy; options of `studies.retention_curve`, whose rows are used.

    Parameters
    ----------
    rows
        Folder of `studies.retention_curve`, in which nothing is changed; what is missing there is computed.
    resamples
        Of the clips.
    """

    out: Path = Path("results") / NAME
    rows: Path = Path("results") / retention_curve.NAME
    resamples: int = 999

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rows", Path(self.rows).expanduser())
        if self.resamples < 1:
            raise ValueError(f"resamples={self.resamples} given, expected at least 1")


@dataclass(frozen=True)
class Units:
    """One value per clip and setting.

    Parameters
    ----------
    predictors
        `[predictor, video, setting]`.
    accuracy
        `[skill, video, setting]`, all skills first; NaN where a clip has no question of a skill.
    requested
        `[setting]` retention asked for; NaN where the method's rate is fixed.
    """

    predictors: Float[np.ndarray, "predictors videos settings"]
    accuracy: Float[np.ndarray, "skills videos settings"]
    requested: Float[np.ndarray, "settings"]
    skills: tuple[str, ...]
    videos: tuple[str, ...]


def units_of(rows: pd.DataFrame, settings: Sequence[str], requested: Sequence[float]) -> Units:
    """Rows of the study as arrays; draws and questions of a clip are averaged."""
    chosen = rows[rows["setting"].isin(list(settings))]
    keys = ["video", "setting"]
    means = chosen.groupby(keys)[list(PREDICTORS)].mean()
    skills = (ALL, *sorted(chosen["skill"].unique()))
    answered = {
        s: (chosen if s == ALL else chosen[chosen["skill"] == s]).groupby(keys)["correct"].mean() for s in skills
    }
    videos = tuple(sorted(chosen["video"].unique()))

    grid = pd.MultiIndex.from_product([videos, settings], names=keys)

    def table(values: pd.Series[Any]) -> Float[np.ndarray, "videos settings"]:
        return values.reindex(grid).to_numpy(float).reshape(len(videos), len(settings))

    return Units(
        np.stack([table(means[name]) for name in PREDICTORS]),
        np.stack([table(answered[s]) for s in skills]),
        np.asarray(requested, dtype=float),
        skills,
        videos,
    )


def spearman(x: Float[np.ndarray, "settings"], y: Float[np.ndarray, "settings"]) -> float:
    """Rank correlation, ties with their mean rank; NaN where fewer than three settings or no variation is left.

    Source: Spearman 1904.
    """
    x, y = np.round(x, 12), np.round(y, 12)  # means of the same numbers in another order are ties
    known = ~(np.isnan(x) | np.isnan(y))
    if known.sum() < 3 or np.ptp(x[known]) == 0 or np.ptp(y[known]) == 0:
        return float("nan")
    a, b = rankdata(x[known]), rankdata(y[known])
    return float(np.corrcoef(a, b)[0, 1])


def over_settings(units: Units, p: int, s: int, *, videos: Int64[np.ndarray, "drawn"]) -> float:
    """Correlation of the means over clips, over all settings."""
    return spearman(*_means(units, p, s, videos))


def at_equal_retention(units: Units, p: int, s: int, *, videos: Int64[np.ndarray, "drawn"]) -> float:
    """The same among settings that were asked for the same retention, mean over retentions below 1."""
    x, y = _means(units, p, s, videos)
    levels = np.unique(units.requested[units.requested < 1])
    found = np.array([spearman(x[units.requested == r], y[units.requested == r]) for r in levels])
    return _nanmean(found)


def within_clips(units: Units, p: int, s: int, *, videos: Int64[np.ndarray, "drawn"]) -> float:
    """Correlation over the settings of one clip, mean over clips."""
    found = np.array([spearman(x, y) for x, y in zip(units.predictors[p], units.accuracy[s], strict=True)])
    return _nanmean(found[videos])


MEASURES: dict[str, Callable[..., float]] = dict(
    zip(LEVELS, (over_settings, at_equal_retention, within_clips), strict=True)
)


def _means(units: Units, p: int, s: int, videos: Int64[np.ndarray, "drawn"]) -> tuple[Any, Any]:
    """Means over clips of the predictor and of accuracy, per setting."""
    return _column_means(units.predictors[p][videos]), _column_means(units.accuracy[s][videos])


def _column_means(values: Float[np.ndarray, "videos settings"]) -> Float[np.ndarray, "settings"]:
    count = (~np.isnan(values)).sum(0)
    total = np.nansum(values, 0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _nanmean(values: Float[np.ndarray, "some"]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def correlations(units: Units, *, resamples: int, seed: int = 0) -> xr.Dataset:
    """Every measurement against accuracy, with percentile intervals over resampled clips.

    Of fewer than 20 clips the interval is Student's t over pseudo-values of the jackknife instead.
    Dims: level, measurement, skill, statistic (value, low, high, videos). There is no interval (NaN) where more than 5%
    of the resamples have no correlation, because accuracy or measurement varies in too few clips.
    """
    count = len(units.videos)
    drawn = np.random.default_rng(seed).integers(0, count, (resamples, count))
    shape = (len(LEVELS), len(PREDICTORS), len(units.skills), len(STATISTICS))
    found = np.full(shape, np.nan)
    for i, level in enumerate(LEVELS):
        for p in range(len(PREDICTORS)):
            for s in range(len(units.skills)):
                found[i, p, s] = _with_interval(level, units, p, s, drawn)
    return xr.Dataset(
        {"correlation": (("level", "measurement", "skill", "statistic"), found)},
        coords={
            "level": list(LEVELS),
            "measurement": list(PREDICTORS),
            "long_name": ("measurement", list(PREDICTORS.values())),
            "skill": list(units.skills),
            "statistic": list(STATISTICS),
        },
        attrs={"interval": f"{interval_name(count)}, {resamples} resamples, seed {seed}"},
    )


def _with_interval(
    level: str, units: Units, p: int, s: int, drawn: Int64[np.ndarray, "resamples videos"]
) -> tuple[float, float, float, int]:
    everyone = np.arange(len(units.videos))
    known = int((~np.isnan(units.accuracy[s])).any(1).sum())
    measure = partial(MEASURES[level], units, p, s)
    if level == "within clips":  # clip by clip, so one pass is enough for all resamples
        each = np.array([spearman(x, y) for x, y in zip(units.predictors[p], units.accuracy[s], strict=True)])
        measure = lambda *, videos: _nanmean(each[videos])  # noqa: E731
    if 1 < len(everyone) < FEW:
        few = jackknife_interval(lambda videos: measure(videos=videos), len(everyone), bounds=(-1, 1))
        return few.mean, few.low, few.high, known
    values = np.array([measure(videos=videos) for videos in drawn])
    known_values = values[~np.isnan(values)]
    enough = len(known_values) >= 0.95 * len(values)  # few clips tell settings apart: those left are no fair sample
    low, high = np.percentile(known_values, [2.5, 97.5]) if enough else (np.nan, np.nan)
    return measure(videos=everyone), float(low), float(high), known


def prediction_table(summary: xr.Dataset, level: str) -> pd.DataFrame:
    """One line per measurement: its correlation with accuracy over all skills, and with each skill."""
    values = summary["correlation"].sel(level=level)
    shown = {"measurement": [str(m) for m in summary["measurement"].values]}
    for skill in map(str, summary["skill"].values):
        digits = 2
        cells = values.sel(skill=skill)
        shown[skill] = [interval_text(cell, digits, "+") if skill == ALL else _short(cell) for cell in cells]
    return pd.DataFrame(shown)


def _short(cell: xr.DataArray) -> str:
    """A correlation, starred where its interval of at least 8 videos leaves out 0."""
    value, low, high, videos = (float(v) for v in cell.values)
    return "-" if np.isnan(value) else f"{value:+.2f}" + "*" * is_marked(low, high, videos)


@study_main(NAME)
def main(options: Options) -> xr.Dataset:
    """Compute the rows that are missing, then the correlations; write rows, summary and figure, and print the tables.

    Raises
    ------
    NothingMeasuredError
        If every video failed.
    """
    curve = retention_curve.run_curve(options, also=[options.rows])
    run = replace(curve, provenance={**curve.provenance, "study": NAME})
    conditions = conditions_of(options.methods, options.retentions)
    units = units_of(run.rows, [c.label for c in conditions], [c.requested for c in conditions])
    summary = correlations(units, resamples=options.resamples)
    told = {"frames": options.frames, "seeds": options.seeds, "replaced": replaced_sources(run.rows)}
    summary = save_summary(summary, run, options.out, **told)
    draw(options.out)
    for level in LEVELS:
        print(
            f"\nRank correlation with accuracy, {level} (*: the 95% interval leaves out 0, of {MARKED} videos or more):"
        )
        print(prediction_table(summary, level).to_string(index=False))
    print(f"\n{len(units.videos)} videos, {len(conditions)} settings; {interval_name(len(units.videos))}.")
    print("\n".join([say_what_ran(run), f"Rows, summary and figure: {options.out}"]))
    return summary


def draw(out: Path) -> list[Path]:
    """Draw the study's figure from what is stored in `out`."""
    return plot.save(plot.metric_prediction(open_dataset(out / "summary.zarr").load()), out / NAME)


if __name__ == "__main__":
    command_line(Options, main)
