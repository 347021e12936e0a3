"""Fixtures that give a small model of every family to generic tests; import them in a folder's conftest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from transformers.utils import logging

from redundancy.models import VideoLLM, load_model
from tests.tiny_models import TINY

logging.disable_progress_bar()


@pytest.fixture(scope="session")
def tiny_folder(made_once: Callable[[str], AbstractContextManager[Path]]) -> Callable[[str], Path]:
    """Folder of the small random model of a family, written once per run."""

    def folder(family: str) -> Path:
        with made_once(f"tiny-{family}") as root:
            path = root / family
            if not path.is_dir():
                TINY[family](path)
        return path

    return folder


@pytest.fixture(scope="session", params=list(TINY))
def family_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def family_model(family_name: str, tiny_folder: Callable[[str], Path]) -> VideoLLM:
    """A small random model of each family, in float32 with the default attention."""
    return load_model(tiny_folder(family_name), device="cpu")


@pytest.fixture(scope="session")
def eager_model(family_name: str, tiny_folder: Callable[[str], Path]) -> VideoLLM:
    """The same weights with eager attention, whose maps can be read."""
    return load_model(tiny_folder(family_name), device="cpu", attn_implementation="eager")


def hooks_of(model: VideoLLM) -> int:
    """Hooks on a model, but for those that transformers leaves there at the first call."""
    parts = list(model.model.modules())
    hooks = [h for m in parts for h in (*m._forward_hooks.values(), *m._forward_pre_hooks.values())]
    return sum(not str(getattr(h, "__module__", "")).startswith("transformers.") for h in hooks)
