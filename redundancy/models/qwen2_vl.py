"""Qwen2-VL and Qwen2.5-VL: one run of tokens per video, sectioned MRoPE; windows in the tower of 2.5."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from redundancy.models.qwen_vl import QwenVL, qwen_layout
from redundancy.tokens import TokenGrid, TokenLayout


class Qwen2VL(QwenVL):
    """Adapter of `Qwen2VLForConditionalGeneration` (arXiv:2409.12191)."""

    name = "qwen2_vl"
    model_types: ClassVar[tuple[str, ...]] = ("qwen2_vl",)
    sampling: ClassVar[str] = "qwen2_vl"
    layout: ClassVar[TokenLayout] = qwen_layout("qwen2_vl")


class Qwen2_5VL(QwenVL):  # noqa: N801 - the model's name
    """Adapter of `Qwen2_5_VLForConditionalGeneration` (arXiv:2502.13923)."""

    name = "qwen2_5_vl"
    model_types: ClassVar[tuple[str, ...]] = ("qwen2_5_vl",)
    sampling: ClassVar[str] = "qwen2_vl"
    layout: ClassVar[TokenLayout] = qwen_layout("qwen2_5_vl")

    def attention_module(self, layer: int) -> nn.Module:
        """Attention of one block that sees whole frames.

        Raises
        ------
        ValueError
            If the block attends inside windows, where attention received is not comparable over a frame.
        """
        module = super().attention_module(layer)
        tower: Any = self.tower
        whole = sorted(tower.fullatt_block_indexes)
        if layer % len(tower.blocks) not in whole:
            raise ValueError(f"salience_layer={layer} attends inside windows; blocks {whole} see whole frames")
        return module

    def raster_order(self, tokens: Float[Tensor, "rows tokens"], grid: TokenGrid) -> Tensor:
        """Undo the window order, in which the tower works; windows do not cross frames."""
        from transformers.vision_utils import get_vision_window_index

        tower: Any = self.tower
        frame = torch.tensor([[1, grid.rows * self.merge, grid.cols * self.merge]])
        index, _ = get_vision_window_index(frame, self.merge, tower.window_size, tower.patch_size)
        return tokens[:, torch.argsort(index).to(tokens.device)]
