"""Cost of looking at attention: `python -m benchmarks.attention` (float32, 2 threads, growing length).

A prefill of a random LLaVA-OneVision language model is timed without hooks, with the last row of every layer recorded,
and with eager attention that returns its squares; pairs are timed one after the other and the median of their ratios is
printed, beside what each keeps and its highest memory above what was there before.
"""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import describe, peak_mb, seconds
from redundancy.models.llava_onevision import LlavaOnevision
from redundancy.models.torchvision_repair import import_torchvision
from redundancy.recording.attention import record_attention

LENGTHS = (512, 1024, 2048)
HIDDEN, LAYERS, HEADS, KEY_HEADS = 896, 8, 14, 2  # the width, heads and grouping of Qwen2-0.5B, a third of its layers
SIDE, TEXT = 14, 32  # tokens along a frame's sides, text tokens


def build(attention: str) -> Any:
    import_torchvision()
    import transformers as hf

    vision = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    config = hf.LlavaOnevisionConfig(
        vision_config=hf.SiglipVisionConfig(**vision, image_size=216, patch_size=8, vision_use_head=False).to_dict(),
        text_config=hf.Qwen2Config(
            vocab_size=160,
            hidden_size=HIDDEN,
            intermediate_size=4864,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=KEY_HEADS,
        ).to_dict(),
        image_token_index=150,
        video_token_index=151,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
    )
    config._attn_implementation = attention
    torch.manual_seed(0)
    return hf.LlavaOnevisionForConditionalGeneration(config).eval()


def inputs_of(length: int) -> dict[str, Tensor]:
    """A prompt of about `length` columns: whole frames, one newline, text before and after."""
    frames = (length - TEXT - 1) // SIDE**2
    video = torch.full((frames * SIDE**2 + 1,), 151)
    ids = torch.cat([torch.arange(3, 8), video, torch.arange(8, length - len(video) + 3)])[None] % 152
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "pixel_values_videos": torch.randn(1, frames, 3, 216, 216),
    }


def main() -> None:
    torch.set_num_threads(2)
    model, eager = build("sdpa"), build("eager")
    family = LlavaOnevision(model)
    print(f"{describe()}; {LAYERS} layers of {HIDDEN}, {HEADS} heads")
    print(
        f"{'length':>7s}{'prefill ms':>12s}{'peak MB':>9s}{'last rows, x':>14s}{'kept MB':>9s}{'peak MB':>9s}"
        f"{'eager squares, x':>18s}{'kept MB':>9s}{'peak MB':>9s}"
    )
    for length in LENGTHS:
        inputs = inputs_of(length)
        kept: dict[str, float] = {}

        def plain(inputs: dict[str, Tensor] = inputs) -> None:
            model(**inputs, logits_to_keep=1)

        def rows(inputs: dict[str, Tensor] = inputs, kept: dict[str, float] = kept) -> None:
            with record_attention(family, "last") as record:
                model(**inputs, logits_to_keep=1)
            kept["rows"] = sum(r.nbytes for r in record.rows.values()) / 1e6

        def squares(inputs: dict[str, Tensor] = inputs, kept: dict[str, float] = kept) -> None:
            out = eager(**inputs, logits_to_keep=1, output_attentions=True)
            kept["squares"] = sum(a.nbytes for a in out.attentions) / 1e6

        with torch.no_grad():
            for warm in (plain, rows, squares):
                warm()
            pairs = [(seconds(rows), seconds(plain)) for _ in range(5)]
            base = [b for _, b in pairs]
            hooked = [a / b for a, b in pairs]
            eagerly = [seconds(squares) / seconds(plain)]
            peak = [peak_mb(call) for call in (plain, rows, squares)]
        print(
            f"{inputs['input_ids'].shape[1]:7d}{1e3 * statistics.median(base):12.0f}{peak[0]:9.0f}"
            f"{statistics.median(hooked):14.3f}{kept['rows']:9.2f}{peak[1]:9.0f}"
            f"{statistics.median(eagerly):18.2f}{kept['squares']:9.0f}{peak[2]:9.0f}"
        )


if __name__ == "__main__":
    main()
