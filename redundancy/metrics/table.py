"""The table of metrics, from which `measure`, generic tests, studies and the README are made.

A new metric is one function with its facts, in a file that this one imports.
"""

from __future__ import annotations

from redundancy.metrics import attention, coverage, fidelity, position, temporal, trajectory, visual
from redundancy.metrics.registry import FACTS, Metric

MODULES = (temporal, visual, trajectory, position, coverage, attention, fidelity)
GROUPS = tuple(module.__name__.rsplit(".", 1)[-1] for module in MODULES)
METRICS: dict[str, Metric] = {name: FACTS[name] for group in GROUPS for name in FACTS if FACTS[name].group == group}
