"""Scores, intervals and costs."""
