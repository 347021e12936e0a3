"""The example of every method, segmenter and name that a user types, on a small video."""

from __future__ import annotations

import doctest
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import redundancy.pruning as pruning
from redundancy.pruning import INNER_METHODS, METHODS, SEGMENTERS
from redundancy.pruning.base import Method
from redundancy.tokens import VideoTokens

CLASSES = {n: type(e.method) for n, e in [*METHODS.items(), *INNER_METHODS.items()]}
CLASSES |= {n: type(s) for n, s in SEGMENTERS.items()}
FUNCTIONS = {name: getattr(pruning, name) for name in ("as_method", "as_inner", "label_of", "register")}


def example_tokens() -> VideoTokens:
    """8 frames of 4 x 4 tokens: two scenes, whose tokens are unit vectors, with every source."""
    x = torch.eye(16).expand(8, 16, 16).clone()
    x[5:] = x[5:].flip(1)
    salience = {name: torch.linspace(0, 1, 16).expand(8, 16) for name in ("pooling_head", "received")}
    head = torch.eye(2)[[0, 0, 0, 0, 0, 1, 1, 1]] + 0.01 * torch.arange(8)[:, None]
    sources = {"pooling_head": head, "mean": head}
    return VideoTokens.from_features(x, rows=4, cols=4, salience=salience, frame_features=sources)


def names() -> dict[str, Any]:
    g = torch.Generator().manual_seed(0)
    known = {name: getattr(pruning, name) for name in pruning.__all__} | {c.__name__: c for c in CLASSES.values()}
    span = {"hidden": torch.randn(20, 8, generator=g), "attention": torch.rand(20, generator=g)}
    return known | span | {"tokens": example_tokens(), "torch": torch, "dataclass": dataclass, "Method": Method}


@pytest.mark.parametrize(("name", "thing"), [*CLASSES.items(), *FUNCTIONS.items()], ids=[*CLASSES, *FUNCTIONS])
def test_example(name: str, thing: Any) -> None:
    before = set(METHODS)
    found = doctest.DocTestFinder(recurse=False).find(thing, thing.__name__, globs=names())
    examples = [e for test in found for e in test.examples]
    assert examples, f"{thing.__name__} has no example in its docstring"
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in found:
        runner.run(test, out=said.append)
    for added in METHODS.keys() - before:
        del METHODS[added]
    assert not runner.failures, "".join(said)
