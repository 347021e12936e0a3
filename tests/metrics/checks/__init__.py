"""For each metric: known answers, an outside oracle, and what hypothesis draws its inputs from.

One module per module of `redundancy.metrics`; `tests/metrics/test_registry.py` runs them all.
"""

from tests.metrics.checks import agreement, attention, coverage, fidelity, position, temporal, trajectory, visual
from tests.metrics.checks.case import Checks

CHECKS: dict[str, Checks] = {
    name: checks
    for module in (temporal, visual, trajectory, position, coverage, attention, fidelity, agreement)
    for name, checks in module.CHECKS.items()
}
