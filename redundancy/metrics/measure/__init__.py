"""The machinery behind `redundancy.measure`: what an input allows, computed, labelled, and held against nulls."""

from redundancy.metrics.measure.run import choose as choose
from redundancy.metrics.measure.run import measure as measure
