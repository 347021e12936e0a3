"""A model's folder: where it is, what must not be in it, and its weights, all of them and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from redundancy.paths import bundled_models

TEXTS = ("*.json", "*.jinja", "*.txt", "*.model")  # configuration, tokenizer, chat template
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PATIENCE = 5  # seconds for the one call that asks the hub whether it has a model
_KNOWN = (OSError, ValueError, ImportError, MemoryError, torch.OutOfMemoryError)  # they say what is wrong
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_NOT_CONFIGURATION = ("tokenizer.json", "vocab.json", "added_tokens.json", INDEX)
_UNUSED = (
    r"rotary_emb\.inv_freq$",  # older checkpoints hold it; it is computed from the configuration
    r"position_ids$",  # likewise: 0, 1, 2, ...
    r"vision_tower\.(.*\.)?head\.",  # SigLIP's pooling head, where the model's tower is built without one
)


class ModelNotFoundError(OSError):
    """A model that is neither a folder, nor bundled, nor in the hub's cache or reach."""


# where it is ------------------------------------------------------------------------------------------------------


def find_model(name: str) -> tuple[Path, bool]:
    """The folder of a model, and whether it is one of the hub's, whose weights `fetch_weights` brings.

    Only `owner/name` is looked for on the hub, with one call and no retries; where that fails its cache is taken.

    Raises
    ------
    ModelNotFoundError
        If there is no such model, with the names that are nearest and what to do.
    """
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelNotFoundError(f"the folder {name!r} holds no config.json; expected a Hugging Face model folder")
        return folder.absolute(), False
    bundled = bundled_models()
    if name in bundled:
        return bundled[name], False
    if name and folder.exists():
        raise ModelNotFoundError(f"{name!r} is no folder; expected a Hugging Face model folder, or a name of one")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name, re.ASCII) or name.startswith("."):
        raise ModelNotFoundError(
            f"{name!r} is neither a folder, nor bundled ({_bundled_names()}), nor a hub id, which has the form "
            f"owner/name{_did_you_mean(name)}"
        )
    return _from_hub(name), True


def fetch_weights(name: str) -> None:
    """Bring the safetensors of a hub model into the cache, beside what `find_model` brought.

    Raises
    ------
    ModelNotFoundError
        If they cannot be had.
    """
    _from_hub(name, weights=True)


def _from_hub(name: str, *, weights: bool = False) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    try:
        HfApi().model_info(name, timeout=PATIENCE)
        here: str = snapshot_download(name, allow_patterns=[*TEXTS, *(["*.safetensors"] if weights else [])])
    except Exception as error:  # no such model, no right to it, no network: their types differ between versions
        try:
            here = snapshot_download(name, local_files_only=True)
        except (OSError, ValueError):
            raise ModelNotFoundError(
                f"{name!r} is neither a folder, nor bundled ({_bundled_names()}), nor could it be had from "
                f"the Hugging Face hub ({_first_line(error)}) or its cache. Where there is no network, download it "
                f"elsewhere with `hf download {name} --local-dir FOLDER` and give FOLDER{_did_you_mean(name)}"
            ) from error
    if not (Path(here) / "config.json").is_file():
        raise ModelNotFoundError(f"the hub's {name!r} holds no config.json; expected a Hugging Face model")
    return Path(here)


def _bundled_names() -> str:
    return ", ".join(bundled_models()) or "the bundled models are not here: pip install redundancy-data"


def _did_you_mean(name: str) -> str:
    """The bundled names and the folders beside it that look like the name, as the end of a sentence."""
    parent = Path(name).expanduser().parent
    beside = [str(p) for p in parent.iterdir() if p.is_dir()] if parent != Path() and parent.is_dir() else []
    names = {known.lower(): known for known in (*beside, *bundled_models())}
    last = name.lower().rpartition("/")[2]
    near = dict.fromkeys(get_close_matches(name.lower(), names, n=2) + get_close_matches(last, names, n=2))
    return f"; did you mean {' or '.join(repr(names[key]) for key in near)}?" if near else ""


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


# what must not be in it -------------------------------------------------------------------------------------------


def read_configuration(folder: Path) -> dict[str, Any]:
    """`config.json` of a model whose folder brings no code of its own.

    Raises
    ------
    ValueError
        If any of its configurations names code to be run (`auto_map`, or kernels of the hub), or is no JSON object; if
        the folder is that of an adapter.
    """
    for file in sorted(folder.glob("*.json")):
        if file.is_file() and file.name not in _NOT_CONFIGURATION:
            _refuse_code(file, _read_json(file))
    if (folder / "adapter_config.json").is_file():
        raise ValueError(
            f"{folder} holds a PEFT adapter; load it with peft and give the model to redundancy.models.wrap_model, or "
            "save the merged model (merge_and_unload) and give its folder"
        )
    raw = _read_json(folder / "config.json")
    if not isinstance(raw, dict):
        raise ValueError(f"{folder / 'config.json'} holds a {type(raw).__name__}, expected an object")
    return raw


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not valid JSON ({error}); get the file again") from error


def _refuse_code(file: Path, raw: Any) -> None:
    """Code of a folder or of another one of the hub, wherever in the file it is named."""
    for part in _objects(raw):
        kernels = part.get("attn_implementation", part.get("_attn_implementation"))
        if part.get("auto_map") or (isinstance(kernels, str) and "/" in kernels):
            raise ValueError(
                f"{file} names code that the checkpoint brings with it ({part.get('auto_map') or kernels}), which is "
                "never run here; give a checkpoint in the format of transformers' own classes, without auto_map"
            )


def _objects(raw: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(raw, dict):
        yield raw
        raw = list(raw.values())
    for value in raw if isinstance(raw, list) else ():
        yield from _objects(value)


# its weights ------------------------------------------------------------------------------------------------------


def weight_files(folder: Path) -> list[Path]:
    """The safetensors of a model's folder: one file, or the shards of its index.

    Raises
    ------
    FileNotFoundError
        If there are none, or a shard is missing.
    ValueError
        If a file is damaged, or a shard lacks a weight that the index says it holds.
    """
    if (folder / WEIGHTS).is_file():
        tensor_names(folder / WEIGHTS)
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise FileNotFoundError(f"{folder} holds no *.safetensors (expected {WEIGHTS} or {INDEX}){_pickled(folder)}")
    shards: dict[str, set[str]] = {}
    index = _read_json(folder / INDEX)
    places = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(places, dict) or not all(isinstance(shard, str) for shard in places.values()):
        raise ValueError(f"{folder / INDEX} holds no weight_map from weights to files; get the checkpoint again")
    for weight, shard in places.items():
        shards.setdefault(shard, set()).add(weight)
    gone = [shard for shard in sorted(shards) if not (folder / shard).is_file()]
    if gone or not shards:
        raise FileNotFoundError(
            f"{folder} lacks {len(gone)} of the {len(shards)} shards that {INDEX} names: {', '.join(gone)}; "
            "get the checkpoint again"
        )
    for shard, weights in shards.items():
        absent = sorted(weights - tensor_names(folder / shard))
        if absent:
            raise ValueError(
                f"{folder / shard} {_counted(f'lacks {{}} that {INDEX} says it holds', absent)[0]}; get the "
                "checkpoint again"
            )
    return [folder / shard for shard in sorted(shards)]


def tensor_names(file: Path) -> set[str]:
    """Names of the tensors in a safetensors file, whose length is checked with them.

    Raises
    ------
    ValueError
        If the file is cut short or is none.
    """
    try:
        with safe_open(file, framework="pt") as stored:
            return set(stored.keys())
    except SafetensorError as error:
        raise ValueError(
            f"{file} is no whole safetensors file ({error}; {file.stat().st_size:,} bytes); get the file again"
        ) from error


def load_weights(model_class: Any, folder: Path, **arguments: Any) -> nn.Module:
    """`model_class.from_pretrained` that fills every weight from safetensors, or fails.

    Tied weights and buffers that are computed are not missing; `_UNUSED` are left over in published checkpoints.

    Raises
    ------
    FileNotFoundError
        If there are no safetensors, or not all.
    ValueError
        If the checkpoint lacks weights of the model, holds others, or holds some of another shape.
    """
    weight_files(folder)
    try:
        model, report = model_class.from_pretrained(
            folder,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # they are reported below, with the others
            output_loading_info=True,
            **arguments,
        )
    except _KNOWN:
        raise
    except Exception as error:  # whatever a configuration that does not fit its weights makes of them
        raise ValueError(f"{folder} cannot be loaded as its config.json says ({_first_line(error)})") from error
    loaded: nn.Module = model
    refuse_misfits(
        f"{folder}",
        type(loaded).__name__,
        missing=report["missing_keys"],
        unexpected=report["unexpected_keys"],
        mismatched={name: (tuple(given), tuple(expected)) for name, given, expected in report["mismatched_keys"]},
    )
    return loaded


def load_texts(loader: Any, folder: Path, **arguments: Any) -> Any:
    """`loader.from_pretrained` of a processor or a tokenizer, without code of the folder.

    Raises
    ------
    ValueError
        If its files are missing or cannot be read.
    """
    try:
        return loader.from_pretrained(folder, trust_remote_code=False, **arguments)
    except ImportError:
        raise
    except Exception as error:  # tokenizers raises nothing else
        raise ValueError(
            f"the files of the processor or tokenizer in {folder} are missing or damaged ({_first_line(error)})"
        ) from error


def refuse_misfits(
    where: str,
    what: str,
    *,
    missing: Iterable[str],
    unexpected: Iterable[str],
    mismatched: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]],
) -> None:
    """Refuse weights that are not those of the model.

    Parameters
    ----------
    where
        Folder of the checkpoint.
    what
        Name of the module that the weights are for.
    missing, unexpected
        Names of weights that only the module has, and that only the checkpoint has.
    mismatched
        Name, shape in the checkpoint and shape in the module.

    Raises
    ------
    ValueError
        If there are any.
    """
    left_over = [name for name in unexpected if not any(re.search(pattern, name) for pattern in _UNUSED)]
    shapes = [f"{name} of shape {given}, expected {expected}" for name, (given, expected) in mismatched.items()]
    faults = [
        *_counted(f"lacks {{}} of {what}, which would be random numbers", missing),
        *_counted(f"holds {{}} that {what} does not have", left_over),
        *_counted(f"holds {{}} of another shape than {what}", shapes),
    ]
    if faults:
        raise ValueError(f"{where} {'; it '.join(faults)}; expected exactly the weights that its config.json describes")


def _counted(sentence: str, names: Iterable[str]) -> list[str]:
    """The sentence with the number of the names and the first three; nothing where there are none."""
    ordered = sorted(names)
    count = f"{len(ordered)} weight{'s' if len(ordered) > 1 else ''}"
    return (
        [f"{sentence.format(count)}: {', '.join(ordered[:3])}{' ...' if len(ordered) > 3 else ''}"] if ordered else []
    )


def _pickled(folder: Path) -> str:
    found = sorted(file.name for pattern in _PICKLED for file in folder.glob(pattern))
    if not found:
        return "; other formats are not loaded"
    return (
        f"; {found[0]} is pickled and can run code, so it is not loaded: convert it with transformers "
        "(model.save_pretrained writes safetensors)"
    )
