"""Small random models of the real classes, with their real processors, as folders that `load_model` reads.

A new family is one builder and one line of `TINY`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packaging.version import Version
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from redundancy.models.torchvision_repair import import_torchvision
from redundancy.video import VideoClip

import_torchvision()  # before transformers imports a video processor

import transformers as hf  # noqa: E402

CACHE = "cache" if Version(hf.__version__) >= Version("5.24") else "past_key_values"  # as forwards take it by name

WORDS = ["user", "assistant", "what", "happens", "in", "the", "video", "which", "first", "second", "seconds", "digit"]
WORDS += ["cat", "dog", "runs", "jumps", "red", "blue", "yes", "no"]
CHARACTERS = "0123456789<>.,:?"
LLAVA_SPECIAL = ("<image>", "<video>")
QWEN_SPECIAL = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
ROPE = {"rope_type": "default", "rope_theta": 1e4}
TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
}
SIGLIP = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 56,
    "patch_size": 8,
}


def make_clip(frames: int = 6, height: int = 84, width: int = 112, *, seed: int = 0, fps: float = 2.0) -> VideoClip:
    """A clip of moving random squares: every second frame of a file of `2 * frames` frames."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (frames, height // 14, width // 14, 3), dtype=np.uint8)
    indices = np.arange(frames, dtype=np.int64) * 2
    return VideoClip(
        frames=coarse.repeat(14, 1).repeat(14, 2),
        timestamps=indices / fps,
        indices=indices,
        fps=fps,
        total_frames=2 * frames,
        duration=2 * frames / fps,
        source=f"random:{seed}",
        sha256="0" * 64,
        decoder="numpy 0",
    )


def tokenizer(special: Sequence[str]) -> Any:
    """Word-level tokenizer with single digits; `special` follow the four common ones."""
    words = ["<pad>", "<s>", "</s>", "<unk>", *special, *WORDS, *CHARACTERS]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    single = pre_tokenizers.Split(Regex(r"[0-9<>.,:?]"), "isolated")
    core.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), single])
    core.decoder = decoders.WordPiece(prefix="##")
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side="left",
        extra_special_tokens=list(special),
        model_max_length=4096,
    )


def chat_template(video: str) -> str:
    return (
        "{% for m in messages %}{{ m['role'] }} : {% for c in m['content'] %}{% if c['type'] == 'video' %}"
        + video
        + "{% else %}{{ c['text'] }}{% endif %} {% endfor %}{% endfor %}{% if add_generation_prompt %}assistant : "
        "{% endif %}"
    )


def save(folder: Path, model: Any, processor: Any, *, seed: int = 0) -> None:
    """Random weights large enough that every vision token matters to the answer, then `save_pretrained`."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2:
                spread = 0.25 / max(1.0, (parameter.shape[-1] / 64) ** 0.5)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
            elif "norm" not in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    model.generation_config.eos_token_id = None  # answers have the asked length
    model.generation_config.pad_token_id = 0
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def llava_onevision(folder: Path, *, head: bool = True) -> None:
    words = tokenizer(LLAVA_SPECIAL)
    ids = dict(zip(("image_token_index", "video_token_index"), words.convert_tokens_to_ids(LLAVA_SPECIAL), strict=True))
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**SIGLIP, vision_use_head=head).to_dict(),
        text_config=hf.Qwen2Config(**TEXT, vocab_size=len(words), rope_parameters=ROPE).to_dict(),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[56, 56]],
        **ids,
    )
    size = {"height": 56, "width": 56}
    processor = hf.LlavaOnevisionProcessor(
        hf.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=[[56, 56]]),
        words,
        hf.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=49,
        vision_feature_select_strategy="full",
        chat_template=chat_template("<video>"),
    )
    save(folder, hf.LlavaOnevisionForConditionalGeneration(config), processor)


def _qwen(folder: Path, name: str, vision: dict[str, Any], text: dict[str, Any], sections: Sequence[int]) -> None:
    """A Qwen model: `name` is the common prefix of its classes."""
    three = name.startswith("Qwen3")
    words = tokenizer(QWEN_SPECIAL)
    ids = words.convert_tokens_to_ids(QWEN_SPECIAL)
    keys = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    rope = {**ROPE, "mrope_section": list(sections), **({"mrope_interleaved": True} if three else {})}
    shared = {"num_heads": 4, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}
    config = getattr(hf, f"{name}Config")(
        vision_config={"depth": 4, **shared, "in_channels": 3, **vision},
        text_config={**TEXT, "vocab_size": len(words), "rope_parameters": rope, **text},
        **dict(zip(keys, ids, strict=True)),
    )
    patches = {"patch_size": 14, "temporal_patch_size": 2, "merge_size": 2}
    frame = {"shortest_edge": 28 * 28, "longest_edge": 84 * 112}
    video = {key: 16 * pixels for key, pixels in frame.items()} if three else frame
    of_video = hf.Qwen3VLVideoProcessor if three else hf.Qwen2VLVideoProcessor
    # where the version has it, each frame of a small model would be capped to a few pixels
    cap = {"cap_pixels_per_frame": False} if hasattr(of_video, "cap_pixels_per_frame") else {}
    processor = getattr(hf, {"Qwen3VLMoe": "Qwen3VL"}.get(name, name) + "Processor")(
        hf.Qwen2VLImageProcessor(size=frame, **patches),
        words,
        of_video(size=video, min_frames=2, max_frames=16, **patches, **cap),
        chat_template=chat_template("<|video_pad|>" if three else "<|vision_start|><|video_pad|><|vision_end|>"),
    )
    save(folder, getattr(hf, f"{name}ForConditionalGeneration")(config), processor)


def qwen2_vl(folder: Path) -> None:
    vision = {"embed_dim": 32, "hidden_size": 64, "mlp_ratio": 2}
    _qwen(folder, "Qwen2VL", vision, {}, [2, 3, 3])


def qwen2_5_vl(folder: Path) -> None:
    vision = {"hidden_size": 32, "out_hidden_size": 64, "intermediate_size": 48, "tokens_per_second": 2}
    windows = {"window_size": 56, "fullatt_block_indexes": [1, 3]}
    _qwen(folder, "Qwen2_5_VL", {**vision, **windows}, {}, [2, 3, 3])


DEEPSTACK = {
    "hidden_size": 32,
    "out_hidden_size": 64,
    "intermediate_size": 48,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0, 2],
}


def qwen3_vl(folder: Path) -> None:
    _qwen(folder, "Qwen3VL", DEEPSTACK, {"head_dim": 16}, [4, 2, 2])


def qwen3_vl_moe(folder: Path) -> None:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "decoder_sparse_step": 1}
    _qwen(folder, "Qwen3VLMoe", DEEPSTACK, {"head_dim": 16, **experts}, [4, 2, 2])


def llava_video(folder: Path) -> None:
    """A folder in the original LLaVA layout: no class of transformers has written it."""
    words = tokenizer(("<|im_start|>", "<|im_end|>"))
    words.save_pretrained(folder)
    text = hf.Qwen2Config(**TEXT, vocab_size=len(words) + 6)  # spare rows, as the published embedding has
    published = {"rope_theta": 1e6, "rope_scaling": None, "torch_dtype": "float32", "use_sliding_window": False}
    tower = hf.SiglipVisionConfig(**SIGLIP, vision_use_head=False)
    original = {
        "model_type": "llava_qwen",
        **TEXT,
        "vocab_size": text.vocab_size,
        **published,
        "mm_vision_tower": "tower",
        "mm_projector_type": "mlp2x_gelu",
        "mm_newline_position": "grid",
    }
    (folder / "config.json").write_text(json.dumps(original))
    (folder / "tower").mkdir()
    tower.save_pretrained(folder / "tower")
    D, V = text.hidden_size, tower.hidden_size
    shapes = {"model.mm_projector.0.weight": (D, V), "model.mm_projector.0.bias": (D,)}
    shapes |= {"model.mm_projector.2.weight": (D, D), "model.mm_projector.2.bias": (D,), "model.image_newline": (D,)}
    shapes |= {name: tuple(p.shape) for name, p in hf.Qwen2ForCausalLM(text).state_dict().items()}
    vision = {name.removeprefix("vision_model."): p for name, p in hf.SiglipVisionModel(tower).state_dict().items()}
    last = f"encoder.layers.{tower.num_hidden_layers - 1}."  # dropped by the original layout
    prefix = "model.vision_tower.vision_tower.vision_model."
    shapes |= {prefix + name: tuple(p.shape) for name, p in vision.items() if not name.startswith(last)}
    generator = torch.Generator().manual_seed(0)
    spread = {name: 0.25 / max(1.0, (shape[-1] / 64) ** 0.5) for name, shape in shapes.items()}
    weights = {name: torch.randn(shape, generator=generator) * spread[name] for name, shape in shapes.items()}
    weights |= {name: 1 + 0.1 * w for name, w in weights.items() if "norm" in name and name.endswith("weight")}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "generation_config.json").write_text(json.dumps({"pad_token_id": 0}))


TINY: dict[str, Callable[[Path], None]] = {
    "llava_onevision": llava_onevision,
    "llava_video": llava_video,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "qwen3_vl_moe": qwen3_vl_moe,
}
