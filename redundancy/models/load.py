"""From a name, a folder or a hub id to a `VideoLLM`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from redundancy.checks import require_device, require_type
from redundancy.models.base import Family
from redundancy.models.checkpoint import fetch_weights, find_model, read_configuration
from redundancy.models.llava_onevision import LlavaOnevision
from redundancy.models.llava_video import LlavaVideo
from redundancy.models.qwen2_vl import Qwen2_5VL, Qwen2VL
from redundancy.models.qwen3_vl import Qwen3VL, Qwen3VLMoe
from redundancy.models.siglip import load_pooling_head
from redundancy.models.torchvision_repair import import_torchvision
from redundancy.models.video_llm import VideoLLM
from redundancy.models.wrapped import float_dtype, input_device, unwrapped

FAMILIES: tuple[type[Family], ...] = (LlavaOnevision, LlavaVideo, Qwen2VL, Qwen2_5VL, Qwen3VL, Qwen3VLMoe)


def load_model(
    name_or_path: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
    attn_implementation: str | None = None,
    salience_head: str | Path | None = None,
) -> VideoLLM:
    """Load a video language model of a supported family.

    Parameters
    ----------
    name_or_path
        Name of a bundled model, a local Hugging Face folder, or a hub id.
    dtype
        None: the checkpoint's own type on a GPU, float32 on a CPU. On a GPU torch rounds what enters a float32
        model's convolutions to TF32, about a thousandth, unless `torch.backends.cudnn.allow_tf32 = False`.
    device
        None: the GPU if there is one.
    attn_implementation
        As in transformers: "sdpa", "flash_attention_2", "eager"; None takes its default.
    salience_head
        Folder of the SigLIP checkpoint whose pooling head gives the `pooling_head` salience (FastVID). None: the folder
        that the model's `redundancy.json` names, else the tower's own head, else that salience cannot be had.

    Raises
    ------
    ModelNotFoundError
        If there is no such model, with what to do.
    FileNotFoundError
        If it has no safetensors, or not all of them.
    ValueError
        If the architecture is not supported, with the list of those that are; if the checkpoint brings code of its own
        (`auto_map`), or `attn_implementation` names kernels of the hub: such code is never run; if its weights are
        damaged or not exactly those of the model; if `salience_head` does not fit the vision tower; if there is no such
        `device`.

    Examples
    --------
    >>> load_model("tiny-qwen3-vl", device="cpu").family.name
    'qwen3_vl'
    """
    require_type("name_or_path", name_or_path, str | Path, expected="a name, a folder or a hub id")
    require_type("dtype", dtype, torch.dtype | str | None, expected="a torch.dtype such as torch.bfloat16, or None")
    import_torchvision()
    name, device = str(name_or_path), _device(device)
    if attn_implementation is not None and "/" in attn_implementation:
        raise ValueError(
            f"attn_implementation={attn_implementation!r} names kernels of the hub, whose code is never run here; give "
            "'sdpa', 'eager' or 'flash_attention_2'"
        )
    folder, from_hub = find_model(name)
    family_of = _family_of(str(read_configuration(folder).get("model_type", "unknown")), name)
    if from_hub:
        fetch_weights(name)
    chosen: Any = dtype if dtype is not None else (torch.float32 if device.type == "cpu" else "auto")
    model, processor = family_of.load(folder, dtype=chosen, attn_implementation=attn_implementation)
    return wrap_model(
        model.to(device).eval(),
        processor,
        name=name,
        folder=str(folder),
        salience_head=salience_head if salience_head is not None else _named_head(folder),
        family_of=family_of,
    )


def _device(given: torch.device | str | None) -> torch.device:
    """The device to load to; the GPU if there is one and nothing else is given."""
    try:
        device = torch.device(given if given is not None else "cuda" if torch.cuda.is_available() else "cpu")
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={given!r} given, expected None, 'cpu', 'cuda' or what torch.device takes") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={given!r} given, but torch {torch.__version__} finds no GPU; give device='cpu'")
    return require_device(device)


def wrap_model(
    model: nn.Module,
    processor: Any,
    *,
    name: str = "unnamed",
    folder: str | None = None,
    salience_head: str | Path | None = None,
    family_of: type[Family] | None = None,
) -> VideoLLM:
    """Put a Hugging Face model that is already loaded, with its processor, behind the interface.

    It may be compiled, adapted by PEFT, offloaded or spread over devices.

    Raises
    ------
    ValueError
        If the architecture is not supported, or `salience_head` does not fit the vision tower.
    """
    family = (family_of or _family_of(_type_of(model), name))(model)
    head = family.own_pooling_head()
    if salience_head is not None:
        if family.pooling_input() is None:
            raise ValueError(f"salience_head is given, but the tower of {family.name} has no SigLIP pooling head")
        tower, width = family.tower, family.config.vision_config.hidden_size
        about: dict[str, Any] = {"dtype": float_dtype(tower), "device": input_device(tower)}
        head = load_pooling_head(salience_head, hidden_size=width, **about)
    return VideoLLM(model, processor, family, name, folder, head)


def family_for(model: nn.Module) -> Family:
    """The adapter of a Hugging Face model that is already loaded.

    Raises
    ------
    ValueError
        If the architecture is not supported, with the list of those that are.
    """
    return _family_of(_type_of(model), type(model).__name__)(model)


def supported_architectures() -> list[str]:
    """`model_type` of every supported checkpoint."""
    return sorted(t for family in FAMILIES for t in family.model_types)


def _type_of(model: nn.Module) -> str:
    return str(unwrapped(model).config.model_type)  # type: ignore[union-attr]


def _family_of(model_type: str, name: str) -> type[Family]:
    for family in FAMILIES:
        if model_type in family.model_types:
            return family
    raise ValueError(
        f"{name!r} is of architecture {model_type!r}, which is not supported; supported are "
        f"{', '.join(supported_architectures())}"
    )


def _named_head(folder: Path) -> Path | None:
    """The folder that a model's own `redundancy.json` names, relative to the model."""
    note = folder / "redundancy.json"
    if not note.is_file():
        return None
    raw = json.loads(note.read_text())
    if not isinstance(raw, dict) or not isinstance(raw.get("salience_head"), str | None):
        raise ValueError(f"{note} holds {raw!r:.80}, expected an object whose salience_head is a folder's name")
    named = raw.get("salience_head")
    return None if named is None else (note.parent / named).resolve()
