"""What a row says about a video that failed."""

from __future__ import annotations

import pandas as pd

FAILURE = ("error", "error_type")


def with_failures(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the columns `FAILURE` at the end, None where nothing failed."""
    rows = rows.assign(**{name: None for name in FAILURE if name not in rows})
    return rows[[*(c for c in rows.columns if c not in FAILURE), *FAILURE]]


def failure_of(error: Exception) -> dict[str, str]:
    """The columns `FAILURE` of an exception: its message, or its type where it has none, and its type."""
    kind = type(error).__name__
    message = (str(error) or kind).encode("utf-8", "backslashreplace").decode()  # names of files may be no UTF-8
    return dict(zip(FAILURE, (message, kind), strict=True))
