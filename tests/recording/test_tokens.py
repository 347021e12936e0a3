"""Captured tokens are the model's own features at the model's own positions, and capture leaves no trace."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from redundancy.models import Prepared, VideoLLM
from redundancy.recording import capture, record_tokens, tokens_of_prompt, video_tokens
from redundancy.tokens import VideoTokens
from tests.family_fixtures import hooks_of
from tests.tiny_models import make_clip

PROMPT = "what happens in the video ?"
LONGER = "what happens first in the video , red or blue ?"


def own_features(model: VideoLLM, inputs: Prepared, tokens: list[VideoTokens]) -> list[Tensor]:
    """`[T, N, D]` of each video from the model's `get_video_features`, without newlines."""
    core: Any = model.family.core
    tensors = inputs.tensors
    grid = () if "video_grid_thw" not in tensors else (tensors["video_grid_thw"],)
    with torch.no_grad():
        output = core.get_video_features(tensors["pixel_values_videos"], *grid)
    return [
        features[split_run(model, t)].view(t.features.shape)
        for features, t in zip(output.pooler_output, tokens, strict=True)
    ]


def split_run(model: VideoLLM, tokens: VideoTokens) -> Tensor:
    """Where the video tokens stand among the placeholders of one video."""
    places = torch.arange(model.family.run_length(tokens.grid))
    return model.family.split_run(places, tokens.grid)[0].flatten()


def own_positions(model: VideoLLM, inputs: Prepared) -> Tensor:
    """`[A, B, L]`: `get_rope_index` where the model has one, else counted from the first token that is no padding."""
    core: Any = model.family.core
    tensors = inputs.tensors
    if not hasattr(core, "get_rope_index"):
        return (tensors["attention_mask"].cumsum(-1) - 1).clamp(min=0)[None]
    names = ("input_ids", "mm_token_type_ids", "video_grid_thw", "second_per_grid_ts", "attention_mask")
    positions: Tensor = core.get_rope_index(**{name: tensors[name] for name in names if name in tensors})[0]
    return positions


def placeholder_positions(model: VideoLLM, inputs: Prepared, row: int) -> Tensor:
    """`[A, placeholders]` of one row."""
    is_video = inputs.tensors["input_ids"][row] == model.family.video_token_id
    return own_positions(model, inputs)[:, row, is_video]


def check_against_model(model: VideoLLM, inputs: Prepared, tokens: list[VideoTokens]) -> None:
    for captured, features in zip(tokens, own_features(model, inputs, tokens), strict=True):
        assert torch.equal(captured.features, features)
    rows = [i for i, clips in enumerate(inputs.clips) for _ in clips]
    start = dict.fromkeys(rows, 0)
    for row, captured in zip(rows, tokens, strict=True):
        own = placeholder_positions(model, inputs, row)[:, start[row] + split_run(model, captured)]
        assert captured.positions is not None
        assert torch.equal(captured.positions.flatten(1), own)
        start[row] += model.family.run_length(captured.grid)


@pytest.mark.parametrize("frames", [6, 5, 2])
def test_features_and_positions_are_the_models_own(family_model: VideoLLM, frames: int) -> None:
    inputs = family_model.prepare(make_clip(frames), PROMPT)
    tokens = tokens_of_prompt(family_model, inputs)
    assert len(tokens) == 1
    check_against_model(family_model, inputs, tokens)


def test_one_frame_is_taken_or_refused_with_the_reason(family_model: VideoLLM) -> None:
    if family_model.family.layout.frame_text:
        with pytest.raises(ValueError, match="takes videos of at least 2 frames, given one of 1"):
            family_model.prepare(make_clip(1), PROMPT)
        return
    inputs = family_model.prepare(make_clip(1), PROMPT)
    check_against_model(family_model, inputs, tokens_of_prompt(family_model, inputs))


def test_two_videos_in_one_prompt(family_model: VideoLLM) -> None:
    clips = [make_clip(6, seed=1), make_clip(6, seed=2)]
    inputs = family_model.prepare([clips], [PROMPT])
    tokens = tokens_of_prompt(family_model, inputs)
    assert len(tokens) == 2
    assert not torch.equal(tokens[0].features, tokens[1].features)
    check_against_model(family_model, inputs, tokens)


def test_batch_with_padding(family_model: VideoLLM) -> None:
    clips = [make_clip(6, seed=1), make_clip(6, seed=2), make_clip(6, seed=3)]
    inputs = family_model.prepare([[clips[0]], clips[1:]], [LONGER, PROMPT])
    assert (inputs.tensors["attention_mask"] == 0).any()
    tokens = tokens_of_prompt(family_model, inputs)
    assert len(tokens) == 3
    check_against_model(family_model, inputs, tokens)
    alone = video_tokens(family_model, clips[0], LONGER)
    assert torch.equal(tokens[0].positions, alone.positions)  # padding moves nothing
    # the tower takes frames in another batch, which changes the order of its float32 sums
    torch.testing.assert_close(tokens[0].features, alone.features, atol=1e-4, rtol=1e-4)
    for source, salience in alone.salience.items():
        torch.testing.assert_close(tokens[0].salience[source], salience, atol=1e-4, rtol=1e-4)


def test_frames_members_and_times(family_model: VideoLLM) -> None:
    clip = make_clip(5)
    tokens = video_tokens(family_model, clip)
    members = family_model.family.clip_frames_per_step
    expected = [[0], [1], [2], [3], [4]] if members == 1 else [[0, 1], [2, 3], [4, 4]]
    assert tokens.frame_members.tolist() == expected
    assert tokens.frame_time.tolist() == [clip.timestamps[m].mean() for m in expected]
    assert tokens.grid.frames == len(expected)


def test_rotary_layout_is_that_of_the_text_model(family_model: VideoLLM) -> None:
    rotary = family_model.family.rotary()
    axes = len(rotary.axes)
    positions = torch.tensor([7, 40, 301])[:axes]
    module: Any = family_model.family.text_model.rotary_emb
    given = positions.view(1, 1) if axes == 1 else positions.view(axes, 1, 1)
    cosine, _ = module(torch.zeros(1, 1, 1), given)
    angles = positions[rotary.axis].double() * rotary.inverse_frequency
    # float32 angles up to 301 rad are exact to about 3e-5
    torch.testing.assert_close(angles.cos(), cosine[0, 0, : len(angles)].double(), atol=5e-5, rtol=0)


def answers(model: VideoLLM, inputs: Prepared) -> Tensor:
    return model.model.generate(  # type: ignore[operator, no-any-return]
        **inputs.tensors, max_new_tokens=6, do_sample=False, output_scores=True, return_dict_in_generate=True
    )


def assert_same_answers(first: Any, second: Any) -> None:
    assert torch.equal(first.sequences, second.sequences)
    assert all(torch.equal(a, b) for a, b in zip(first.scores, second.scores, strict=True))


def test_generation_is_the_same_before_inside_and_after(family_model: VideoLLM) -> None:
    clip = make_clip(6)
    inputs = family_model.prepare(clip, PROMPT)
    before = answers(family_model, inputs)
    hooks = hooks_of(family_model)
    with record_tokens(family_model, [clip]) as recorder:
        inside = answers(family_model, inputs)
    assert hooks_of(family_model) == hooks
    assert len(recorder.tokens) == 1
    check_against_model(family_model, inputs, recorder.tokens)
    capture(family_model, clip, PROMPT)
    assert_same_answers(before, inside)
    assert_same_answers(before, answers(family_model, inputs))
    with pytest.raises(KeyboardInterrupt), record_tokens(family_model, [clip]):
        raise KeyboardInterrupt
    assert hooks_of(family_model) == hooks
    assert_same_answers(before, answers(family_model, inputs))


def test_an_exception_inside_the_model_leaves_no_hook(family_model: VideoLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(2)
    hooks = hooks_of(family_model)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(family_model.family.text_model, "forward", fail)
        inputs = family_model.prepare(clip, PROMPT)
        with pytest.raises(RuntimeError, match="out of memory"), record_tokens(family_model, [clip]):
            family_model.prefill(inputs)
    assert hooks_of(family_model) == hooks


def test_capture_keeps_what_an_earlier_call_left_in_the_model(family_model: VideoLLM) -> None:
    """A conversation that is under way continues after a capture of another clip."""
    core: Any = family_model.family.core
    answers(family_model, family_model.prepare(make_clip(6), PROMPT))
    state = getattr(core, "rope_deltas", None)
    kept = None if state is None else state.clone()
    capture(family_model, make_clip(3, seed=4), LONGER)
    after = getattr(core, "rope_deltas", None)
    assert (kept is None and after is None) or torch.equal(kept, after)


def test_tokens_of_a_prompt_that_holds_the_video_token_only_as_text_are_refused(family_model: VideoLLM) -> None:
    inputs = family_model.prepare(make_clip(2), PROMPT)
    short = {k: v[:, 1:] if k == "input_ids" else v for k, v in inputs.tensors.items()}
    grid = family_model.family.video_grids(inputs.tensors, None)
    with pytest.raises(ValueError, match="1 videos are given, the prompt has placeholders for 0"):
        family_model.family.spans(short["input_ids"][:, :1], grid)
    with pytest.raises(ValueError, match="video placeholders, which are not those of"):
        family_model.family.spans(inputs.tensors["input_ids"], [grid[0]._replace(rows=grid[0].rows + 1)])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"salience": ["beauty"]}, r"gives no salience of source \['beauty'\]; it gives \["),
        ({"frame_features": ["beauty"]}, r"gives no frame features of source \['beauty'\]"),
    ],
)
def test_unknown_sources_are_refused(family_model: VideoLLM, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        video_tokens(family_model, make_clip(2), **asked)


def test_only_asked_sources_are_recorded(family_model: VideoLLM) -> None:
    tokens = video_tokens(family_model, make_clip(2), salience=["norm"], frame_features=[])
    assert set(tokens.salience) == {"norm"}
    assert not tokens.frame_features
    assert torch.equal(tokens.salience["norm"], tokens.features.norm(dim=-1))


def test_input_without_ids_is_refused(family_model: VideoLLM) -> None:
    clip = make_clip(2)
    inputs = family_model.prepare(clip, PROMPT).tensors
    embeds = family_model.model.get_input_embeddings()(inputs["input_ids"])  # type: ignore[operator]
    arguments = {**inputs, "inputs_embeds": embeds}
    del arguments["input_ids"]
    with pytest.raises(NotImplementedError, match="pass input_ids"), record_tokens(family_model, [clip]):
        family_model.model(**arguments)
