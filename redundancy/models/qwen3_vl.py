"""Qwen3-VL and its mixture of experts: a run per frame behind its timestamp, interleaved MRoPE, DeepStack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from redundancy.models.base import VideoSpan
from redundancy.models.qwen_vl import QwenVL, qwen_layout
from redundancy.tokens import TokenLayout
from redundancy.video import VideoClip


class Qwen3VL(QwenVL):
    """Adapter of `Qwen3VLForConditionalGeneration` (arXiv:2511.21631)."""

    name = "qwen3_vl"
    model_types: ClassVar[tuple[str, ...]] = ("qwen3_vl",)
    sampling: ClassVar[str] = "qwen3_vl"
    layout: ClassVar[TokenLayout] = qwen_layout("qwen3_vl", frame_text=True)

    def check_clips(self, clips: Sequence[VideoClip]) -> None:
        """Refuse clips of one frame as well, which the checkpoints' processor does."""
        super().check_clips(clips)
        short = [clip for clip in clips if len(clip.frames) < self.clip_frames_per_step]
        if short:
            raise ValueError(
                f"{self.name} takes videos of at least {self.clip_frames_per_step} frames, given one of "
                f"{len(short[0].frames)}: {short[0].source!r}"
            )

    def deepstack(self, text_arguments: Mapping[str, Any], span: VideoSpan) -> tuple[Tensor, ...]:
        """Features `[T, N, D]` that the first layers of the text model add, one entry per layer."""
        mask = text_arguments.get("visual_pos_masks")
        if mask is None:
            return ()
        # rows of the levels count the visual tokens of the whole batch
        rank = (mask.flatten().cumsum(0) - 1).view(mask.shape)[span.row, span.columns]
        return tuple(level[rank] for level in text_arguments["deepstack_visual_embeds"])

    def deepstack_columns(self, text_arguments: Mapping[str, Any]) -> list[Tensor]:
        """Features per column `[B, L, D]` and level, 0 at text."""
        mask, levels = text_arguments.get("visual_pos_masks"), []
        for level in text_arguments.get("deepstack_visual_embeds") or ():
            columns = torch.zeros(*mask.shape, level.shape[-1], dtype=level.dtype, device=level.device)  # type: ignore[union-attr]
            columns[mask] = level
            levels.append(columns)
        return levels

    def without_deepstack(self, text_arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments with which the text model adds no features by itself."""
        return {"visual_pos_masks": None, "deepstack_visual_embeds": None}

    def shorten_extras(
        self,
        text_arguments: Mapping[str, Any],
        gather: Callable[[Tensor], Tensor],
        is_visual: Callable[[Tensor], Tensor],
    ) -> dict[str, Any]:
        """DeepStack features reduced by the same map as the tokens, and where they are added."""
        mask = text_arguments.get("visual_pos_masks")
        if mask is None:
            return {}
        short = is_visual(mask)
        levels = [gather(columns)[short] for columns in self.deepstack_columns(text_arguments)]
        return {"visual_pos_masks": short, "deepstack_visual_embeds": levels}


class Qwen3VLMoe(Qwen3VL):
    """Adapter of `Qwen3VLMoeForConditionalGeneration` (arXiv:2511.21631)."""

    name = "qwen3_vl_moe"
    model_types: ClassVar[tuple[str, ...]] = ("qwen3_vl_moe",)
    layout: ClassVar[TokenLayout] = qwen_layout("qwen3_vl_moe", frame_text=True)
