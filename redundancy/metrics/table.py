"""The table of metrics, from which `measure`, generic tests, studies and the README are made.

A new metric is one function with its facts, in a file that its group's package imports; one of a user's own stands in
the table as soon as its `@metric` was run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from redundancy.metrics import agreement, attention, coverage, fidelity, position, temporal, trajectory, visual
from redundancy.metrics.registry import FACTS, Metric

MODULES = (temporal, visual, trajectory, position, coverage, attention, fidelity, agreement)
GROUPS = tuple(module.__name__.rsplit(".", 1)[-1] for module in MODULES)


class Table(Mapping[str, Metric]):
    """Every metric that was noted so far, by group; those of a user's own groups come last."""

    def __getitem__(self, name: str) -> Metric:
        return FACTS[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(FACTS, key=lambda name: _place(FACTS[name].group)))

    def __len__(self) -> int:
        return len(FACTS)

    def __repr__(self) -> str:
        return f"Table of {len(self)} metrics: {', '.join(self)}"


def _place(group: str) -> int:
    return GROUPS.index(group) if group in GROUPS else len(GROUPS)


METRICS: Mapping[str, Metric] = Table()
