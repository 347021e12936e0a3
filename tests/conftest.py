"""What every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the network
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of what tests start beside them: notebooks, studies, readers
settings.register_profile("project", deadline=None, derandomize=True)  # no test depends on time or on luck
settings.load_profile("project")
torch.set_num_threads(1)  # the tests run one process per core


@pytest.fixture
def shared() -> Path:
    """The team's folder of reference data and real clips beside the project; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is absent: it holds reference data that is not shipped")
    return SHARED
