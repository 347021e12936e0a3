"""What loads, and what is said when something does not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from redundancy.models import (
    FAMILIES,
    ModelNotFoundError,
    VideoLLM,
    load_model,
    supported_architectures,
    wrap_model,
)
from redundancy.paths import data_folder
from redundancy.recording import available_salience, video_tokens
from redundancy.video import load_video
from tests.tiny_models import TINY, llava_onevision, make_clip


def test_every_family_has_a_small_model() -> None:
    assert {family.name for family in FAMILIES} == set(TINY)


def test_a_folder_loads_as_its_family(family_model: VideoLLM, family_name: str) -> None:
    assert family_model.family.name == family_name == family_model.family.layout.family
    assert family_model.dtype == torch.float32
    assert not family_model.model.training
    answer = family_model.generate(make_clip(4), "what happens ?", max_new_tokens=3)
    assert isinstance(answer, str)
    assert answer == family_model.generate(make_clip(4), "what happens ?", max_new_tokens=3)


def test_a_loaded_hugging_face_model_can_be_wrapped(family_model: VideoLLM) -> None:
    wrapped = wrap_model(family_model.model, family_model.processor)
    assert type(wrapped.family) is type(family_model.family)
    expected = video_tokens(family_model, make_clip(2))
    assert torch.equal(video_tokens(wrapped, make_clip(2)).features, expected.features)


def test_prompts_and_clips_must_pair(family_model: VideoLLM) -> None:
    clip = make_clip(2)
    with pytest.raises(ValueError, match="one entry of clips per prompt is expected, given 2 for 1"):
        family_model.prepare([clip, clip], "what happens ?")


def test_clips_of_different_length_in_one_call(family_model: VideoLLM) -> None:
    clips = [make_clip(2), make_clip(4)]
    if family_model.family.clip_frames_per_step == 1:  # the LLaVA families take one array of videos
        with pytest.raises(ValueError, match=r"takes videos of one number of frames in a call, given \[2, 4\]"):
            family_model.prepare([clips], ["which ?"])
    else:
        assert family_model.prepare([clips], ["which ?"]).clips == (tuple(clips),)


def test_pixels_have_the_models_type_and_other_numbers_their_own(family_model: VideoLLM) -> None:
    half = load_model(family_model.folder or "", dtype=torch.bfloat16, device="cpu")
    for name, tensor in half.prepare(make_clip(3)).tensors.items():
        expected = torch.bfloat16 if name.startswith("pixel_values") else torch.float32
        assert not tensor.is_floating_point() or tensor.dtype == expected, name


def test_videos_are_read_by_the_familys_convention(family_model: VideoLLM) -> None:
    path = next(iter(sorted((data_folder() / "clips").glob("*.mp4"))))
    expected = load_video(path, sampling=family_model.family.sampling)
    clip = family_model.load_video(path)
    assert clip.indices.tolist() == expected.indices.tolist()
    few = family_model.load_video(path, frames=4, sampling="uniform")
    assert few.indices.tolist() == load_video(path, frames=4, sampling="uniform").indices.tolist()


def test_a_processor_without_chat_template_is_refused(tiny_folder: Callable[[str], Path], tmp_path: Path) -> None:
    copy = copied(tiny_folder("llava_onevision"), tmp_path / "copy")
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match=r"add chat_template\.jinja to its folder"):
        load_model(copy, device="cpu").prepare(make_clip(1))


def test_the_bundled_model_has_its_head_and_answers() -> None:
    model = load_model("tiny-llava-onevision", device="cpu")
    assert available_salience(model) == ("pooling_head", "received", "norm")
    answer = model.generate(make_clip(8, 112, 112), "which digit flash ?", max_new_tokens=4)
    assert 0 < len(answer.split()) <= 4
    tokens = video_tokens(model, make_clip(8, 112, 112))
    assert tokens.frame_features["pooling_head"].shape == (8, model.model.config.vision_config.hidden_size)


def test_another_architecture_is_refused_with_the_list(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(
        ValueError, match=r"architecture 'bert', which is not supported; supported are .*llava_onevision"
    ):
        load_model(tmp_path)
    assert "llava_onevision" in supported_architectures()


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"holds no config\.json"):
        load_model(tmp_path)


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


@pytest.fixture
def headless(tmp_path: Path) -> Path:
    """A checkpoint without the pooling head, as the published ones are."""
    llava_onevision(tmp_path / "headless", head=False)
    return tmp_path / "headless"


def head_folder(of: Path, to: Path, *, prefix: str, width: int = 32) -> Path:
    """A SigLIP folder that holds the head of a checkpoint, under one of the two names of its keys."""
    to.mkdir()
    config = json.loads((of / "config.json").read_text())["vision_config"]
    (to / "config.json").write_text(json.dumps({**config, "hidden_size": width}))
    stored = load_file(of / "model.safetensors")
    weights = {prefix + k.partition(".head.")[2]: v for k, v in stored.items() if ".head." in k}
    save_file(weights, to / "model.safetensors")
    return to


@pytest.mark.parametrize("prefix", ["head.", "vision_model.head."])
def test_a_head_from_another_folder_is_the_towers_own(
    headless: Path, tiny_folder: Callable[[str], Path], tmp_path: Path, prefix: str
) -> None:
    whole = tiny_folder("llava_onevision")
    own = load_model(whole, device="cpu")
    # the same vision weights, so that only the place of the head differs
    weights = load_file(whole / "model.safetensors")
    save_file({k: v for k, v in weights.items() if ".head." not in k}, headless / "model.safetensors", {"format": "pt"})
    folder = head_folder(whole, tmp_path / "siglip", prefix=prefix)
    lent = load_model(headless, device="cpu", salience_head=folder)
    first, second = video_tokens(own, make_clip(2)), video_tokens(lent, make_clip(2))
    torch.testing.assert_close(first.salience, second.salience, atol=1e-7, rtol=0)  # memory alignment moves 2e-9
    (headless / "redundancy.json").write_text(json.dumps({"salience_head": "../siglip"}))
    named = load_model(headless, device="cpu")
    third = video_tokens(named, make_clip(2))
    torch.testing.assert_close(second.frame_features, third.frame_features, atol=1e-6, rtol=1e-6)


def test_without_a_head_its_salience_is_refused_with_advice(headless: Path) -> None:
    model = load_model(headless, device="cpu")
    assert available_salience(model) == ("received", "norm")
    with pytest.raises(ValueError, match=r"load_model\(\.\.\., salience_head=FOLDER\)"):
        video_tokens(model, make_clip(1), salience=["pooling_head"])


def test_heads_that_do_not_fit_are_refused(headless: Path, tiny_folder: Callable[[str], Path], tmp_path: Path) -> None:
    whole = tiny_folder("llava_onevision")
    with pytest.raises(FileNotFoundError, match=r"holds no \*\.safetensors"):
        load_model(headless, device="cpu", salience_head=tmp_path)
    with pytest.raises(ValueError, match="holds no pooling head"):
        load_model(headless, device="cpu", salience_head=headless)
    wide = head_folder(whole, tmp_path / "wide", prefix="head.", width=48)
    with pytest.raises(ValueError, match="is 48 wide, the vision tower 32"):
        load_model(headless, device="cpu", salience_head=wide)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "gpu"}, "device='gpu' given, expected None, 'cpu', 'cuda'"),
        ({"device": "cuda"}, "finds no GPU; give device='cpu'"),
        ({"attn_implementation": "kernels-community/flash-attn"}, "names kernels of the hub, whose code is never run"),
    ],
)
def test_what_a_model_cannot_be_loaded_with(
    arguments: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        load_model("tiny-qwen3-vl", **arguments)
