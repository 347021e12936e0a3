"""What every test may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from hypothesis import settings

from tests import sampled_types

sampled_types.install()  # before the package is imported

from studies.registry import STUDIES, TOOLS  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of what tests start beside them: notebooks, studies, readers
settings.register_profile(
    "project", deadline=None, derandomize=True, max_examples=30
)  # no test depends on time or on luck
settings.register_profile("fast", deadline=None, derandomize=True, max_examples=5)
settings.load_profile("project")
torch.set_num_threads(1)  # the tests run one process per core


SLOW = (
    *("test_notebooks.py", "test_contributing.py", "test_fuzz.py", "test_golden.py", "test_hostile_arguments.py"),
    *(
        "test_warm_python.py",
        "test_gpu_benchmark.py::test_one_family",
        "test_pages.py",
        "evaluation/test_inside.py",
        "evaluation/test_multiple.py::test_intervals",
    ),
    *(
        "test_readme.py::test_code_runs",
        "test_accessor.py::test_registered",
        "test_video.py::test_wrong_type_is_caught",
    ),
    *("evaluation/test_answers.py", "evaluation/test_drift.py", "evaluation/test_order.py", "evaluation/test_run_kill"),
    *("metrics/test_measure.py::test_memory", "plot/test_study_figures.py", "pruning/test_methods.py::test_special"),
    *("metrics/test_registry.py::test_special", "metrics/test_registry.py::test_scales_that"),
    *("metrics/test_measure.py::test_lazy", "evaluation/test_known_rank_correlations.py::test_noise"),
    *("video/test_timeline.py::test_frames_are", "test_video.py::test_shared_files", "test_sources.py::test_names"),
    *("pruning/test_registration.py::test_digests", "world/test_clips.py", "video/test_reader.py"),
    *(f"studies/test_{name}" for name in (*STUDIES, *TOOLS, "ablations", "every_family", "own_study", "command_line")),
)
LONGEST = tuple(
    f"tests/{place}" for place in ("test_notebooks.py", "training/", "test_extending.py", "world/test_clips")
)
# markers that a test has by what it uses and where it lies, beside those that it names itself
BY_FIXTURE = {
    "models": {"family_name", "family_model", "eager_model", "tiny_folder", "tiny"},
    "slow": {"ran", "each"},  # whole studies
}
BY_PLACE = {
    "training": ("tests/training/",),
    "slow": tuple(f"tests/{place}" for place in SLOW),
}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of which every test is slow are not even imported where none is wanted."""
    wanted = str(config.getoption("markexpr"))
    name = str(collection_path.relative_to(ROOT)) if collection_path.is_relative_to(ROOT) else ""
    unwanted = [p for marker, places in BY_PLACE.items() if f"not {marker}" in wanted for p in places if "::" not in p]
    return True if name.endswith(".py") and name.startswith(tuple(unwanted)) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by their fixtures and files; those that take longest run first, so that no worker waits at the end."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        found = [marker for marker, fixtures in BY_FIXTURE.items() if names & fixtures]
        found += [marker for marker, places in BY_PLACE.items() if item.nodeid.startswith(places)]
        for marker in found:
            item.add_marker(marker)
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


def pytest_runtest_setup() -> None:
    """The first calls of each function in each test have their types checked."""
    sampled_types.next_test()


@pytest.fixture(scope="session")
def made_once(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], AbstractContextManager[Path]]:
    """A folder that all workers share, by name, held by one of them at a time: what is in it is made by the first."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if hasattr(pytestconfig, "workerinput") else base

    @contextmanager
    def folder(name: str) -> Iterator[Path]:
        with FileLock(root / f"{name}.lock"):
            (root / name).mkdir(exist_ok=True)
            yield root / name

    return folder


@pytest.fixture
def shared() -> Path:
    """The team's folder of reference data and real clips beside the project; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent: it holds reference data that is not shipped")
    return SHARED
