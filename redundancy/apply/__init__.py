"""Reductions inside `generate()` of unmodified models."""

from redundancy.apply.context import Pruned, prune

__all__ = ["Pruned", "prune"]
