"""The lines that a study prints under its tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr

from redundancy.checks import counted
from redundancy.evaluation.statistics.intervals import interval_name


def below_tables(summary: xr.Dataset, videos: int) -> str:
    """What stands under tables of means: of how many videos, and which intervals."""
    counts = [v.sel(statistic="n").values.ravel() for v in summary.data_vars.values() if "statistic" in v.dims]
    known = np.concatenate(counts) if counts else np.zeros(0)
    known = known[known > 0]  # NaN and 0: no such measure
    fewest, most = (int(known.min()), int(known.max())) if len(known) else (0, 0)
    some = f" ({fewest} to {videos} where a measure is not defined for all)" if fewest < videos else ""
    return f"Means over {counted(videos, 'video')}{some}; {interval_name(fewest, most)}"


def replaced_sources(rows: pd.DataFrame) -> list[str]:
    """One line for each method that read another source than it does by default."""
    noted = rows[rows["replaced"].fillna("") != ""] if "replaced" in rows else rows[:0]
    pairs = noted[["method", "replaced"]].drop_duplicates().itertuples(index=False) if len(noted) else ()
    return sorted({line for name, note in pairs for line in (note if ": " in note else f"{name}: {note}").split("; ")})
