"""Where the bundled models, clips and captures lie, and folders whose names are on the disk for certain."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]
BUNDLED = "bundled:"  # begins the names of bundled clips: bundled:clip_000.mp4


class NoDataError(OSError):
    """The package `redundancy-data` is not installed."""


def data_folder() -> Path:
    """Folder of the bundled data: `data/` of a checkout, else that of the installed package `redundancy-data`.

    Raises
    ------
    NoDataError
        If there is neither.
    """
    if (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / "data").is_dir():
        return _CHECKOUT / "data"
    installed = find_spec("redundancy_data")
    if installed is None or not installed.submodule_search_locations:
        raise NoDataError(
            "the bundled models and clips are not installed: pip install redundancy-data, or name a model (a folder "
            "or a hub id) and videos of your own"
        )
    return Path(installed.submodule_search_locations[0])


def bundled_clip(name: str) -> Path:
    """File of the clip that `bundled:NAME` means, whether it exists or not."""
    return data_folder() / "clips" / name.removeprefix(BUNDLED)


def bundled_models() -> dict[str, Path]:
    """Name and folder of every bundled model; none where the bundled data is not installed."""
    try:
        folders = (data_folder() / "models").glob("*/processor_config.json")
    except NoDataError:
        return {}
    return {p.parent.name: p.parent for p in sorted(folders)}


def flush_folder(folder: Path) -> None:
    """Have the names in a folder on the disk; where folders cannot be opened (Windows), there is nothing to do."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
