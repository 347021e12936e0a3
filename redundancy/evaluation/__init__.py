"""Answers, intervals and costs: what a reduced model still does, and how sure that is. Names are imported when used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redundancy._lazy import lazy_names

if TYPE_CHECKING:
    from redundancy.evaluation.answers import evaluate as evaluate
    from redundancy.evaluation.order import order_sensitivity as order_sensitivity
    from redundancy.evaluation.scoring import score_questions as score_questions
    from redundancy.evaluation.session import VideoSession as VideoSession
    from redundancy.evaluation.statistics.aggregate import aggregate as aggregate
    from redundancy.evaluation.statistics.aggregate import contrast as contrast
    from redundancy.evaluation.statistics.intervals import mean_interval as mean_interval
    from redundancy.evaluation.statistics.intervals import paired_difference as paired_difference
    from redundancy.evaluation.statistics.join import join_summaries as join_summaries
    from redundancy.evaluation.statistics.measures import Measure as Measure
    from redundancy.evaluation.statistics.measures import measure_of as measure_of
    from redundancy.evaluation.statistics.scores import accuracy as accuracy
    from redundancy.evaluation.statistics.scores import fidelity_means as fidelity_means
    from redundancy.evaluation.statistics.scores import paired_accuracy as paired_accuracy
    from redundancy.evaluation.statistics.scores import paired_measure as paired_measure
    from redundancy.evaluation.statistics.summary import compare as compare
    from redundancy.evaluation.statistics.summary import summarise as summarise
    from redundancy.evaluation.statistics.summary import table as table

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
