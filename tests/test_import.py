"""`import redundancy` is quick, and every name that it promises exists."""

from __future__ import annotations

import subprocess
import sys

import pytest

import redundancy

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


def test_names_of_functions_can_be_called_also_after_their_package_is_imported() -> None:
    """`redundancy.capture` is a package and a verb."""
    import redundancy.capture

    assert callable(redundancy.capture)
    assert redundancy.capture.record_tokens is not None
    functions = [name for name in redundancy.__all__ if name != "__version__"]
    assert all(callable(getattr(redundancy, name)) for name in functions)


def test_an_unknown_name_is_refused_with_the_list() -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'captur'; it has .*capture"):
        _ = redundancy.captur
