"""Answers, intervals and costs: what a reduced model still does, and how sure that is. Names are imported when used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redundancy.evaluation.answers import evaluate as evaluate
    from redundancy.evaluation.intervals import mean_interval as mean_interval
    from redundancy.evaluation.intervals import paired_difference as paired_difference
    from redundancy.evaluation.order import order_sensitivity as order_sensitivity
    from redundancy.evaluation.scores import accuracy as accuracy
    from redundancy.evaluation.scores import fidelity_means as fidelity_means
    from redundancy.evaluation.scores import paired_accuracy as paired_accuracy
    from redundancy.evaluation.scores import paired_measure as paired_measure
    from redundancy.evaluation.scoring import score_questions as score_questions
    from redundancy.evaluation.summary import compare as compare
    from redundancy.evaluation.summary import summarise as summarise

_HOME = {
    "accuracy": "scores",
    "compare": "summary",
    "evaluate": "answers",
    "fidelity_means": "scores",
    "mean_interval": "intervals",
    "order_sensitivity": "order",
    "paired_accuracy": "scores",
    "paired_difference": "intervals",
    "paired_measure": "scores",
    "score_questions": "scoring",
    "summarise": "summary",
}
__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'redundancy.evaluation' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"redundancy.evaluation.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
