"""The studies. A new study is one file and one line here."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path

from .core.study import Study

STUDIES: tuple[str, ...] = (
    "ablate_segments",
    "ablate_merging",
    "ablate_salience",
    "ablate_budget",
    "ablate_selection",
    "ablate_inner",
    "frame_scaling",
    "temporal_order",
    "redundancy_profile",
    "position_drift",
    "placement",
    "attention_lost",
    "method_agreement",
    "parity_gap",
    "retention_curve",
    "metric_prediction",
    "efficiency",
)
TOOLS: tuple[str, ...] = ("ask", "figures")
RESULTS = Path("results")


def study(name: str) -> Study:
    """The study of that name.

    Raises
    ------
    ValueError
        If there is none.
    """
    if name not in STUDIES:
        near = get_close_matches(name, STUDIES, n=1)
        said = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"there is no study {name!r}{said}; the studies are {', '.join(STUDIES)}")
    found: Study = import_module(f".{name}", __package__).STUDY
    return found


def command_of(name: str) -> str:
    """The command that runs a study or a tool: in a checkout, or where the package is installed."""
    if __package__ == "studies":
        return f"python -m studies.{name}"
    return f"redundancy {name}" if name in TOOLS else f"redundancy study {name}"


def one_line(name: str) -> str:
    """First line of a study's or a tool's docstring."""
    return (import_module(f".{name}", __package__).__doc__ or "").strip().splitlines()[0]
