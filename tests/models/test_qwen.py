"""What only the Qwen families have: temporal patches, three position axes, timestamps, DeepStack, windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from redundancy.models import VideoLLM, load_model
from redundancy.recording import tokens_of_prompt, video_tokens
from tests.tiny_models import make_clip

SECTIONED = [0, 0, 1, 1, 1, 2, 2, 2]  # mrope_section [2, 3, 3]
INTERLEAVED = [0, 1, 2, 0, 1, 2, 0, 0]  # mrope_section [4, 2, 2]: t h w t h w, then t alone
AXIS = {"qwen2_vl": SECTIONED, "qwen2_5_vl": SECTIONED, "qwen3_vl": INTERLEAVED, "qwen3_vl_moe": INTERLEAVED}


@pytest.fixture(scope="module", params=list(AXIS))
def qwen(request: pytest.FixtureRequest, tiny_folder: Callable[[str], Path]) -> VideoLLM:
    return load_model(tiny_folder(request.param), device="cpu")


@pytest.fixture(scope="module")
def qwen2_5(tiny_folder: Callable[[str], Path]) -> VideoLLM:
    return load_model(tiny_folder("qwen2_5_vl"), device="cpu")


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen3_vl_moe"])
def qwen3(request: pytest.FixtureRequest, tiny_folder: Callable[[str], Path]) -> VideoLLM:
    return load_model(tiny_folder(request.param), device="cpu")


def test_rotary_axes(qwen: VideoLLM) -> None:
    rotary = qwen.family.rotary()
    assert rotary.axes == ("t", "h", "w")
    assert rotary.axis.tolist() == AXIS[qwen.family.name]
    expected = 1e4 ** -(torch.arange(8).double() / 8)
    torch.testing.assert_close(rotary.inverse_frequency, expected, rtol=1e-6, atol=0)  # the module holds float32


def test_positions_are_a_grid(qwen: VideoLLM) -> None:
    """Rows and columns count from the frame's first place; time counts steps, except where it is in the text."""
    tokens = video_tokens(qwen, make_clip(6), "what happens ?")
    assert tokens.grid == (3, 3, 4)
    assert tokens.positions is not None
    t, h, w = tokens.positions
    assert torch.equal(h - h[:, :1], tokens.token_row.expand(3, -1))
    assert torch.equal(w - w[:, :1], tokens.token_col.expand(3, -1))
    assert bool((t == t[:, :1]).all())
    if not tokens.layout.frame_text:
        assert bool((h[:, 0] == h[0, 0]).all())
        seconds = 2.0 if qwen.family.name == "qwen2_5_vl" else 0.5  # 2 tokens a second; one clip frame a second
        assert (t[1:, 0] - t[:-1, 0]).tolist() == [2 * seconds] * 2


def test_videos_of_different_size_and_length_in_one_batch(qwen: VideoLLM) -> None:
    clips = [make_clip(6), make_clip(4, 56, 84, seed=1), make_clip(3, 56, 56, seed=2)]
    inputs = qwen.prepare([clips[:2], clips[2:]], ["what happens ?", "which first ?"])
    together = tokens_of_prompt(qwen, inputs)
    assert [tuple(t.grid) for t in together] == [(3, 3, 4), (2, 2, 3), (2, 2, 2)]
    for clip, tokens in zip(clips, together, strict=True):
        alone = video_tokens(qwen, clip)
        torch.testing.assert_close(tokens.features, alone.features, atol=1e-4, rtol=1e-4)
        for source, scores in alone.salience.items():  # window order is undone per video
            torch.testing.assert_close(tokens.salience[source], scores, atol=1e-5, rtol=1e-4)


def test_deepstack_features_are_the_models_own(qwen3: VideoLLM) -> None:
    clips = [make_clip(6), make_clip(4, seed=1), make_clip(4, seed=2)]
    inputs = qwen3.prepare([clips[:1], clips[1:]], ["what happens ?", "which first ?"])
    core: Any = qwen3.family.core
    with torch.no_grad():
        given = inputs.tensors["pixel_values_videos"], inputs.tensors["video_grid_thw"]
        own = core.get_video_features(*given).deepstack_features
    captured = tokens_of_prompt(qwen3, inputs)
    sizes = [t.grid.frames * t.grid.tokens_per_frame for t in captured]
    assert len(own) == 2
    for level, features in enumerate(own):
        flat = torch.cat(list(features)) if isinstance(features, tuple | list) else features
        for tokens, part in zip(captured, flat.split(sizes), strict=True):
            assert torch.equal(tokens.extra["deepstack"][level].flatten(0, 1), part)


def test_deepstack_reduces_with_the_tokens(qwen3: VideoLLM) -> None:
    """Keeping every second column through `shorten_extras`: the levels keep the same ones."""
    mask = torch.tensor([[False, True, True, True, True, False]])
    level = torch.arange(8.0).view(4, 2)
    given = {"visual_pos_masks": mask, "deepstack_visual_embeds": [level, 10 * level]}
    kept = torch.tensor([0, 1, 3, 5])
    extras = qwen3.family.shorten_extras(given, lambda x: x[:, kept], lambda m: m[:, kept])
    assert extras["visual_pos_masks"].tolist() == [[False, True, True, False]]
    assert torch.equal(extras["deepstack_visual_embeds"][0], level[[0, 2]])
    assert torch.equal(extras["deepstack_visual_embeds"][1], 10 * level[[0, 2]])


def test_text_positions_stand_before_the_axes(qwen: VideoLLM) -> None:
    rows = qwen.family.text_position_ids(torch.full((3, 1, 4), 7), torch.arange(4)[None])
    assert rows.tolist() == [[[0, 1, 2, 3]], [[7] * 4], [[7] * 4], [[7] * 4]]


def test_windows_are_not_whole_frames(qwen2_5: VideoLLM) -> None:
    with pytest.raises(ValueError, match=r"salience_layer=2 attends inside windows; blocks \[1, 3\] see whole frames"):
        video_tokens(qwen2_5, make_clip(2), salience_layer=2)
    video_tokens(qwen2_5, make_clip(2), salience=["norm"], salience_layer=2)


def test_seconds_per_step_are_those_of_the_part_that_was_cut_out(qwen2_5: VideoLLM) -> None:
    """Seconds 10 to 16 of a minute, one frame a second, are two seconds per temporal step, not twenty."""
    clip = make_clip(6)
    indices = np.arange(10, 16, dtype=np.int64) * 2
    part = replace(clip, indices=indices, timestamps=indices / 2.0, total_frames=120, duration=60.0)
    assert qwen2_5.prepare(part).tensors["second_per_grid_ts"].tolist() == [2.0]
    assert qwen2_5.prepare(clip).tensors["second_per_grid_ts"].tolist() == [2.0]
    one = replace(make_clip(1), total_frames=120)
    assert qwen2_5.prepare(one).tensors["second_per_grid_ts"].tolist() == [120.0]


def text_of(model: VideoLLM, clip: Any) -> str:
    text: str = model.processor.batch_decode(model.prepare(clip).tensors["input_ids"], skip_special_tokens=True)[0]
    return text.replace(" ", "")


def test_timestamps_are_the_true_times(qwen3: VideoLLM) -> None:
    clip = make_clip(4)
    assert "<0.5seconds>" in text_of(qwen3, clip)
    assert "<2.5seconds>" in text_of(qwen3, clip)
    late = replace(clip, timestamps=np.array([0.0, 1.0, 5.0, 9.0]))  # a variable rate: the indices say 2 and 3 s
    assert "<0.5seconds>" in text_of(qwen3, late)
    assert "<7.0seconds>" in text_of(qwen3, late)
