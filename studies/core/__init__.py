"""What a study is made of; `from studies.core import ...` has all that most need, drawing functions are in `panels`."""

from redundancy.evaluation.conditions import FULL, Condition, grid
from redundancy.evaluation.session import VideoSession
from redundancy.evaluation.statistics.measures import Measure
from redundancy.plot import compose
from studies.core.panels import panel
from studies.core.report import Column, Table
from studies.core.study import Facts, MethodOptions, Row, Study, StudyOptions, own_questions, required_questions
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
    "compose",
    "grid",
    "own_questions",
    "panel",
    "required_questions",
]
