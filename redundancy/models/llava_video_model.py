"""The model of LLaVA-Video on transformers' LLaVA-OneVision: pooling and newline placement differ, nothing else."""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from torch import Tensor
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, LlavaOnevisionProcessor
from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel


class LlavaVideoConfig(LlavaOnevisionConfig):  # type: ignore[no-untyped-call]
    """Configuration of LLaVA-OneVision under the name of LLaVA-Video."""

    model_type = "llava_video"


class LlavaVideoModel(LlavaOnevisionModel):  # type: ignore[no-untyped-call]
    """Vision tower, projector and language model of LLaVA-Video (arXiv:2410.02713)."""

    config_class = LlavaVideoConfig

    def apply_pooling(self, image_features: Tensor) -> Tensor:
        """`[frames, G*G, D]` averaged over 2 x 2 patches to `[frames, (G // 2)^2, D]`."""
        vision: Any = self.config.vision_config
        side = vision.image_size // vision.patch_size
        image = image_features.transpose(1, 2).reshape(*image_features.shape[::2], side, side)
        return torch.nn.functional.avg_pool2d(image, 2).flatten(2).transpose(1, 2)

    @wraps(LlavaOnevisionModel.get_video_features)  # generate reads its arguments from the signature
    def get_video_features(self, *args: Any, **kwargs: Any) -> Any:
        """Features of each video with a newline after each grid row, `[videos, T*h*(w+1), D]`.

        Where the base's forward puts one newline at the end itself (transformers 5.17), the last one is left to it.
        """
        output = super().get_video_features(*args, **kwargs)
        features: Tensor = output.pooler_output
        vision: Any = self.config.vision_config
        side = vision.image_size // vision.patch_size // 2
        by_base = features.shape[1] % side**2  # 1 where the base appended its newline here, 0 where forward will
        rows = features[:, : features.shape[1] - by_base].reshape(len(features), -1, side, features.shape[2])
        newline = self.image_newline.to(rows).expand(*rows.shape[:2], 1, -1)
        whole = torch.cat([rows, newline], 2).flatten(1, 2)
        output.pooler_output = whole if by_base else whole[:, :-1]
        return output


class LlavaVideoForConditionalGeneration(LlavaOnevisionForConditionalGeneration):  # type: ignore[no-untyped-call]
    """LLaVA-Video with its language head (arXiv:2410.02713)."""

    config_class = LlavaVideoConfig

    def __init__(self, config: LlavaVideoConfig) -> None:
        super().__init__(config)
        self.model = LlavaVideoModel(config)
        self.post_init()  # type: ignore[no-untyped-call]


class LlavaVideoProcessor(LlavaOnevisionProcessor):
    """Processor of LLaVA-OneVision that makes room for a newline after each grid row."""

    def replace_video_token(self, video_inputs: Any, video_idx: int, **kwargs: Any) -> str:
        """T * h * (w + 1) placeholders."""
        frames = len(video_inputs["pixel_values_videos"][video_idx])
        side = int(self.num_image_tokens**0.5) // 2
        token: str = self.video_token
        return token * (frames * side * (side + 1))
