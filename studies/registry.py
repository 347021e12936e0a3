"""The studies: name -> module. A new study is one line here."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

STUDIES: tuple[str, ...] = (
    "ablate_segments",
    "redundancy_profile",
    "position_drift",
    "attention_lost",
    "method_agreement",
    "retention_curve",
    "metric_prediction",
    "efficiency",
)
TOOLS: tuple[str, ...] = ("ask",)
RESULTS = Path("results")


def study(name: str) -> ModuleType:
    """The module of a study: `Options`, `main(options)` and `draw(folder)`.

    Raises
    ------
    ValueError
        If there is no such study.
    """
    if name not in STUDIES:
        raise ValueError(f"there is no study {name!r}; the studies are {', '.join(STUDIES)}")
    return import_module(f"studies.{name}")


def one_line(name: str) -> str:
    """First line of a study's docstring."""
    return (study(name).__doc__ or "").strip().splitlines()[0]
