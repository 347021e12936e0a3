"""Which measurement predicts the accuracy that a method keeps? Rank correlations over methods, retentions and videos.

The rows of `studies.retention_curve` say for each clip, method and retention what a measurement is and which questions
are answered rightly. Conditions are ranked by both (means over clips): over all conditions, and among the methods that
were asked for the same retention, where the number of tokens cannot be what predicts. Beside it the same within each
clip: conditions of one clip ranked, correlations averaged over clips. Intervals are over clips.

    python -m studies.metric_prediction
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd
import xarray as xr
from matplotlib.figure import Figure

from redundancy.evaluation.statistics.intervals import MARKED
from redundancy.evaluation.statistics.rank_correlation import ALL, LEVELS, rank_correlations
from redundancy.evaluation.statistics.told import extremes
from redundancy.plot import compose

from . import Column, Table, retention_curve
from .core.panels import forest, panel
from .core.study import Facts

PREDICTORS = {"achieved": "share of tokens kept"} | retention_curve.MEASURED | retention_curve.ORDER


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

    rows: Path = Path("results/retention_curve")
    resamples: int = 999

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "rows", Path(self.rows).expanduser())
        self.at_least(1, "resamples")


def correlations(summary: xr.Dataset, rows: pd.DataFrame, *, facts: Facts, options: Options) -> xr.Dataset:
    """Rank correlations of every measurement with accuracy, by level and skill."""
    requested = {c.label: float(c.factors["requested"]) for c in options.conditions() if c.kind != "full"}
    found = rank_correlations(rows, requested, measures=PREDICTORS, resamples=options.resamples)
    return xr.Dataset({"correlation": found}, attrs={"interval": found.attrs["interval"], "conditions": len(requested)})


def tables(summary: xr.Dataset) -> Iterator[Table]:
    """One per level: with intervals over all questions, marked by stars for each skill."""
    skills = list(map(str, summary["skill"].values))
    for level in LEVELS:
        cell = partial(Column, "", "+.2f", of="correlation")
        columns = {skill: cell(at={"level": level, "skill": skill}, starred=skill != ALL) for skill in skills}
        title = f"Rank correlation with accuracy, {level} (*: the interval of {MARKED} videos or more leaves out 0):"
        yield Table(columns, title, rows=("measure",), name=level.replace(" ", "_"))


def figure(summary: xr.Dataset) -> Figure:
    """How well each measurement ranks conditions by the accuracy that they keep, for all skills and each of them."""
    row = partial(panel, forest, "correlation", series="skill", limits=(-1.05, 1.05))
    row = partial(row, label="rank correlation with accuracy")
    panels = {
        "over methods and retentions": row(at={"level": "all settings"}),
        "over methods at equal retention": row(at={"level": "equal retention"}),
    }
    return compose(summary, panels, height=3.8, sharey=True)


def found(summary: xr.Dataset) -> list[str]:
    """Which measurements rank conditions as their accuracy does."""
    over = {"all settings": "over all conditions", "equal retention": "among methods asked for the same retention"}
    return [
        extremes(
            summary,
            "",
            of="correlation",
            at={"level": level, "skill": ALL},
            dim="measure",
            form="+.2f",
            says=f"rank correlation with accuracy, {text}",
        )
        for level, text in over.items()
    ]


STUDY = replace(
    retention_curve.STUDY,
    name="metric_prediction",
    options=Options,
    rows_of=retention_curve.STUDY,
    also=lambda options: [options.rows],
    derive=correlations,
    tables=(tables,),
    figures={"": figure},
    finding=found,
)

if __name__ == "__main__":
    STUDY.command_line()
