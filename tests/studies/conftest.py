"""A small model of every family, each study run once on two clips, and tables of a user's own things set back."""

from __future__ import annotations

import io
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import pandas as pd
import pytest
import xarray as xr
from matplotlib.figure import Figure
from torch.nn.modules.module import register_module_forward_hook

from redundancy.metrics.registry import FACTS
from redundancy.models import VideoLLM, load_model
from redundancy.pruning import INNER_METHODS, METHODS
from redundancy.pruning.registration import REGISTRIES
from studies.core.run import draw
from studies.core.study import Study
from studies.registry import study
from tests.family_fixtures import family_model, family_name, tiny_folder

__all__ = ["family_model", "family_name", "tiny_folder"]

ROWS_ON, DRAW = Study.rows_on, draw
PAIR: dict[str, Any] = {"methods": ("fastvid", "random_tokens"), "retentions": (0.5,), "seeds": 1}
RANKED = {**PAIR, "retentions": (0.5, 0.25)}
CHANGE: dict[str, Any] = {"retentions": (0.5,), "skills": ("digit",)}
SMALL: dict[str, dict[str, Any]] = {  # options that make a study fast
    "ablate_segments": {
        "segmenters": ("fixed_interval",),
        "segments": (2, 4),
        "retentions": (0.5,),
        "seeds": 1,
        "skills": ("digit",),
    },
    "redundancy_profile": {"metrics": ("transition_similarity", "speed"), "null_draws": 2},
    "position_drift": PAIR,
    "attention_lost": {**PAIR, "skills": ("digit",)},
    "method_agreement": PAIR,
    "retention_curve": RANKED,
    "metric_prediction": {**RANKED, "resamples": 9},
    "efficiency": {"methods": ("fastvid",), "retentions": (0.5,), "new_tokens": 2, "repeats": 1},
    "ablate_merging": {**CHANGE, "only": ("merger",)},
    "ablate_salience": {**CHANGE, "only": ("d",), "shares": (0.4, 1.0)},
    "ablate_budget": {**CHANGE, "only": ("ends",)},
    "ablate_selection": {**CHANGE, "only": ("selector",)},
    "ablate_inner": {"only": ("attention of", "HoliTom"), "skills": ("digit",), "retentions": (0.5,)},
    "parity_gap": {**CHANGE, "methods": ("vcast", "dycoke")},
    "placement": {**CHANGE, "methods": ("fastvid",), "distances": (4,), "axes": ("time",)},
    "frame_scaling": {**CHANGE, "counts": (4, 8), "methods": ("vcast",)},
    "temporal_order": {**CHANGE, "methods": ("vcast",)},
}
# made by `ablation`, of which one stands for all wherever what is tested is how a study lives
ALIKE = ("ablate_merging", "ablate_salience", "ablate_selection", "parity_gap", "placement")


@dataclass(frozen=True)
class Ran:
    """A study that was run: its options and folder, what it returned and printed, drew, and how often the tower ran."""

    study: Study
    options: Any
    summary: xr.Dataset
    printed: str
    figures: tuple[Figure, ...]
    tower_runs: int

    @property
    def out(self) -> Path:
        return Path(self.options.out)

    @property
    def rows(self) -> pd.DataFrame:
        return pd.read_parquet(self.out / "rows.parquet")

    def copied(self, to: Path) -> Path:
        """Its results in a folder in which they may be changed."""
        return Path(shutil.copytree(self.out, to))


@pytest.fixture(scope="session")
def tiny() -> VideoLLM:
    """The bundled model."""
    return load_model("tiny-llava-onevision", device="cpu")


@pytest.fixture(scope="session")
def ran(tiny: VideoLLM, made_once: Callable[[str], AbstractContextManager[Path]]) -> Callable[[str], Ran]:
    """A study by its name, run by the first of all workers that asks, on two clips of eight frames."""
    done: dict[str, Ran] = {}

    def once(name: str) -> Ran:
        if name not in done:
            of_rows = {"rows": once("retention_curve").out} if name == "metric_prediction" else {}
            with made_once(f"study-{name}") as root:
                stored, chosen = root / "ran.pickle", study(name)
                options = chosen.options(frames=8, limit=2, out=root / name, **SMALL[name], **of_rows)
                if not stored.is_file():
                    stored.write_bytes(cloudpickle.dumps(run_once(chosen, options, tiny)))
                done[name] = Ran(chosen, options, *pickle.loads(stored.read_bytes()))
        return done[name]

    return once


def run_once(chosen: Study, options: Any, tiny: VideoLLM) -> tuple[xr.Dataset, str, tuple[Figure, ...], int]:
    """What a run returned, printed and drew, and how often the tower ran."""
    calls, drawn = [0], []
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setattr(Study, "rows_on", ROWS_ON)  # whatever the test that asks first has set in their place
        patch.setattr("studies.core.run.draw", DRAW)
        save = sys.modules["redundancy.plot.style"].save
        patch.setattr("redundancy.plot.save", lambda figure, path: drawn.append(figure) or save(figure, path))
        tower = tiny.family.tower  # a hook of its own would be a part of what rows depend on
        hook = register_module_forward_hook(lambda m, *_: calls.append(calls.pop() + 1) if m is tower else None)
        try:
            summary = chosen.run(options, model=tiny)
        finally:
            hook.remove()
    return summary, printed.getvalue(), tuple(drawn), calls[0]


@pytest.fixture(params=list(SMALL))
def every(request: pytest.FixtureRequest, ran: Callable[[str], Ran]) -> Ran:
    """Every study, run."""
    return ran(str(request.param))


@pytest.fixture(params=[name for name in SMALL if name not in ALIKE])
def each(request: pytest.FixtureRequest, ran: Callable[[str], Ran]) -> Ran:
    """Every study, run; of those that are made alike one."""
    return ran(str(request.param))


@pytest.fixture
def own_tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers, or loads as a plug-in, is gone after it."""
    tables: tuple[Any, ...] = (METHODS, INNER_METHODS, *REGISTRIES, FACTS)
    before = [dict(table) for table in tables]
    monkeypatch.setattr("redundancy.plugins._LOADED", {})
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)
    for name in [n for n in sys.modules if n.startswith("plugin_")]:
        del sys.modules[name]


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Studies draw no figures."""
    monkeypatch.setattr("studies.core.run.draw", lambda study, folder, formats: [])


@pytest.fixture
def drawn(family_name: str, request: pytest.FixtureRequest) -> bool:
    """Figures are drawn of the family least like the bundled model, and not of the others."""
    if family_name != "qwen3_vl":
        request.getfixturevalue("undrawn")
    return family_name == "qwen3_vl"


@pytest.fixture
def opened(undrawn: None, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Video and conditions of all that studies compute from now on; figures are not drawn."""
    seen: list[tuple[str, list[str]]] = []
    rows_on = Study.rows_on

    def noted(self: Study, video: Any, conditions: Any, options: Any) -> Any:
        seen.append((video.source.name, [c.label for c in conditions]))
        return rows_on(self, video, conditions, options)

    monkeypatch.setattr(Study, "rows_on", noted)
    return seen
