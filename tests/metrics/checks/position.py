"""Checks of the position metrics."""

from __future__ import annotations

from tests.metrics.checks.case import Checks

CHECKS: dict[str, Checks] = {}
