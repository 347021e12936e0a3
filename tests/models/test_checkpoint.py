"""Folders that are not there, bring code, or whose weights are not those of the model."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load, save_file
from torch import Tensor

from redundancy.models import ModelNotFoundError, load_model
from redundancy.models.checkpoint import INDEX, WEIGHTS
from redundancy.paths import data_folder
from tests.models.test_load import head_folder
from tests.tiny_models import make_clip

Weights = dict[str, Tensor]
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


@pytest.fixture
def copy(tiny_folder: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    def copied(family: str) -> Path:
        return Path(shutil.copytree(tiny_folder(family), tmp_path / family))

    return copied


def read(file: Path) -> Weights:
    """The weights in memory of their own, so that the file can be overwritten."""
    return load(file.read_bytes())


def rewrite(folder: Path, change: Callable[[Weights], Weights]) -> None:
    save_file(change(read(folder / WEIGHTS)), folder / WEIGHTS, {"format": "pt"})


def last_layer(weights: Weights) -> list[str]:
    return [name for name in weights if ".layers.3." in name and "visual" not in name and "vision" not in name]


def without(weights: Weights, names: list[str]) -> Weights:
    return {name: weight for name, weight in weights.items() if name not in names}


# weights that are not those of the model ----------------------------------------------------------------------------

MISFITS: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "a weight is missing": (lambda w: without(w, last_layer(w)[:1]), r"lacks 1 weight of \w+, which would be random"),
    "a layer is missing": (lambda w: without(w, last_layer(w)), r"lacks 1\d weights of .*: \S+, \S+, \S+ \.\.\."),
    "untied, and no head": (
        lambda w: without(w, [k for k in w if "lm_head" in k]),
        "lacks 1 weight of .*: .*lm_head.weight",
    ),
    "another model's weight": (lambda w: {**w, "model.extra": torch.zeros(2)}, r"holds 1 weight that .*extra"),
    "an adapter left inside": (
        lambda w: {**w, "model.layers.1.mlp.up_proj.lora_A.weight": torch.zeros(2)},
        "holds 1 weight that .* does not have: .*lora_A",
    ),
    "another shape": (
        lambda w: {**w, next(name for name in last_layer(w) if "norm" in name): torch.zeros(3)},
        r"holds 1 weight of another shape than .* of shape \(3,\), expected \(",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_weights_that_are_not_the_models_are_refused(copy: Callable[[str], Path], family_name: str, case: str) -> None:
    change, message = MISFITS[case]
    folder = copy(family_name)
    rewrite(folder, change)
    with pytest.raises(ValueError, match=message):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("unused", ["model.rotary_emb.inv_freq", "vision_tower.vision_model.head.probe"])
def test_what_published_checkpoints_hold_besides_is_no_fault(copy: Callable[[str], Path], unused: str) -> None:
    folder = copy("llava_onevision")
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["vision_use_head"] = False
    (folder / "config.json").write_text(json.dumps(config))
    rewrite(folder, lambda w: {**{k: v for k, v in w.items() if ".head." not in k}, unused: torch.zeros(2)})
    assert load_model(folder, device="cpu").family.name == "llava_onevision"


# files that are missing or damaged ----------------------------------------------------------------------------------


def shard(folder: Path) -> Path:
    """The folder with its weights in two shards and their index."""
    weights = read(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    names = sorted(weights)
    parts = dict(zip(SHARDS, (names[::2], names[1::2]), strict=True))
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file, {"format": "pt"})
    where = {name: file for file, part in parts.items() for name in part}
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    return folder


def drop_one(folder: Path) -> None:
    weights = read(folder / SHARDS[1])
    save_file(dict(sorted(weights.items())[1:]), folder / SHARDS[1], {"format": "pt"})


def cut(file: Path, share: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])


def pickle(folder: Path) -> None:
    torch.save(read(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


DAMAGE: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "truncated": (lambda f: cut(f / WEIGHTS, 0.7), ValueError, "model.safetensors is no whole safetensors file"),
    "empty": (lambda f: cut(f / WEIGHTS, 0), ValueError, r"no whole safetensors file \(.*; 0 bytes\)"),
    "a pointer of git-lfs": (lambda f: (f / WEIGHTS).write_text("version https://git-lfs"), ValueError, "no whole"),
    "pickled": (pickle, FileNotFoundError, r"holds no \*\.safetensors .*pytorch_model.bin is pickled and can run code"),
    "pickled under another name": (
        lambda f: torch.save(read(f / WEIGHTS), f / WEIGHTS),
        ValueError,
        "no whole safetensors file",
    ),
    "none": (lambda f: (f / WEIGHTS).unlink(), FileNotFoundError, r"holds no \*\.safetensors .*other formats"),
    "a shard is missing": (
        lambda f: (shard(f) / SHARDS[1]).unlink(),
        FileNotFoundError,
        f"lacks 1 of the 2 shards that {INDEX} names: {SHARDS[1]}",
    ),
    "a shard is truncated": (lambda f: cut(shard(f) / SHARDS[1], 0.9), ValueError, f"{SHARDS[1]} is no whole"),
    "a shard lacks a weight": (lambda f: drop_one(shard(f)), ValueError, f"{SHARDS[1]} lacks 1 weight that {INDEX}"),
    "shards without index": (
        lambda f: (shard(f) / INDEX).unlink(),
        FileNotFoundError,
        f"expected {WEIGHTS} or {INDEX}",
    ),
    "an index without places": (
        lambda f: (shard(f) / INDEX).write_text('{"weight_map": {"a": 1}}'),
        ValueError,
        "holds no weight_map from weights to files",
    ),
    "an index that is a list": (lambda f: (shard(f) / INDEX).write_text("[1]"), ValueError, "holds no weight_map"),
    "an index that is none": (lambda f: (shard(f) / INDEX).write_text("{"), ValueError, "json is not valid JSON"),
    "config.json is cut": (lambda f: cut(f / "config.json", 0.5), ValueError, "config.json is not valid JSON"),
    "config.json is a list": (lambda f: (f / "config.json").write_text("[]"), ValueError, "a list, expected an object"),
    "the tokenizer is cut": (
        lambda f: cut(f / "tokenizer.json", 0.5),
        ValueError,
        "tokenizer in .* missing or damaged",
    ),
    "the tokenizer is another file": (
        lambda f: (f / "tokenizer.json").write_text('{"model": 3}'),
        ValueError,
        "tokenizer in .* missing or damaged",
    ),
    "an adapter": (lambda f: (f / "adapter_config.json").write_text("{}"), ValueError, "holds a PEFT adapter"),
}


@pytest.mark.parametrize("family", ["qwen3_vl", "llava_video"])
@pytest.mark.parametrize("case", DAMAGE)
def test_damaged_folders_are_refused(copy: Callable[[str], Path], family: str, case: str) -> None:
    damage, kind, message = DAMAGE[case]
    folder = copy(family)
    damage(folder)
    with pytest.raises(kind, match=message):
        load_model(folder, device="cpu")


def test_shards_are_read(copy: Callable[[str], Path], tiny_folder: Callable[[str], Path]) -> None:
    answers = [
        load_model(folder, device="cpu").generate(make_clip(), "yes", max_new_tokens=3)
        for folder in (shard(copy("qwen2_vl")), tiny_folder("qwen2_vl"))
    ]
    assert answers[0] == answers[1]


def test_a_folder_without_processor_of_videos_is_refused(copy: Callable[[str], Path]) -> None:
    folder = copy("qwen2_vl")
    (folder / "processor_config.json").unlink()
    with pytest.raises(ValueError, match=r"processor .*missing"):
        load_model(folder, device="cpu")


HEADS: dict[str, tuple[Callable[[Weights], Weights], str]] = {
    "missing": (lambda w: without(w, ["head.attention.in_proj_bias"]), "lacks 1 weight of the pooling head"),
    "too many": (lambda w: {**w, "head.more": torch.zeros(2)}, "holds 1 weight that the pooling head does not have"),
    "of another shape": (
        lambda w: {**w, "head.probe": torch.zeros(1, 1, 4)},
        r"another shape than the pooling head: probe of shape \(1, 1, 4\), expected \(1, 1, 32\)",
    ),
}


@pytest.mark.parametrize("case", HEADS)
def test_pooling_heads_are_whole(tiny_folder: Callable[[str], Path], tmp_path: Path, case: str) -> None:
    change, message = HEADS[case]
    model = tiny_folder("llava_onevision")
    head = head_folder(model, tmp_path / "siglip", prefix="head.")
    rewrite(head, change)
    with pytest.raises(ValueError, match=message):
        load_model(model, device="cpu", salience_head=head)
    cut(head / WEIGHTS, 0.9)
    with pytest.raises(ValueError, match="no whole safetensors file"):
        load_model(model, device="cpu", salience_head=head)


# code ---------------------------------------------------------------------------------------------------------------

CODE: dict[str, tuple[str, dict[str, Any]]] = {
    "model": ("config.json", {"auto_map": {"AutoModelForImageTextToText": "evil.M"}}),
    "configuration": ("config.json", {"auto_map": {"AutoConfig": "other/repository--evil.M"}}),
    "part of it": ("config.json", {"text_config": {"model_type": "x", "auto_map": {"AutoConfig": "evil.M"}}}),
    "processor": ("processor_config.json", {"auto_map": {"AutoProcessor": "evil.M"}, "processor_class": "Nope"}),
    "video processor": ("processor_config.json", {"video_processor": {"auto_map": {"AutoVideoProcessor": "evil.M"}}}),
    "image processor": ("preprocessor_config.json", {"auto_map": {"AutoImageProcessor": "evil.M"}}),
    "its own file": ("video_preprocessor_config.json", {"auto_map": {"AutoVideoProcessor": "evil.M"}}),
    "tokenizer": ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["evil.M", None]}, "tokenizer_class": "No"}),
    "generation": ("generation_config.json", {"auto_map": {"AutoModel": "evil.M"}}),
    "kernels of the hub": ("config.json", {"attn_implementation": "owner/kernel"}),
}


@pytest.mark.parametrize("case", CODE)
@pytest.mark.parametrize("family", ["qwen2_vl", "llava_video"])
def test_code_of_a_folder_is_refused_and_never_asked_about(
    copy: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, family: str, case: str
) -> None:
    def ask(*_: Any) -> str:
        pytest.fail("a question on the standard input")

    monkeypatch.setattr("builtins.input", ask)
    folder = copy(family)
    ran = folder / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass M: pass\n")
    name, change = CODE[case]
    file = folder / name
    file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | change))
    with pytest.raises(ValueError, match=f"{name} names code that the checkpoint brings with it .*never run"):
        load_model(folder, device="cpu")
    assert not ran.exists()


# names --------------------------------------------------------------------------------------------------------------

NAMES = {
    "tiny-qwen3vl": "did you mean 'tiny-qwen3-vl'",
    "Tiny-LLaVA-OneVision": "did you mean 'tiny-llava-onevision'",
    "gpt2": "nor a hub id, which has the form owner/name$",
    "./models/foo": "nor a hub id",
    "~/no-such-folder": "nor a hub id",
    "/no/such/folder": "nor a hub id",
    "https://huggingface.co/owner/name": "nor a hub id",
    "": "nor a hub id",
    "FOLDER/tiny-qwen3": "did you mean .*/tiny-qwen3-vl'",
    "FOLDER/tiny-qwen3-vl/config.json": "is no folder; expected a Hugging Face model folder",
    "owner/tiny-qwen3-vl-": r"nor could it be had from .*hf download owner/.*did you mean 'tiny-qwen3-vl'",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_none_is_answered_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network as users meet it: not declared, and every connection fails."""
    asked: list[str] = []

    def unreachable(api: Any, repository: str, **arguments: Any) -> None:
        assert arguments["timeout"] <= 5
        asked.append(repository)
        raise ConnectionError("no route to host")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    start = time.perf_counter()
    with pytest.raises(ModelNotFoundError, match=NAMES[name]):
        load_model(name.replace("FOLDER", str(data_folder() / "models")))
    assert time.perf_counter() - start < 2
    assert asked == ([name] if name.startswith("owner/") else [])


def test_a_model_in_the_hubs_cache_loads_without_network(
    tiny_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository, commit = tmp_path / "models--owner--name", "0123456789abcdef0123456789abcdef01234567"
    snapshot = repository / "snapshots" / commit
    shutil.copytree(tiny_folder("qwen2_vl"), snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = load_model("owner/name", device="cpu")
    assert model.name == "owner/name"
    assert model.folder == str(snapshot)
    (snapshot / WEIGHTS).unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no \*\.safetensors"):
        load_model("owner/name", device="cpu")
