"""Studies: one module each, run as `python -m studies.<name>`. What they are made of is imported from here."""

from redundancy.evaluation.conditions import FULL, Condition, grid
from redundancy.evaluation.session import VideoSession
from redundancy.evaluation.statistics.measures import Measure
from studies.core.report import Column, Table
from studies.core.study import Facts, MethodOptions, Row, Study, StudyOptions
from studies.core.summary import Contrast, Values

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
