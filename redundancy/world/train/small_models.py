"""Untrained small models of the real architectures, with their real processors and a word-level tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from redundancy.models.torchvision_repair import import_torchvision
from redundancy.world.questions import DIGITS, NUMBERS, QUARTERS
from redundancy.world.scene import BACKGROUNDS, COLORS, DIRECTIONS, QUADRANTS, SHAPES

PATCH = 8
MERGE = 2  # patches along each side of a token
HEAD = 32  # channels of an attention head of the language model
FAMILIES = {"llava_onevision": "tiny-llava-onevision", "qwen2_5_vl": "tiny-qwen2.5-vl", "qwen3_vl": "tiny-qwen3-vl"}
"""Every family that can be trained, and the name under which its model is bundled."""
_SPOKEN = (
    *("q", "a", "?", "in", "scene", "which", "shape", "moves", "direction", "color", "of", "digit", "flash"),
    *("when", "where", "how", "many", "scenes", "first", "or"),
)
_ANSWERS = (*COLORS, *SHAPES, *BACKGROUNDS, *DIRECTIONS, *NUMBERS, *DIGITS, *QUADRANTS, *QUARTERS)
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

    Source: own.
    """
    for name, given, known in (("family", family, FAMILIES), ("size", size, SIZES)):
        if given not in known:
            raise ValueError(f"{name}={given!r} given, expected one of {', '.join(known)}")


def frames_per_step(family: str) -> int:
    """Frames that share one temporal step of tokens.

    Source: own.
    """
    return 1 if family == "llava_onevision" else 2


def build_model(family: str, size: ModelSize) -> Any:
    """A model of transformers with fresh weights, drawn from torch's global generator.

    Raises
    ------
    ValueError
        If the family is unknown.

    Source: own; architectures arXiv:2408.03326, arXiv:2502.13923, arXiv:2511.21631.
    """
    require_known(family, "nano")
    hf = _transformers()
    words = vocabulary(family)
    heads = size.width // HEAD
    text: dict[str, Any] = {
        "vocab_size": len(words),
        "hidden_size": size.width,
        "intermediate_size": 3 * size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "initializer_range": 0.05,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    tower: dict[str, Any] = {
        "hidden_size": size.tower_width,
        "intermediate_size": 3 * size.tower_width,
        "patch_size": PATCH,
        "initializer_range": 0.05,
    }
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0}
    video, image = (words.index(word) for word in _special(family)[:2])
    if family == "llava_onevision":
        siglip = {"num_hidden_layers": size.tower_layers, "num_attention_heads": 4, "image_size": size.pixels}
        config = hf.LlavaOnevisionConfig(
            vision_config=hf.SiglipVisionConfig(**tower, **siglip, vision_use_head=False).to_dict(),
            text_config=hf.Qwen2Config(**text, rope_parameters=rope).to_dict(),
            video_token_index=video,
            image_token_index=image,
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
            image_grid_pinpoints=[[size.pixels, size.pixels]],
            tie_word_embeddings=True,
        )
        return _ready(hf.LlavaOnevisionForConditionalGeneration(config))
    start, end = (words.index(word) for word in _special(family)[2:])
    ids = {
        "video_token_id": video,
        "image_token_id": image,
        "vision_start_token_id": start,
        "vision_end_token_id": end,
        "tie_word_embeddings": True,
        **{name: text[name] for name in ("pad_token_id", "bos_token_id", "eos_token_id")},
    }
    tower |= {"depth": size.tower_layers, "num_heads": 4, "out_hidden_size": size.width}
    tower |= {"spatial_merge_size": MERGE, "temporal_patch_size": 2}
    if family == "qwen2_5_vl":
        blocks = list(range(size.tower_layers))
        tower |= {"window_size": 112, "fullatt_block_indexes": blocks, "tokens_per_second": 2}
        text["rope_parameters"] = {**rope, "mrope_section": [4, 6, 6]}
        qwen2_5 = hf.Qwen2_5_VLConfig(text_config=text, vision_config=tower, **ids)
        return _ready(hf.Qwen2_5_VLForConditionalGeneration(qwen2_5))
    patches = size.pixels // PATCH
    tower |= {"num_position_embeddings": patches * patches, "deepstack_visual_indexes": [0, 1]}
    text |= {"rope_parameters": {**rope, "mrope_section": [6, 5, 5], "mrope_interleaved": True}, "head_dim": HEAD}
    return _ready(hf.Qwen3VLForConditionalGeneration(hf.Qwen3VLConfig(text_config=text, vision_config=tower, **ids)))


def build_processor(family: str, size: ModelSize) -> Any:
    """The processor of the family for frames of one size, with tokenizer and chat template.

    The user's text becomes `q ... a`; the answer is the next word. Frames are not sampled.

    Raises
    ------
    ValueError
        If the family is unknown.

    Source: own.
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
    """Every word of a family's tokenizer, in the order of its ids.

    Source: own.
    """
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


def _ready(model: Any) -> Any:
    model.generation_config.bos_token_id = 1
    model.generation_config.eos_token_id = 2
    model.generation_config.pad_token_id = 0
    return model
