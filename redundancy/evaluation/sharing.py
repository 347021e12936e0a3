"""Whether one run of a video serves all questions about it."""

from __future__ import annotations

from collections.abc import Sequence

from redundancy.evaluation.rows import Inner
from redundancy.pruning.base import InnerMethod
from redundancy.pruning.named import as_inner
from redundancy.reduction import Reduction

InnerGiven = str | InnerMethod | Sequence[str | type[InnerMethod] | InnerMethod | Sequence[Reduction]]


def reads_question(inner: InnerGiven) -> bool:
    """Whether a method inside the model reads the attention of the prompt, so that questions share nothing."""
    return any(isinstance(m, InnerMethod) and m.queries != "none" for m in as_inner(inner))


def share(inner: Inner, shared: bool | None) -> bool:
    """Whether questions share a run: as is asked for, and where nothing is, wherever that gives the same answers.

    Raises
    ------
    ValueError
        If `shared` would change answers.
    """
    reads = reads_question(inner)
    if shared and reads:
        raise ValueError(
            "shared=True given with a method inside the model that reads the question, expected shared=None or False"
        )
    return not reads if shared is None else shared
