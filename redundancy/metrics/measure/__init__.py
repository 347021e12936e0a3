"""The machinery behind `redundancy.measure`: what an input allows, computed, labelled, and held against nulls."""

from redundancy.metrics.measure.compute import with_series as with_series
from redundancy.metrics.measure.inputs import inputs_of as inputs_of
from redundancy.metrics.measure.labels import defined_mean as defined_mean
from redundancy.metrics.measure.run import bare_values as bare_values
from redundancy.metrics.measure.run import choose as choose
from redundancy.metrics.measure.run import measure as measure
