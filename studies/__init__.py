"""Studies: one module each, run as `python -m studies.<name>`. What they are made of is imported from here."""

from redundancy.evaluation.conditions import FULL, Condition, grid
from redundancy.evaluation.session import VideoSession
from redundancy.evaluation.statistics.measures import Measure
from redundancy.evaluation.tables import Column, Table

from .core.study import Facts, MethodOptions, Row, Study, StudyOptions
from .core.summary import Contrast, Values

__all__ = [
    "FULL",
    "Column",
    "Condition",
    "Contrast",
    "Facts",
    "Measure",
    "MethodOptions",
    "Row",
    "Study",
    "StudyOptions",
    "Table",
    "Values",
    "VideoSession",
    "grid",
]
