"""Checks of the fidelity metrics."""

from __future__ import annotations

from tests.metrics.checks.case import Checks

CHECKS: dict[str, Checks] = {}
