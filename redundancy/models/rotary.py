"""Rotary position embeddings of text models, read from their own modules as data."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from redundancy.tokens import RotaryLayout

MROPE_AXES = ("t", "h", "w")


def rotary_layout(text_model: nn.Module) -> RotaryLayout:
    """Layout of a text model that turns all frequencies with one position.

    Source: RoPE (arXiv:2104.09864), section 3.
    """
    frequency = _frequencies(text_model)
    return RotaryLayout(frequency, torch.zeros(len(frequency), dtype=torch.int64), ("position",))


@torch.no_grad()
def mrope_layout(text_model: nn.Module) -> RotaryLayout:
    """Layout of a text model whose frequencies turn with three positions (t, h, w), sectioned or interleaved.

    The module itself is asked: a frequency belongs to the axis on which a step of one makes its sine differ from 0.

    Raises
    ------
    ValueError
        If a frequency turns with none of the axes, or with several.

    Source: Qwen2-VL (arXiv:2409.12191), section 2.1 (sectioned); Qwen3-VL (arXiv:2511.21631), section 2 (interleaved).
    """
    frequency = _frequencies(text_model)
    module: Any = text_model.rotary_emb
    device = module.inv_freq.device
    steps = torch.eye(3, dtype=torch.int64, device=device)[:, None]  # [axis, batch, one place per axis]
    _, sine = module(torch.zeros(1, 3, 1, device=device), steps)
    turns = sine[0, :, : len(frequency)].cpu() != 0
    if not bool((turns.sum(0) == 1).all()):
        raise ValueError(f"one position axis per rotary frequency is expected, given {turns.sum(0).tolist()}")
    return RotaryLayout(frequency, turns.int().argmax(0), MROPE_AXES)


def _frequencies(text_model: nn.Module) -> torch.Tensor:
    module: Any = text_model.rotary_emb
    frequency: torch.Tensor = module.inv_freq.detach().double().cpu()
    return frequency
