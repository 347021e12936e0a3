"""Where a number comes from: versions, commit, digests of settings, weights and clips."""

from __future__ import annotations

import hashlib
import json
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import redundancy
from redundancy.digest import digest_of, file_sha256

_LIBRARIES = ("torch", "transformers", "numpy", "scikit-learn", "scipy", "xarray", "zarr", "decord", "av")
# of a model folder, what decides about its outputs: weights, configurations, tokenizers, templates
_OF_A_MODEL = frozenset({".safetensors", ".json", ".jinja", ".txt", ".model", ".tiktoken"})


@lru_cache(maxsize=1)
def library_versions() -> dict[str, str]:
    """Version of each library that shapes a result; absent libraries are left out."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def commit() -> str:
    """Commit of the checkout that the package runs from, with `+changes` where files differ.

    Where there is none (an installed package, no git), the version: `redundancy 0.1.0`.
    """
    installed = f"redundancy {redundancy.__version__}"
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return installed
    command = ["git", "-C", str(root), "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return installed


def model_files(folder: str | Path) -> list[Path]:
    """Files of a model's folder that decide about its outputs, in order: weights, configurations, tokenizer, templates.

    The folder of the salience head that its `redundancy.json` names belongs to it.

    Raises
    ------
    OSError
        If the folder or the head's cannot be listed.
    """
    folder = Path(folder)
    files = [p for p in sorted(folder.iterdir()) if p.suffix in _OF_A_MODEL]
    files += sorted((folder / "additional_chat_templates").glob("*.jinja"))
    files += [shard for shard in _shards(folder) if shard not in files]
    note = folder / "redundancy.json"
    head = json.loads(note.read_text()).get("salience_head") if note.is_file() else None
    return files if head is None else [*files, *model_files((folder / head).resolve())]


def _shards(folder: Path) -> list[Path]:
    """Files that the index of the weights names, which may lie in folders inside."""
    index = folder / "model.safetensors.index.json"
    named = json.loads(index.read_text()).get("weight_map", {}) if index.is_file() else {}
    return [folder / name for name in sorted(set(named.values()))]


def folder_digest(folder: str | Path) -> str:
    """SHA-256 over the names and bytes of all files of a model's folder that decide about its outputs.

    Parameters
    ----------
    folder
        Of a Hugging Face model.

    Raises
    ------
    ValueError
        If the folder holds no weights, which leaves nothing to tell two models apart by.
    OSError
        If a file cannot be read.
    """
    files = model_files(folder)
    if not [*Path(folder).glob("*.safetensors"), *_shards(Path(folder))]:
        raise ValueError(f"the folder {folder} holds no *.safetensors, expected a model's weights")
    return digest_of([(file.name, file_sha256(file)) for file in files])


def weights_hash(folder: str | Path) -> str:
    """SHA-256 over the names and bytes of a folder's safetensors files; empty where there are none.

    Files in the hub's cache are named by their own hash, which is then taken instead of reading gigabytes again.
    """
    files = sorted(Path(folder).glob("*.safetensors")) if Path(folder).is_dir() else []
    if not files:
        return ""
    total = hashlib.sha256()
    for file in files:
        total.update(file.name.encode())
        total.update(file_sha256(file).encode())
    return total.hexdigest()
