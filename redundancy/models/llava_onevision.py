"""LLaVA-OneVision: SigLIP tower, bilinear pooling to ceil(G / 2), one newline after the video, one-dimensional RoPE."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor, nn

from redundancy.models.base import Family, layer_at
from redundancy.models.rotary import rotary_layout
from redundancy.models.siglip import siglip_body, siglip_queries_and_keys
from redundancy.tokens import RotaryLayout, TokenGrid, TokenLayout
from redundancy.video import VideoClip


class LlavaOnevision(Family):
    """Adapter of `LlavaOnevisionForConditionalGeneration` (arXiv:2408.03326)."""

    name = "llava_onevision"
    model_types: ClassVar[tuple[str, ...]] = ("llava_onevision",)
    layout: ClassVar[TokenLayout] = TokenLayout("llava_onevision", newline="end")

    @property
    def tower(self) -> nn.Module:
        """The SigLIP tower."""
        tower: nn.Module = self.core.vision_tower  # type: ignore[assignment]
        return tower

    @property
    def patch_side(self) -> int:
        """G: patches along each side of a frame."""
        vision = self.config.vision_config
        return int(vision.image_size // vision.patch_size)

    @property
    def token_side(self) -> int:
        """Tokens along each side of a frame after pooling."""
        return math.ceil(self.patch_side / 2)

    def check_clips(self, clips: Sequence[VideoClip]) -> None:
        """Refuse clips of different length: the model takes the videos of a call as one array."""
        lengths = sorted({len(clip.frames) for clip in clips})
        if len(lengths) > 1:
            raise ValueError(
                f"{self.name} takes videos of one number of frames in a call, given {lengths}; load them with the same "
                "frames=, or call once per length"
            )

    def prefill_arguments(self, inputs: Mapping[str, Tensor]) -> dict[str, Any]:
        """Positions counted from the first token that is not padding, as `generate` counts them."""
        mask = inputs.get("attention_mask")
        if mask is None:
            return {}
        return {"position_ids": (mask.long().cumsum(-1) - 1).clamp(min=0)}

    def tower_grid(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
        """Frames of all videos of the call."""
        return len(args[0] if args else kwargs["pixel_values"])

    def video_grids(self, core_arguments: Mapping[str, Any], tower_grid: Any) -> list[TokenGrid]:
        """One grid per video, from the pixels `[videos, T, 3, H, W]` or the features `[videos, length, D]`."""
        side = self.token_side
        encoded = (core_arguments.get("mm_encoder_outputs") or {}).get("video")
        if encoded is None:
            videos, frames = core_arguments["pixel_values_videos"].shape[:2]
        else:
            videos, length = encoded.pooler_output.shape[:2]
            frames = self.frames_of(length)
            videos = videos if tower_grid is None else tower_grid // frames
        return [TokenGrid(int(frames), side, side)] * int(videos)

    def frames_of(self, length: int) -> int:
        """Frames of a video that takes so many placeholders."""
        return (length - 1) // self.token_side**2

    def run_length(self, grid: TokenGrid) -> int:
        """T * N video tokens and one newline."""
        return super().run_length(grid) + 1

    def split_run(self, run: Int[Tensor, "placeholders"], grid: TokenGrid) -> tuple[Tensor, Tensor]:
        """The newline is the last placeholder."""
        return run[:-1].view(grid.frames, grid.tokens_per_frame), run[-1:]

    def rotary(self) -> RotaryLayout:
        """One position axis, all frequencies."""
        return rotary_layout(self.text_model)

    def attention_module(self, layer: int) -> nn.Module:
        """Attention of one layer of the SigLIP encoder."""
        encoder: Any = siglip_body(self.tower).encoder
        module: nn.Module = layer_at(encoder.layers, layer).self_attn  # type: ignore[assignment]
        return module

    def queries_and_keys(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any], grid: Any
    ) -> list[tuple[Tensor, Tensor]]:
        """One entry: all frames of all videos of the call."""
        return siglip_queries_and_keys(module, args, kwargs)

    def patches_to_tokens(self, scores: Float[Tensor, "rows patches"], grid: TokenGrid) -> Tensor:
        """Bilinear resizing of the G x G scores to the token grid, as `apply_pooling` resizes the features."""
        image = scores.view(-1, 1, self.patch_side, self.patch_side)
        return nn.functional.interpolate(image, size=[grid.rows, grid.cols], mode="bilinear").flatten(1)

    def pooling_input(self) -> nn.Module:
        """The tower's last layer norm."""
        module: nn.Module = siglip_body(self.tower).post_layernorm  # type: ignore[assignment]
        return module

    def own_pooling_head(self) -> nn.Module | None:
        """The tower's own head; published checkpoints have none."""
        head = getattr(siglip_body(self.tower), "head", None)
        return head if isinstance(head, nn.Module) else None
