"""Methods of a study by name, with settings, at every retention."""

from __future__ import annotations

import pytest

from redundancy.pruning import FastVID
from studies.conditions import conditions_of


def test_methods_of_studies_are_named_with_settings() -> None:
    made = conditions_of(["fastvid", "FastVID(c=4)", "fastvid(0.2)", "average_pool"], (0.5, 0.1))
    assert [c.label for c in made] == [
        *("fastvid(0.5)", "fastvid(0.1)", "fastvid(0.5, c=4)", "fastvid(0.1, c=4)", "fastvid(0.2)", "average_pool")
    ]
    assert [c.name for c in made] == ["fastvid", "fastvid", "fastvid(c=4)", "fastvid(c=4)", "fastvid", "average_pool"]
    assert made[3].method == FastVID(retention=0.1, c=4)
    with pytest.raises(ValueError, match="given more than once"):
        conditions_of(["fastvid", "FastVID"], (0.5,))
