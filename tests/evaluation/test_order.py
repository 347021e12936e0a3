"""Order sensitivity: known answers, and against a direct computation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from redundancy.evaluation.order import halved, order_sensitivity, reversed_order, shuffled
from redundancy.evaluation.same_grid import check_comparable, grid_of, on_one_grid
from redundancy.evaluation.statistics.scores import paired_accuracy
from redundancy.evaluation.statistics.summary import compare
from redundancy.metrics.fidelity import next_token_kl
from redundancy.models import VideoLLM, load_model
from redundancy.sources import list_videos
from redundancy.video import VideoClip
from tests.tiny_models import make_clip


@pytest.fixture(scope="module")
def model() -> VideoLLM:
    return load_model("tiny-llava-onevision", device="cpu")


def test_the_three_conditions() -> None:
    clip = make_clip(6)
    np.testing.assert_array_equal(reversed_order(clip).frames[0], clip.frames[-1])
    np.testing.assert_array_equal(reversed_order(clip).timestamps, clip.timestamps)
    np.testing.assert_array_equal(halved(clip).frames, clip.frames[[0, 2, 4]])
    np.testing.assert_array_equal(halved(clip).indices, clip.indices[[0, 2, 4]])
    np.testing.assert_array_equal(halved(clip).timestamps, clip.timestamps[[0, 2, 4]])
    one, other = shuffled(clip, seed=0), shuffled(clip, seed=0)
    np.testing.assert_array_equal(one.frames, other.frames)
    assert sorted(f.sum() for f in one.frames) == sorted(f.sum() for f in clip.frames)
    assert any((shuffled(clip, seed=s).frames != clip.frames).any() for s in range(3))


def test_one_frame_has_no_order(model: VideoLLM) -> None:
    clip = make_clip(1, 64, 64)
    found = order_sensitivity(model, clip, ["which digit flash ?"])
    assert float(found["kl"].max()) == 0
    assert float(found["changed"].max()) == 0


def test_a_still_video_has_no_order_but_a_number(model: VideoLLM) -> None:
    clip = make_clip(8, 64, 64)
    still = replace(clip, frames=clip.frames[:1].repeat(8, axis=0))
    found = order_sensitivity(model, still, ["how many scenes ?"])
    assert float(found["kl"].sel(condition=["shuffled", "reversed"]).max()) == 0
    assert float(found["kl"].sel(condition="half of the frames").max()) > 0


def test_against_scipy_on_a_bundled_clip(model: VideoLLM) -> None:
    from scipy.stats import entropy

    source = list_videos(limit=1)[0]
    clip = model.load_video(source.path, frames=16)
    prompts = ["when digit flash ?", "how many scenes ?"]
    found = order_sensitivity(model, clip, prompts, draws=2, seed=5)
    for j, prompt in enumerate(prompts):
        logits = [
            model.prefill(model.prepare(c, prompt)).logits[0, -1].double().softmax(-1).numpy()
            for c in (clip, reversed_order(clip), shuffled(clip, seed=5), shuffled(clip, seed=6))
        ]
        kl = [entropy(logits[0], p) for p in logits[1:]]
        assert found["kl"].sel(condition="reversed")[j].item() == pytest.approx(kl[0], rel=1e-4, abs=1e-7)
        assert found["kl"].sel(condition="shuffled")[j].item() == pytest.approx((kl[1] + kl[2]) / 2, rel=1e-4, abs=1e-7)
        flips = [p.argmax() != logits[0].argmax() for p in logits[1:]]
        assert found["changed"].sel(condition="reversed")[j].item() == float(flips[0])


def test_nothing_to_ask(model: VideoLLM) -> None:
    with pytest.raises(ValueError, match="0 prompts and draws=4 given, expected at least one of each"):
        order_sensitivity(model, make_clip(2), [])


def test_the_model_is_left_as_it_was(model: VideoLLM) -> None:
    inputs = model.prepare(make_clip(4, 64, 64), "how many scenes ?")
    before = model.prefill(inputs).logits
    order_sensitivity(model, make_clip(4, 64, 64), ["how many scenes ?"])
    assert torch.equal(before, model.prefill(inputs).logits)


@pytest.fixture(scope="module")
def budget() -> tuple[VideoLLM, VideoClip]:
    """A model whose processor shares pixels out over all frames, and a clip of which half gets larger frames."""
    model = load_model("tiny-qwen3-vl", device="cpu")
    return model, model.load_video(list_videos(limit=1)[0].path, frames=32)


def test_half_of_the_frames_keep_the_grid(budget: tuple[VideoLLM, VideoClip]) -> None:
    model, clip = budget
    whole, half = (grid_of(model, c) for c in (clip, halved(clip)))
    assert (whole[1:], half[1:]) == ((7, 7), (9, 9))
    held = on_one_grid(model, [clip, halved(clip)])
    assert [tuple(grid_of(model, c)) for c in held] == [(16, 7, 7), (8, 7, 7)]
    np.testing.assert_array_equal(held[1].frames, held[0].frames[::2])
    found = order_sensitivity(model, clip, ["how many scenes ?"], draws=1)
    logits = [model.prefill(model.prepare(c, "how many scenes ?")).logits[0, -1] for c in held]
    kl = found["kl"].sel(condition="half of the frames").item()
    assert kl == pytest.approx(next_token_kl(*logits).item(), rel=1e-4)
    assert on_one_grid(model, [clip, clip])[0] is clip  # nothing is resized where the grids agree


def test_an_oblong_grid_is_held(budget: tuple[VideoLLM, VideoClip]) -> None:
    model, clip = budget
    oblong = replace(clip, frames=clip.frames[:, 56:168])  # 112 x 224
    whole, half = (grid_of(model, c) for c in (oblong, halved(oblong)))
    assert whole.rows < whole.cols
    assert whole[1:] != half[1:]
    assert [grid_of(model, c)[1:] for c in on_one_grid(model, [oblong, halved(oblong)])] == [whole[1:]] * 2


def test_a_grid_that_cannot_be_held_is_refused(
    budget: tuple[VideoLLM, VideoClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, clip = budget
    size = model.processor.video_processor.size
    monkeypatch.setattr(model.processor.video_processor, "size", replace(size, shortest_edge=300_000))
    with pytest.raises(ValueError, match=r"gives 7 x 7 tokens to each of 16 steps and \d+ x \d+ to each of 8"):
        order_sensitivity(model, clip, ["how many scenes ?"])


@pytest.mark.parametrize("grids", [("16x7x7", "16x7x7"), ("16x7x7", "8x7x7"), ("16x7x7", "16x4x4"), ("", "8x7x7")])
def test_comparable_grids(grids: tuple[str, str]) -> None:
    check_comparable([grids[0]], [grids[1]])


def test_frames_on_another_grid_are_not_compared() -> None:
    with pytest.raises(ValueError, match="grids 16x7x7 and 8x9x9"):
        check_comparable(["16x7x7", "16x7x7"], ["16x7x7", "8x9x9"])
    with pytest.raises(ValueError, match="grids 16x7x9 and 8x7x7"):
        check_comparable(["16x7x9"], ["8x7x7"])
    rows = [
        pd.DataFrame(
            {
                "video": list("ab"),
                "question": "q",
                "text": "t",
                "skill": "s",
                "correct": 1.0,
                "chance": 0.5,
                "grid": grid,
            }
        )
        for grid in ("16x7x7", "8x9x9")
    ]
    with pytest.raises(ValueError, match="16x7x7 and 8x9x9"):
        paired_accuracy(*rows)
    measured = [
        xr.Dataset({"m": ("video", [1.0, 2.0])}, coords={"video": ["a", "b"]}, attrs={"token_grid": grid})
        for grid in ("16x7x7", "8x9x9")
    ]
    with pytest.raises(ValueError, match="16x7x7 and 8x9x9"):
        compare(*measured)
