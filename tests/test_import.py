"""`import redundancy` is quick, and every name that it promises exists."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import redundancy
from redundancy._moved import MOVED

SCRIPT = """
import sys, time
start = time.perf_counter()
import redundancy
seconds = time.perf_counter() - start
heavy = sorted({"torch", "transformers", "torchvision", "decord", "av", "xarray"} & set(sys.modules))
print(seconds, *heavy)
"""


def test_import_is_quick_and_light() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, check=True)
    seconds, *heavy = done.stdout.split()
    assert heavy == []
    assert float(seconds) < 2  # measured 0.02; the bound is for a busy machine
    assert done.stderr == ""


@pytest.mark.parametrize("name", redundancy.__all__)
def test_every_promised_name_exists(name: str) -> None:
    assert getattr(redundancy, name) is not None
    assert name in dir(redundancy)


@pytest.mark.parametrize("old", ["capture", "capture.store", "metrics.density", "pruning.fastvid", "world.train"])
def test_an_old_module_says_where_its_names_are_now(old: str) -> None:
    package = old if old != "capture.store" else "capture"
    with pytest.raises(ModuleNotFoundError, match=f"redundancy.{package} is now redundancy.{MOVED[package]}"):
        importlib.import_module(f"redundancy.{old}")
    assert callable(redundancy.capture)


def test_every_moved_module_is_where_it_is_said_to_be() -> None:
    for old, new in MOVED.items():
        importlib.import_module(f"redundancy.{new}")
        assert old not in MOVED.values()


def test_an_unknown_name_is_refused_with_the_list() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'captur'; it has .*capture"):
        _ = redundancy.captur
