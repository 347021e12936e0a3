"""Untrained small models of the real architectures, with their real processors and a word-level tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from redundancy.models.torchvision_repair import import_torchvision
from redundancy.world.questions import DIGITS, NUMBERS, QUARTERS
from redundancy.world.scene import BACKGROUNDS, COLORS, DIRECTIONS, QUADRANTS, SHAPES

PATCH = 8
MERGE = 2  # patches along each side of a token
HEAD = 32  # channels of an attention head of the language model
SPREAD = 0.05  # of fresh weights: with the usual .02 so narrow a model hardly begins to learn
_CONTROL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
FAMILIES = {"llava_onevision": "tiny-llava-onevision", "qwen2_5_vl": "tiny-qwen2.5-vl", "qwen3_vl": "tiny-qwen3-vl"}
"""Every family that can be trained, and the name under which its model is bundled."""
_SPOKEN = (
    *("q", "a", "?", "in", "scene", "which", "shape", "moves", "direction", "color", "of", "digit", "flash"),
    *("when", "where", "how", "many", "scenes", "first", "or"),
)
_ANSWERS = (*COLORS, *SHAPES, *BACKGROUNDS, *DIRECTIONS, *NUMBERS, *DIGITS, *QUADRANTS, *QUARTERS)
PLACES = 0.5  # spread of SigLIP's position embeddings, that of its patches; of a sixth places are learned late
_LLAVA_SPECIAL = ("<video>", "<image>", "<vstart>", "<vend>")
_QWEN_SPECIAL = ("<|video_pad|>", "<|image_pad|>", "<|vision_start|>", "<|vision_end|>")
_TIMESTAMP = ("<", ">", ".", "seconds")


@dataclass(frozen=True)
class ModelSize:
    """Sizes of a small model and of its videos.

    Parameters
    ----------
    pixels
        Along each side of a frame, a multiple of 16.
    frames
        Of a video, an even number.
    tower_width, tower_layers
        Of the vision tower.
    width, layers
        Of the language model; the width is a multiple of 32.
    """

    pixels: int
    frames: int
    tower_width: int
    tower_layers: int
    width: int
    layers: int

    @property
    def cells(self) -> int:
        """Tokens along each side of a frame."""
        return self.pixels // (PATCH * MERGE)


SIZES = {"nano": ModelSize(64, 16, 96, 3, 128, 4), "small": ModelSize(112, 32, 128, 4, 160, 4)}


def require_known(family: str, size: str) -> None:
    """Check the names of a family and a size.

    Raises
    ------
    ValueError
        If one of them is unknown.
    """
    for name, given, known in (("family", family, FAMILIES), ("size", size, SIZES)):
        if given not in known:
            raise ValueError(f"{name}={given!r} given, expected one of {', '.join(known)}")


def frames_per_step(family: str) -> int:
    """Frames that share one temporal step of tokens."""
    return 1 if family == "llava_onevision" else 2


def build_model(family: str, size: ModelSize) -> Any:
    """A model of transformers with fresh weights, drawn from torch's global generator.

    Raises
    ------
    ValueError
        If the family is unknown.

    Source: architectures arXiv:2408.03326, arXiv:2502.13923, arXiv:2511.21631.
    """
    require_known(family, "nano")
    special = [vocabulary(family).index(word) for word in _special(family)]
    build = {"llava_onevision": _llava_onevision, "qwen2_5_vl": _qwen2_5_vl, "qwen3_vl": _qwen3_vl}[family]
    model = build(size, _text(family, size), special)
    generation = model.generation_config
    generation.pad_token_id, generation.bos_token_id, generation.eos_token_id = _CONTROL.values()
    return model


def _text(family: str, size: ModelSize) -> dict[str, Any]:
    """Fields of the language model that all families share."""
    heads = size.width // HEAD
    return {
        **_CONTROL,
        "vocab_size": len(vocabulary(family)),
        "hidden_size": size.width,
        "intermediate_size": 3 * size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "initializer_range": SPREAD,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    }


def _tower(size: ModelSize) -> dict[str, Any]:
    """Fields of the vision tower that all families share."""
    width = size.tower_width
    return {
        "hidden_size": width,
        "intermediate_size": 3 * width,
        "patch_size": PATCH,
        "initializer_range": SPREAD,
    }


def _llava_onevision(size: ModelSize, text: dict[str, Any], special: Sequence[int]) -> Any:
    hf = _transformers()
    siglip = {"num_hidden_layers": size.tower_layers, "num_attention_heads": 4, "image_size": size.pixels}
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**_tower(size), **siglip, vision_use_head=False).to_dict(),
        text_config=hf.Qwen2Config(**text).to_dict(),
        video_token_index=special[0],
        image_token_index=special[1],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[size.pixels, size.pixels]],
        tie_word_embeddings=True,
    )
    model = hf.LlavaOnevisionForConditionalGeneration(config)
    for name, parameter in model.named_parameters():
        if name.endswith("position_embedding.weight"):  # SigLIP's only notion of place
            torch.nn.init.normal_(parameter, std=PLACES)
    return model


def _qwen2_5_vl(size: ModelSize, text: dict[str, Any], special: Sequence[int]) -> Any:
    hf = _transformers()
    text["rope_parameters"]["mrope_section"] = [4, 6, 6]
    blocks = list(range(size.tower_layers))
    tower = {"window_size": 112, "fullatt_block_indexes": blocks, "tokens_per_second": 2}
    config = hf.Qwen2_5_VLConfig(text_config=text, vision_config={**_qwen_tower(size), **tower}, **_qwen_ids(special))
    return hf.Qwen2_5_VLForConditionalGeneration(config)


def _qwen3_vl(size: ModelSize, text: dict[str, Any], special: Sequence[int]) -> Any:
    hf = _transformers()
    text["head_dim"] = HEAD
    text["rope_parameters"] |= {"mrope_section": [6, 5, 5], "mrope_interleaved": True}
    tower = {"num_position_embeddings": (size.pixels // PATCH) ** 2, "deepstack_visual_indexes": [0, 1]}
    config = hf.Qwen3VLConfig(text_config=text, vision_config={**_qwen_tower(size), **tower}, **_qwen_ids(special))
    return hf.Qwen3VLForConditionalGeneration(config)


def _qwen_tower(size: ModelSize) -> dict[str, Any]:
    depth = {"depth": size.tower_layers, "num_heads": 4, "out_hidden_size": size.width}
    return {**_tower(size), **depth, "spatial_merge_size": MERGE, "temporal_patch_size": 2}


def _qwen_ids(special: Sequence[int]) -> dict[str, Any]:
    names = ("video_token_id", "image_token_id", "vision_start_token_id", "vision_end_token_id")
    return {**dict(zip(names, special, strict=True)), **_CONTROL, "tie_word_embeddings": True}


def build_processor(family: str, size: ModelSize) -> Any:
    """The processor of the family for frames of one size, with tokenizer and chat template.

    The user's text becomes `q ... a`; the answer is the next word. Frames are not sampled.

    Raises
    ------
    ValueError
        If the family is unknown.
    """
    require_known(family, "nano")
    hf = _transformers()
    words = _tokenizer(family)
    normal = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    if family == "llava_onevision":
        pixels = {"height": size.pixels, "width": size.pixels}
        return hf.LlavaOnevisionProcessor(
            hf.LlavaOnevisionImageProcessor(size=pixels, image_grid_pinpoints=[[size.pixels] * 2], **normal),
            words,
            hf.LlavaOnevisionVideoProcessor(size=pixels, do_sample_frames=False, **normal),
            num_image_tokens=(size.pixels // PATCH) ** 2,
            vision_feature_select_strategy="full",
            chat_template=_template("<video>", "<image>"),
        )
    patches = {"patch_size": PATCH, "temporal_patch_size": 2, "merge_size": MERGE}
    three = family == "qwen3_vl"
    frame = size.pixels**2
    # Qwen3-VL counts the pixels of all frames
    video = {"shortest_edge": frame * (2 if three else 1), "longest_edge": frame * (size.frames if three else 1)}
    of_video = hf.Qwen3VLVideoProcessor if three else hf.Qwen2VLVideoProcessor
    cap: dict[str, Any] = {"cap_pixels_per_frame": False} if hasattr(of_video, "cap_pixels_per_frame") else {}
    whole = hf.Qwen3VLProcessor if three else hf.Qwen2_5_VLProcessor
    shown = "<|vision_start|>{}<|vision_end|>"
    seen = "<|video_pad|>" if three else shown.format("<|video_pad|>")  # Qwen3-VL's processor sets marks at every step
    return whole(
        hf.Qwen2VLImageProcessor(size={"shortest_edge": frame, "longest_edge": frame}, **patches, **normal),
        words,
        of_video(size=video, do_sample_frames=False, min_frames=2, max_frames=768, **patches, **cap, **normal),
        chat_template=_template(seen, shown.format("<|image_pad|>")),
    )


def vocabulary(family: str) -> list[str]:
    """Every word of a family's tokenizer, in the order of its ids."""
    times = _TIMESTAMP if family == "qwen3_vl" else ()
    return ["<pad>", "<bos>", "<eos>", *_special(family), *_SPOKEN, *_ANSWERS, *times, "<unk>"]


def _transformers() -> Any:
    """The library, untyped: its classes take more than their annotations say."""
    import_torchvision()
    import transformers

    return transformers


def _special(family: str) -> Sequence[str]:
    return _LLAVA_SPECIAL if family == "llava_onevision" else _QWEN_SPECIAL


def _tokenizer(family: str) -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocabulary(family))}, unk_token="<unk>"))
    parts: list[Any] = [pre_tokenizers.WhitespaceSplit()]
    if family == "qwen3_vl":  # "<0.5 seconds>" is written out
        parts.append(pre_tokenizers.Split(Regex(r"[<>.]|\d(?=[\d.])|(?<=\.)\d"), "isolated"))
    core.pre_tokenizer = pre_tokenizers.Sequence(parts)
    hf = _transformers()
    video, image, start, end = _special(family)
    named = {"video_token": video, "image_token": image}
    if family != "llava_onevision":
        named |= {"vision_bos_token": start, "vision_eos_token": end}
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        padding_side="left",
        extra_special_tokens=named,
        model_max_length=4096,
    )


def _template(video: str, image: str) -> str:
    return (
        "<bos>{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'video' %}"
        + video
        + "{% elif c['type'] == 'image' %}"
        + image
        + "{% elif m['role'] == 'user' %} q {{ c['text'] }}{% else %} a {{ c['text'] }}{% endif %}{% endfor %}"
        "{% endfor %}{% if add_generation_prompt %} a{% endif %}"
    )
