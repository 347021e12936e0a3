"""A limit on the memory of a process that exists to read videos."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

_STATUS = Path("/proc/self/statm")
_limited = False


def limit_memory(extra: int | None) -> None:
    """Let this process grow by at most `extra` bytes from now on; None lifts the limit.

    The limit is one of the address space (`RLIMIT_AS`), never above the one that the process began with. Only Linux
    keeps it; elsewhere none is set.
    """
    global _limited
    if not _STATUS.is_file():
        return
    _limited = extra is not None
    _set(_first_limit() if extra is None else int(_STATUS.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + extra)


def reserve(size: int) -> None:
    """Let this process grow by `size` bytes more, if its memory is limited: what a caller asked for is no excess."""
    if _limited:
        import resource

        _set(resource.getrlimit(resource.RLIMIT_AS)[0] + size)


@lru_cache(maxsize=1)
def _first_limit() -> int:
    import resource

    return resource.getrlimit(resource.RLIMIT_AS)[0]


def _set(wanted: int) -> None:
    import resource

    most = _first_limit()
    soft = wanted if most == resource.RLIM_INFINITY else min(most, wanted)
    resource.setrlimit(resource.RLIMIT_AS, (soft, resource.getrlimit(resource.RLIMIT_AS)[1]))
