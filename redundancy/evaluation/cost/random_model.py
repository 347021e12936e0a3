"""Models of a published shape with random weights: their answers mean nothing, their costs do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from redundancy.models import VideoLLM, load_model, wrap_model
from redundancy.models.torchvision_repair import import_torchvision


@dataclass(frozen=True)
class OneVisionShape:
    """Sizes of a LLaVA-OneVision.

    Parameters
    ----------
    text
        Fields of `Qwen2Config`.
    vision
        Fields of `SiglipVisionConfig`; a frame becomes `ceil(image_size / patch_size / 2)` squared tokens.
    """

    text: dict[str, Any]
    vision: dict[str, Any]


_QWEN2_0_5B = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "vocab_size": 152000,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
}
_SIGLIP_SO400M = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
}
_SMALL_TOWER = {
    "hidden_size": 96,
    "intermediate_size": 288,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 224,
    "patch_size": 8,
}
SHAPES = {
    "llava-onevision-0.5b": OneVisionShape(_QWEN2_0_5B, _SIGLIP_SO400M),
    "llava-onevision-0.5b-small-tower": OneVisionShape(_QWEN2_0_5B, _SMALL_TOWER),
}
"""`llava-onevision-0.5b` is the checkpoint's shape, 196 tokens a frame. With a small tower it has the same language
model and as many tokens a frame, and fits a CPU: its times of the tower are not those of the checkpoint."""


def random_model(shape: str | OneVisionShape, *, seed: int = 0, device: torch.device | str | None = None) -> VideoLLM:
    """A LLaVA-OneVision of a stated shape with random weights, and the bundled model's tokenizer.

    Parameters
    ----------
    shape
        A name in `SHAPES`, or sizes.
    seed
        Of the weights.
    device
        None: the GPU if there is one. float32 on a CPU, bfloat16 elsewhere.

    Raises
    ------
    ValueError
        If there is no shape of that name.
    """
    if isinstance(shape, str) and shape not in SHAPES:
        raise ValueError(f"shape={shape!r} given, expected one of {list(SHAPES)}")
    name, sizes = (shape, SHAPES[shape]) if isinstance(shape, str) else ("random weights", shape)
    where = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
    with torch.random.fork_rng():  # the caller's random numbers are left as they were
        bundled = load_model("tiny-llava-onevision", device="cpu")
        torch.manual_seed(seed)
        model = _weights(sizes, bundled, where)
    return wrap_model(model, _processor(sizes, bundled), name=name)


def _weights(sizes: OneVisionShape, bundled: VideoLLM, device: torch.device) -> Any:
    import_torchvision()
    import transformers as hf

    side, known = sizes.vision["image_size"], bundled.family.config
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**sizes.vision, vision_use_head=True).to_dict(),
        text_config=hf.Qwen2Config(**sizes.text, bos_token_id=1, eos_token_id=2, pad_token_id=0).to_dict(),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[side, side]],
        image_token_index=known.image_token_index,
        video_token_index=known.video_token_index,
        tie_word_embeddings=sizes.text.get("tie_word_embeddings", False),
    )
    with device:  # billions of random numbers take minutes on a CPU
        model: Any = hf.LlavaOnevisionForConditionalGeneration(config)
    dtype = torch.float32 if device.type == "cpu" else torch.bfloat16
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = (
        None,
        0,
    )  # answers have the asked length
    return model.eval().to(device, dtype)


def _processor(sizes: OneVisionShape, bundled: VideoLLM) -> Any:
    import transformers as hf

    side = sizes.vision["image_size"]
    size = {"height": side, "width": side}
    processor_of: Any = hf.LlavaOnevisionProcessor
    return processor_of(
        hf.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[side, side]]),
        bundled.processor.tokenizer,
        hf.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=(side // sizes.vision["patch_size"]) ** 2,
        vision_feature_select_strategy="full",
        chat_template=bundled.processor.chat_template,
    )
