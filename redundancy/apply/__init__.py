"""Reductions inside `generate()` of unmodified models."""
