"""The one copy from the device that a decision makes.

Every copy to the host makes a GPU wait. A decision needs a few numbers per frame on the host, and has to know whether
its input is finite; both travel together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor


class NotFiniteError(Exception):
    """What a decision reads is NaN or infinite, or its sum overflows."""


@dataclass
class _Watch:
    finite: Tensor
    known: bool = False


# Set by `Method.__call__` and read deep inside parts, which copy a few numbers and know nothing of the flag; handing it
# down would make it an argument of every part. A ContextVar, unlike a global, is each thread's and each task's own, so
# that two decisions at once do not take each other's flag.
_watch: ContextVar[_Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watching(finite: Bool[Tensor, ""]) -> Iterator[None]:
    """Learn whether `finite` holds from the first copy that is made inside, or from one of its own at the end.

    Raises
    ------
    NotFiniteError
        If it does not hold.
    """
    watch = _Watch(finite)
    token = _watch.set(watch)
    try:
        yield
        if not watch.known:
            to_host(finite)
    finally:
        _watch.reset(token)


def to_host(x: Shaped[Tensor, "*shape"]) -> Shaped[Tensor, "*shape"]:
    """A copy on the CPU, in one transfer with the flag that is watched.

    Raises
    ------
    NotFiniteError
        If the flag says so.
    """
    watch = _watch.get()
    if watch is None or watch.known or watch.finite.device != x.device:
        return x.cpu()
    both = torch.cat([x.flatten(), watch.finite.to(x.dtype)[None]]).cpu()
    watch.known = True
    if not bool(both[-1]):
        raise NotFiniteError
    return both[:-1].view(x.shape)
