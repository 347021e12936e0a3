"""Measurements: pure functions on tensors, CPU or GPU."""
