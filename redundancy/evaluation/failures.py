"""What a row says about a video that failed."""

from __future__ import annotations

FAILURE = ("error", "error_type")


def failure_of(error: Exception) -> dict[str, str]:
    """The columns `FAILURE` of an exception: its message, or its type where it has none, and its type.

    Source: own.
    """
    kind = type(error).__name__
    message = (str(error) or kind).encode("utf-8", "backslashreplace").decode()  # names of files may be no UTF-8
    return dict(zip(FAILURE, (message, kind), strict=True))
