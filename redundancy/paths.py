"""Where the bundled models, clips and captures lie."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def data_folder() -> Path:
    """Folder of the bundled data: `redundancy/_data` of an installed wheel, `data/` of a checkout.

    Raises
    ------
    FileNotFoundError
        If neither exists.
    """
    candidates = (_PACKAGE / "_data", _PACKAGE.parent / "data")
    for folder in candidates:
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"the bundled data is missing: neither {candidates[0]} nor {candidates[1]} exists")


def bundled_models() -> dict[str, Path]:
    """Name and folder of every bundled model."""
    return {p.parent.name: p.parent for p in sorted((data_folder() / "models").glob("*/processor_config.json"))}
