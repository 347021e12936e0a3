"""Read a LLaVA-Video checkpoint in the original LLaVA layout.

The folder has `config.json` (`model_type` `llava_qwen`), safetensors and a Qwen2 tokenizer. It has no configuration of
its vision tower and of the image processor: the tower is named in `mm_vision_tower`, and its processor is SigLIP's
(square resizing, bicubic, mean and deviation 0.5).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from redundancy.models.checkpoint import load_texts, load_weights, read_configuration, tensor_names, weight_files
from redundancy.models.llava_video_model import (
    LlavaVideoConfig,
    LlavaVideoForConditionalGeneration,
    LlavaVideoProcessor,
)

TOWERS = {
    "google/siglip-so400m-patch14-384": {
        "hidden_size": 1152,
        "intermediate_size": 4304,
        "num_attention_heads": 16,
        "image_size": 384,
        "patch_size": 14,
    }
}
SPECIAL = ("<image>", "<video>")
CHAT = (
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'video' %}<video>{% else %}{{ c['text'] }}{% endif %}"
    "{% if not loop.last %}{{ '\\n' }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_VISION = "model.vision_tower.vision_tower.vision_model."
_KEYS = {
    r"^model\.vision_tower\.vision_tower\.vision_model\.": "model.vision_tower.",
    r"^model\.mm_projector\.0\.": "model.multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "model.multi_modal_projector.linear_2.",
    r"^model\.layers\.": "model.language_model.layers.",
    r"^model\.embed_tokens\.": "model.language_model.embed_tokens.",
    r"^model\.norm\.": "model.language_model.norm.",
}


def load_checkpoint(
    folder: Path, *, dtype: torch.dtype | str, attn_implementation: str | None = None
) -> tuple[nn.Module, Any]:
    """Model and processor of a LLaVA-Video folder.

    Parameters
    ----------
    folder
        Folder with `config.json`, `*.safetensors` and the tokenizer's files.
    dtype
        Type of the parameters; "auto" takes the checkpoint's own.
    attn_implementation
        As in transformers.

    Raises
    ------
    FileNotFoundError
        If its weights are missing.
    ValueError
        If the checkpoint has another layout of newlines, an unknown tower, or weights that are not those of the model.

    Source: LLaVA-Video (arXiv:2410.02713), section 3; the key names are those of its published weights.
    """
    from transformers import Qwen2Config

    raw = read_configuration(folder)
    newline = raw.get("mm_newline_position")
    if newline != "grid":
        raise ValueError(
            f"{folder} has mm_newline_position={newline!r}; of the original LLaVA layout only LLaVA-Video ('grid') is "
            "supported. LLaVA-OneVision is published for transformers as llava-hf/llava-onevision-*"
        )
    text: Any = Qwen2Config(**{k: v for k, v in raw.items() if k not in ("model_type", "architectures")})
    tokenizer = _tokenizer(folder, vocab_size=text.vocab_size)
    image, video = tokenizer.convert_tokens_to_ids(list(SPECIAL))
    vision = _vision_config(folder, raw)
    config = LlavaVideoConfig(
        vision_config=vision,
        image_grid_pinpoints=[[vision["image_size"]] * 2],  # video is what the loader is for: an image is one tile
        text_config=text.to_dict(),
        image_token_index=image,
        video_token_index=video,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=text.tie_word_embeddings,
    )
    model = load_weights(
        LlavaVideoForConditionalGeneration,
        folder,
        config=config,
        key_mapping=_KEYS,
        dtype=dtype,
        attn_implementation=attn_implementation,
    )
    return model, _processor(config, tokenizer)


def _tokenizer(folder: Path, *, vocab_size: int) -> Any:
    """The folder's tokenizer with two placeholders, on rows of the embedding that no word uses."""
    from transformers import AddedToken, AutoTokenizer, PretrainedConfig

    # the tokenizer's own file names its class; a configuration of Qwen2 would overrule it
    tokenizer: Any = load_texts(AutoTokenizer, folder, config=PretrainedConfig())
    tokenizer.add_tokens([AddedToken(token, special=True) for token in SPECIAL], special_tokens=True)
    tokenizer.padding_side = "left"
    if max(tokenizer.convert_tokens_to_ids(list(SPECIAL))) >= vocab_size:
        raise ValueError(
            f"{folder} has {vocab_size} embeddings and {len(tokenizer) - len(SPECIAL)} tokens: no room for two "
            "placeholders"
        )
    return tokenizer


def _vision_config(folder: Path, raw: dict[str, Any]) -> dict[str, Any]:
    """Configuration of the SigLIP tower, with as many layers as the checkpoint holds (it drops the last)."""
    from transformers import SiglipVisionConfig

    tower = str(raw.get("mm_vision_tower", ""))
    local = folder / tower
    if tower and (local / "config.json").is_file():
        read, _ = SiglipVisionConfig.get_config_dict(local)
        fields = read.get("vision_config", read)
    elif tower in TOWERS:
        fields = TOWERS[tower]
    else:
        raise ValueError(
            f"{folder} names the vision tower {tower!r}, expected one of {', '.join(TOWERS)}, or a folder beside the "
            "weights with the tower's config.json"
        )
    layers = _count_layers(folder)
    return SiglipVisionConfig(**{**fields, "num_hidden_layers": layers, "vision_use_head": False}).to_dict()


def _count_layers(folder: Path) -> int:
    layer = re.compile(re.escape(_VISION) + r"encoder\.layers\.(\d+)\.")
    names = [name for file in weight_files(folder) for name in tensor_names(file)]
    numbers = {int(match[1]) for match in map(layer.match, names) if match}
    if not numbers:
        raise ValueError(f"{folder} holds no weights of the vision tower ({_VISION}*); give a whole checkpoint")
    return max(numbers) + 1


def _processor(config: Any, tokenizer: Any) -> LlavaVideoProcessor:
    from transformers import LlavaOnevisionImageProcessor, LlavaOnevisionVideoProcessor

    side = config.vision_config.image_size
    siglip: dict[str, Any] = {
        "size": {"height": side, "width": side},
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
        "resample": 3,
    }
    return LlavaVideoProcessor(  # type: ignore[no-untyped-call]
        LlavaOnevisionImageProcessor(**siglip, image_grid_pinpoints=config.image_grid_pinpoints),
        tokenizer,
        LlavaOnevisionVideoProcessor(**siglip),
        num_image_tokens=(side // config.vision_config.patch_size) ** 2,
        vision_feature_select_strategy="full",
        chat_template=CHAT,
    )
