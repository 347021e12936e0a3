"""A metric of a user's own is one function with its facts: `measure` finds it as soon as its file was imported."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import redundancy as rd
from redundancy.metrics import agreement, attention, coverage, fidelity, position, temporal, trajectory, visual
from redundancy.metrics.registry import FACTS, metric
from redundancy.metrics.table import METRICS

MINE = '''
from redundancy.metrics.registry import metric


@metric(dims=("frame",), unit="1", bounds=(0, 1), higher="brighter", known=("zeros: 0",), undefined="never seen")
def mine(tokens, *, scale: float = 1.0):
    """Share of positive channels of each frame."""
    return scale * (tokens > 0).float().mean((1, 2))
'''


@pytest.fixture(autouse=True)
def _only_here() -> Iterator[None]:
    before = dict(FACTS)
    yield
    FACTS.clear()
    FACTS.update(before)


def load(path: Path) -> None:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[path.stem] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def test_a_metric_of_a_plug_in_file_is_measured(tmp_path: Path) -> None:
    tokens = rd.VideoTokens.from_features(torch.randn(5, 6, 4), rows=2, cols=3)
    with pytest.raises(ValueError, match=r"metrics=\['mine'\] given, expected"):
        rd.measure(tokens, metrics=["mine"])
    path = tmp_path / "plug_in.py"
    path.write_text(MINE)
    load(path)
    found = rd.measure(tokens, metrics=["mine"], settings={"mine": {"scale": 0.5}})
    assert torch.equal(torch.from_numpy(found["mine"].values), 0.5 * (tokens.features > 0).float().mean((1, 2)))
    assert found["mine"].attrs["higher"] == "brighter"
    assert "mine" in rd.measure(tokens)
    assert list(METRICS)[-1] == "mine"
    assert METRICS["mine"].group == "plug_in"
    load(path)  # the file again, as a notebook runs a cell again
    assert len(METRICS) == len(FACTS)


def test_a_name_that_is_another_metrics_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"there is a metric 'speed' of redundancy\.metrics\.trajectory\.steps already"
    ):

        @metric(dims=(), unit="1", bounds=(0, 1), higher="more", known=("none",))
        def speed(tokens: object) -> None:
            """Another speed."""


@pytest.mark.parametrize("name", list(METRICS))
def test_facts_stand_in_the_docstring_once(name: str) -> None:
    m = METRICS[name]
    text = m.function.__doc__ or ""
    flat = " ".join(text.split())
    for fact in (m.higher, m.undefined, *m.known):
        assert flat.count(" ".join(fact.split())) == 1 or not fact
    assert "\n\nNotes\n-----\n- Unit: " in text
    assert text == inspect.cleandoc(text)
    assert max(map(len, text.splitlines())) <= 120


GROUPS = (temporal, visual, trajectory, position, coverage, attention, fidelity, agreement)


@pytest.mark.parametrize("name", list(METRICS))
def test_a_group_offers_its_metrics(name: str) -> None:
    group = {g.__name__.rsplit(".", 1)[-1]: g for g in GROUPS}[METRICS[name].group]
    assert getattr(group, name) is METRICS[name].function
    assert name in getattr(group, "__all__", [name])
