"""A limit on the memory of a process that exists to read videos."""

from __future__ import annotations

import os
from pathlib import Path

_STATUS = Path("/proc/self/statm")
_limited = False


def limit_memory(extra: int | None) -> None:
    """Let this process grow by at most `extra` bytes from now on; None lifts the limit.

    The limit is one of the address space (`RLIMIT_AS`). Only Linux keeps it;
    elsewhere none is set.

    Source: own.
    """
    global _limited
    if not _STATUS.is_file():
        return
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = hard if extra is None else int(_STATUS.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + extra
    resource.setrlimit(resource.RLIMIT_AS, (_at_most(hard, wanted), hard))
    _limited = extra is not None


def reserve(size: int) -> None:
    """Let this process grow by `size` bytes more, if its memory is limited: what a caller asked for is no excess.

    Source: own.
    """
    if not _limited:
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (_at_most(hard, soft + size), hard))


def _at_most(hard: int, wanted: int) -> int:
    import resource

    return wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
