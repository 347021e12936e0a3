"""Reductions inside `generate()` of unmodified models."""

from redundancy.apply.outer import Pruned, prune

__all__ = ["Pruned", "prune"]
