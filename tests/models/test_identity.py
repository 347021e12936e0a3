"""Which model it is: nothing that decides about its outputs can change without its digest."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from redundancy.models import VideoLLM, load_model
from redundancy.models.identity import memory_digest, model_digest, model_folder, rounding, weights_digest
from redundancy.paths import bundled_models
from redundancy.recording import model_provenance

NAME = "tiny-llava-onevision"


@pytest.fixture
def model() -> VideoLLM:
    return load_model(NAME, device="cpu")


def in_the_hub(cache: Path, name: str, folder: Path) -> Path:
    """A snapshot in a hub's cache, as the hub's client lays it out."""
    snapshot = cache / f"models--lab--{name}" / "snapshots" / ("a" * 40)
    shutil.copytree(folder, snapshot)
    refs = cache / f"models--lab--{name}" / "refs"
    refs.mkdir()
    (refs / "main").write_text("a" * 40)
    return snapshot


def test_a_hub_model_is_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: VideoLLM):
    """A name of the hub is no folder: its weights had an empty hash, and two models shared their rows."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    snapshot = in_the_hub(tmp_path, "a", bundled_models()[NAME])
    of_hub = replace(model, folder="lab/a")
    assert model_folder(of_hub) == snapshot
    assert model_digest(of_hub) == model_digest(model)
    weights = snapshot / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert model_digest(of_hub) != model_digest(model)
    assert weights_digest(of_hub) != weights_digest(model)
    with pytest.raises(OSError, match="lab/b"):
        model_digest(replace(model, folder="lab/b"))


def test_a_model_object_is_what_it_holds(model: VideoLLM):
    given = replace(model, folder=None)
    seen = {model_digest(given)}
    assert model_digest(given) in seen
    assert len(model_provenance(given)["weights_sha256"]) == 64
    first = weights_digest(given)
    weight = next(given.model.parameters())
    with torch.no_grad():
        weight[0] += 1
    assert weights_digest(given) != first
    seen.add(model_digest(given))
    weight.data[0] += 1  # behind the counter's back
    seen.add(model_digest(given))
    given.processor.video_processor.image_mean = [0.1, 0.2, 0.3]
    seen.add(model_digest(given))
    given.processor.chat_template += " "
    seen.add(model_digest(given))
    assert len(seen) == 5


def test_a_loaded_model_that_was_changed_is_another(model: VideoLLM):
    before = memory_digest(model)
    assert memory_digest(load_model(NAME, device="cpu")) == before
    with torch.no_grad():
        list(model.model.parameters())[-1].mul_(2)
    assert memory_digest(model) != before


def test_what_acts_beside_the_weights_counts(model: VideoLLM, monkeypatch: pytest.MonkeyPatch):
    """A scale (as of adapters), a hook, a forward in place of another, which calls the old one."""
    layer: Any = model.family.text_model.layers[0]  # type: ignore[union-attr, index]
    seen, before = set(), memory_digest(model)
    with monkeypatch.context() as changed:
        changed.setattr(layer.self_attn, "scaling", 2 * layer.self_attn.scaling)
        seen.add(memory_digest(model))
        changed.setattr(layer, "adapters", {"first": 0.5}, raising=False)
        seen.add(memory_digest(model))
    for share in (0.5, 0.25):
        handle = layer.register_forward_pre_hook(lambda _, given, share=share: (given[0] * share,))
        seen.add(memory_digest(model))
        handle.remove()
    old = layer.forward
    with monkeypatch.context() as changed:
        changed.setattr(layer, "forward", lambda *args, **named: old(*args, **named) * 2)
        seen.add(memory_digest(model))
    assert len(seen - {before}) == 5
    assert memory_digest(model) == before
    lock = threading.Lock()
    handle = layer.register_forward_hook(lambda *_: lock.locked() or None)
    with pytest.raises(ValueError, match=r"a hook or forward on '.*layers.0' has no digest"):
        memory_digest(model)
    handle.remove()


def test_where_no_digest_can_be_had_is_an_error(model: VideoLLM, tmp_path: Path):
    absent = replace(model, folder=None, model=nn.Linear(2, 2, device="meta"))
    with pytest.raises(ValueError, match="tensors without values in memory given"):
        weights_digest(absent)
    with pytest.raises(ValueError, match=r"holds no \*\.safetensors"):
        weights_digest(replace(model, folder=str(tmp_path)))


def test_offloaded_weights_are_loaded_to_be_hashed(model: VideoLLM):
    part, digests = nn.Linear(2, 2, device="meta"), set()
    away = part.weight
    part.bias = None
    for kept in (torch.zeros(2, 2), torch.ones(2, 2), torch.ones(2, 2)):
        weight = nn.Parameter(kept)
        part._hf_hook = SimpleNamespace(
            pre_forward=lambda module, weight=weight: setattr(module, "weight", weight),
            post_forward=lambda module, _: setattr(module, "weight", away),
        )
        digests.add(memory_digest(replace(model, folder=None, model=nn.Sequential(part))))
        assert part.weight.is_meta
    assert len(digests) == 2


def test_every_family(family_model: VideoLLM):
    assert memory_digest(family_model) == memory_digest(family_model)
    assert memory_digest(replace(family_model, folder=None)) == model_digest(replace(family_model, folder=None))


def test_how_a_gpu_rounds_convolutions_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    lower = rounding("cuda")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    assert rounding("cuda")[:2] == lower[:2] == rounding("cpu")
    assert rounding("cuda")[2] != lower[2]
