"""Decisions only: what a method keeps, merges and drops, built on the metrics."""
