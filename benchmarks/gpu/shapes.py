"""Models of published sizes with random weights, in bfloat16 on the device: their answers mean nothing, their costs do.

Sizes are those of config.json of `llava-hf/llava-onevision-qwen2-7b-ov-hf` and `Qwen/Qwen3-VL-8B-Instruct`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from redundancy.evaluation.cost.random_model import SHAPES, OneVisionShape, random_model
from redundancy.models import VideoLLM, load_model, wrap_model
from redundancy.models.torchvision_repair import import_torchvision

SMALL_TEXT = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3, "num_attention_heads": 4}
SMALL_TEXT |= {"num_key_value_heads": 2, "vocab_size": 512}
QWEN2_7B = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152128,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
QWEN3_8B = {
    "hidden_size": 4096,
    "intermediate_size": 12288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 262144,
}
QWEN3_VISION = {
    "hidden_size": 1152,
    "out_hidden_size": 4096,
    "intermediate_size": 4304,
    "depth": 27,
    "num_heads": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": [8, 16, 24],
}
SMALL_VISION = {
    "hidden_size": 32,
    "out_hidden_size": 64,
    "intermediate_size": 48,
    "depth": 4,
    "num_heads": 4,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0, 1, 2],
}
PATCH = {"patch_size": 16, "temporal_patch_size": 2}


def onevision(device: torch.device, *, small: bool) -> VideoLLM:
    """LLaVA-OneVision-7B, 196 tokens a frame; small: a model of 25 tokens a frame."""
    vision = SHAPES["llava-onevision-0.5b"].vision
    if small:
        vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        vision |= {"image_size": 80, "patch_size": 8}
    with small_numbers(device):
        return random_model(OneVisionShape(SMALL_TEXT if small else QWEN2_7B, vision), device=device)


def qwen3_vl(device: torch.device, *, small: bool, frames: int) -> VideoLLM:
    """Qwen3-VL-8B with 196 tokens for two frames; small: 25."""
    import_torchvision()
    import transformers as hf

    bundled = load_model("tiny-qwen3-vl", device="cpu")
    known, side = bundled.family.config, 32 * (5 if small else 14)
    rope = {"rope_type": "default", "rope_theta": 5e6, "mrope_interleaved": True}
    rope["mrope_section"] = [4, 2, 2] if small else [24, 20, 20]
    text: dict[str, Any] = {**SMALL_TEXT, "head_dim": 16} if small else QWEN3_8B
    keys = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    config: Any = hf.Qwen3VLConfig(
        vision_config={"in_channels": 3, "spatial_merge_size": 2, **PATCH, **(SMALL_VISION if small else QWEN3_VISION)},
        text_config={**text, "rope_parameters": rope, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
        tie_word_embeddings=False,
        **{key: getattr(known, key) for key in keys},
    )
    size = {"shortest_edge": frames * side**2, "longest_edge": frames * side**2}
    of_video: Any = hf.Qwen3VLVideoProcessor
    cap = {"cap_pixels_per_frame": False} if hasattr(of_video, "cap_pixels_per_frame") else {}
    processor_of: Any = hf.Qwen3VLProcessor
    processor = processor_of(
        hf.Qwen2VLImageProcessor(**PATCH, merge_size=2),
        bundled.processor.tokenizer,
        of_video(size=size, min_frames=2, max_frames=frames, merge_size=2, **PATCH, **cap),
        chat_template=bundled.processor.chat_template,
    )
    torch.manual_seed(0)
    with small_numbers(device), device:
        model: Any = hf.Qwen3VLForConditionalGeneration(config)
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = None, 0
    return wrap_model(model.eval().to(device), processor, name="random weights")


@contextmanager
def small_numbers(device: torch.device) -> Iterator[None]:
    """Parameters are made in bfloat16 on a GPU: 8 billion in float32 would not fit beside another model."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32 if device.type == "cpu" else torch.bfloat16)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
