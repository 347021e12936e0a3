"""Which model it is: digests of everything that decides about its outputs, whatever its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from redundancy.digest import digest_of
from redundancy.models.video_llm import VideoLLM
from redundancy.models.wrapped import parameters_loaded
from redundancy.provenance import folder_digest, weights_hash

# Hashing takes seconds per gigabyte; what is remembered goes with the model, and holds while its tensors are unchanged.
_known: WeakKeyDictionary[nn.Module, tuple[object, str]] = WeakKeyDictionary()


def model_folder(model: VideoLLM) -> Path | None:
    """The folder that a model was loaded from, for a hub id the snapshot in the hub's cache; None for a model object.

    Raises
    ------
    OSError
        If the name is that of neither a folder nor a model in the hub's cache.
    """
    if model.folder is None or Path(model.folder).is_dir():
        return None if model.folder is None else Path(model.folder)
    from transformers.utils.hub import cached_file

    try:
        return Path(str(cached_file(model.folder, "config.json", local_files_only=True))).parent
    except OSError as error:
        raise OSError(
            f"{model.folder!r} is neither a folder nor a model in the hub's cache, nothing to hash"
        ) from error


def weights_digest(model: VideoLLM) -> str:
    """SHA-256 of a model's weights: of its files, or of its tensors if it was given as an object.

    Tensors are hashed once per model; changes in place are noticed by their counter, which writing to `.data` evades.

    Raises
    ------
    ValueError
        If there is neither a file nor a tensor in memory to hash.
    """
    folder = model_folder(model)
    if folder is None:
        return _tensors_once(model.model)
    found = weights_hash(folder)
    if not found:
        raise ValueError(f"the folder {folder} of {model.name!r} holds no *.safetensors, expected the model's weights")
    return found


def model_digest(model: VideoLLM) -> str:
    """SHA-256 of all files of a model, weights and processor included; of a model object, of what it holds in memory.

    Raises
    ------
    ValueError
        If no digest can be had.
    """
    folder = model_folder(model)
    return memory_digest(model) if folder is None else folder_digest(folder)


def memory_digest(model: VideoLLM) -> str:
    """SHA-256 of a model as it is now: tensors, settings, hooks, configuration, processor; whatever was changed since.

    Tensors are hashed at every call, some seconds for 10 GB.

    Raises
    ------
    ValueError
        If tensors are not in memory and the model has no folder, or a hook or the processor has no digest.
    """
    parts = {
        "weights": _tensors(model.model, model_folder(model)),
        "modules": _modules(model.model),
        "head": None if model.pooling_head is None else _tensors(model.pooling_head, None),
        "config": _json(model.model, "config"),
        "generation": _json(model.model, "generation_config"),
        "processor": _processor(model),
    }
    return digest_of(parts)


def _named(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()


def _tensors(module: nn.Module, folder: Path | None) -> str:
    """Digest of all parameters and buffers; for offloaded ones that cannot be loaded the folder stands."""
    tensors = dict(_named(module))
    here: dict[str, Any] = {name: tensor for name, tensor in tensors.items() if not tensor.is_meta}
    if len(here) < len(tensors):
        here |= {name: digest for name, digest in _digests_of_offloaded(module) if name in tensors}
    away = sorted(tensors.keys() - here.keys())
    if away and folder is None:
        raise ValueError(f"tensors without values in memory given ({away[0]}), expected a model that can be hashed")
    return digest_of([here, away, folder_digest(folder) if away and folder else ""])


def _digests_of_offloaded(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Each parameter that is kept elsewhere, loaded for as long as it is hashed."""
    for prefix, part in module.named_modules():
        names = [name for name, parameter in part.named_parameters(recurse=False) if parameter.is_meta]
        with parameters_loaded(part):
            loaded = {name: getattr(part, name) for name in names}
            for name, parameter in loaded.items():
                if not parameter.is_meta:
                    yield f"{prefix}.{name}".lstrip("."), digest_of(parameter)


def _modules(module: nn.Module) -> dict[str, object]:
    """What decides about outputs beside tensors: plain settings of each part, its hooks, its forward.

    An adapter's scale is such a setting, and that it is disabled.
    """
    told: dict[str, object] = {}
    for name, part in module.named_modules():
        held = vars(part)
        settings = {key: value for key, value in held.items() if key not in _PASSING and _is_plain(value)}
        hooks = [h for key in ("_forward_pre_hooks", "_forward_hooks") for h in held[key].values()]
        forward = type(part).forward if "_hf_hook" in held else part.forward  # accelerate's fetches weights
        functions = [getattr(f, "__func__", f) for f in (forward, *hooks) if not _is_known(f)]
        try:
            told[name] = [type(part).__qualname__, settings, [digest_of(f) for f in functions]]
        except TypeError as error:
            raise ValueError(f"a hook or forward on {name or 'the model'!r} has no digest: {error}") from error
    return told


# that comes and goes without changing outputs: where from, what was set up, how much was computed so far
_PASSING = frozenset({"name_or_path", "_is_hf_initialized", "_output_capturing_hooks_installed", "max_seq_len_cached"})
_PLAIN = bool | int | float | str


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(_is_plain(part) for pair in value.items() for part in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return bool(value) and all(map(_is_plain, value))
    return isinstance(value, _PLAIN)


def _is_known(function: Any) -> bool:
    """True for code of the libraries that models are of."""
    module = str(getattr(function, "__module__", None) or type(function).__module__)
    return module.partition(".")[0] in ("torch", "transformers", "accelerate", "peft", "redundancy")


def _tensors_once(module: nn.Module) -> str:
    state = _versions(module)
    if state is None or _known.get(module, (None, ""))[0] != state:
        _known[module] = (state, _tensors(module, None))
    return _known[module][1]


def _versions(module: nn.Module) -> object:
    """Where each tensor lies and how often it was changed; None where tensors do not count that."""
    try:
        return tuple((name, tensor.data_ptr(), tensor._version) for name, tensor in _named(module))
    except RuntimeError:  # tensors made in inference mode
        return None


def running_state(model: VideoLLM) -> object:
    """What changes when a model begins to give other numbers, as far as that is seen without reading its tensors.

    Parameters are told by place and counter, which writing to `.data` evades; beside them stand the adapters that are
    active, and how torch rounds at the moment.
    """
    parts, tensors = _parts(model.model)
    on = tensors[0].device.type if tensors and tensors[0].device.type != "meta" else model.device.type
    adapted: list[Any] = [part for part in parts if hasattr(type(part), "_disable_adapters")]  # layers of PEFT
    adapters = [(bool(part._disable_adapters), str(getattr(part, "active_adapters", ""))) for part in adapted]
    return _places(tensors), adapters, rounding(on)


def rounding(device: str) -> list[str]:
    """How torch rounds at the moment on a kind of device, whatever the model's own type.

    Autocast's type, the precision of float32 matrix products, and on a GPU that of float32 convolutions: torch lets
    cuDNN take TF32 there, which keeps ten bits of the patches that enter a vision tower.
    """
    lower = str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else ""
    told = [lower, torch.get_float32_matmul_precision()]
    if device != "cuda":
        return told
    convolutions: Any = getattr(torch.backends.cudnn, "conv", None)  # newer than torch.backends.cudnn.allow_tf32
    newer = getattr(convolutions, "fp32_precision", None)
    return [*told, str(torch.backends.cudnn.allow_tf32 if newer is None else newer)]


def _parts(module: nn.Module) -> tuple[list[nn.Module], list[nn.Parameter]]:
    """All modules and parameters; `modules()` makes their names too, which takes most of the time of a check."""
    waiting, parts, tensors = [module], {}, []
    while waiting:
        part = waiting.pop()
        if id(part) not in parts:
            parts[id(part)] = part
            waiting += [p for p in part._modules.values() if p is not None]
            tensors += [p for p in part._parameters.values() if p is not None]
    return list(parts.values()), tensors


def _places(tensors: Sequence[nn.Parameter]) -> object:
    try:
        return [(tensor.data_ptr(), tensor._version) for tensor in tensors]
    except RuntimeError:  # made in inference mode, where nothing is counted
        return None


def _json(module: nn.Module, name: str) -> str:
    held: Any = getattr(module, name, None)
    return "" if held is None else str(held.to_json_string(use_diff=False))


def _processor(model: VideoLLM) -> list[tuple[str, bytes]]:
    """Names and bytes of the files that the processor would be stored as."""
    with TemporaryDirectory() as folder:
        try:
            model.processor.save_pretrained(folder)
        except Exception as error:  # whatever a user's own processor raises
            raise ValueError(f"the processor of {model.name!r} cannot be stored, so has no digest: {error}") from error
        return [(str(p.relative_to(folder)), p.read_bytes()) for p in sorted(Path(folder).rglob("*")) if p.is_file()]
