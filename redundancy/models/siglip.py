"""What the families with a SigLIP tower share: its attention, its pooling head, and where the head is kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from redundancy.models.checkpoint import read_configuration, refuse_misfits, tensor_names, weight_files

_HEAD_PREFIXES = ("vision_model.head.", "head.")


def siglip_body(tower: nn.Module) -> nn.Module:
    """The module that has `encoder` and `post_layernorm`; some versions wrap it once more."""
    body = getattr(tower, "vision_model", tower)
    return body if isinstance(body, nn.Module) else tower


def siglip_queries_and_keys(
    module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> list[tuple[Tensor, Tensor]]:
    """Queries (scaled) and keys `[frames, heads, patches, d]` of one SigLIP attention, float32.

    Source: SigLIP (arXiv:2303.15343); the layer's own projections.
    """
    hidden = kwargs.get("hidden_states", args[0] if args else None)
    if hidden is None:
        raise ValueError("the SigLIP attention was called without hidden_states")
    shape = (*hidden.shape[:2], -1, module.head_dim)
    query = module.q_proj(hidden).view(shape).transpose(1, 2).float() * module.scale
    return [(query, module.k_proj(hidden).view(shape).transpose(1, 2).float())]


def load_pooling_head(folder: str | Path, *, hidden_size: int, dtype: torch.dtype, device: torch.device) -> nn.Module:
    """The attention-pooling head of a SigLIP checkpoint, from a folder with its config and safetensors.

    Published LLaVA checkpoints leave the head out; FastVID reads its attention. Keys `vision_model.head.*` or `head.*`.

    Raises
    ------
    FileNotFoundError
        If the folder or its weights are missing.
    ValueError
        If the weights hold no pooling head, not all of it, or one of another width than the tower; if they are damaged.

    Source: FastVID (arXiv:2503.11187), section 3.4.
    """
    from transformers import SiglipConfig, SiglipVisionConfig
    from transformers.models.siglip.modeling_siglip import SiglipMultiheadAttentionPoolingHead

    folder = Path(folder).expanduser()
    files = weight_files(folder)
    read_configuration(folder)
    weights: dict[str, Tensor] = {}
    for file in files:
        with safe_open(file, framework="pt") as stored:
            for key in tensor_names(file):
                prefix = next((p for p in _HEAD_PREFIXES if key.startswith(p)), None)
                if prefix is not None:
                    weights[key.removeprefix(prefix)] = stored.get_tensor(key)
    if "probe" not in weights:
        raise ValueError(
            f"{folder} holds no pooling head (keys vision_model.head.* or head.*); give the SigLIP checkpoint that the "
            "tower was made from, for example google/siglip-so400m-patch14-384"
        )
    raw, _ = SiglipVisionConfig.get_config_dict(folder)
    whole = "vision_config" in raw
    config: Any = (
        SiglipConfig.from_pretrained(folder).vision_config if whole else SiglipVisionConfig.from_pretrained(folder)
    )
    if config.hidden_size != hidden_size:
        raise ValueError(f"the pooling head of {folder} is {config.hidden_size} wide, the vision tower {hidden_size}")
    head = SiglipMultiheadAttentionPoolingHead(config)
    own = {name: tuple(weight.shape) for name, weight in head.state_dict().items()}
    stored_shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    refuse_misfits(
        str(folder),
        "the pooling head",
        missing=own.keys() - stored_shapes.keys(),
        unexpected=stored_shapes.keys() - own.keys(),
        mismatched={k: (stored_shapes[k], own[k]) for k in own.keys() & stored_shapes if own[k] != stored_shapes[k]},
    )
    head.load_state_dict(weights)
    return head.to(device=device, dtype=dtype).eval().requires_grad_(False)
