"""Means with intervals, paired differences, scores."""
