"""Models inside wrappers, and where dispatched ones take their inputs."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from redundancy.apply import prune
from redundancy.models import VideoLLM, load_model
from redundancy.models.load import family_for
from redundancy.models.wrapped import float_dtype, input_device, parameters_loaded, unwrapped
from redundancy.pruning import RandomTokens
from tests.tiny_models import make_clip

QUESTION = "what happens in the video ?"


class Adapter(nn.Module):
    """As PEFT wraps a model: its forward calls the model's forward, and attributes are looked up inside."""

    def __init__(self, model: nn.Module, **config: Any) -> None:
        super().__init__()
        self.inside = model
        self.peft_config = {"default": SimpleNamespace(peft_type="LORA", **config)}

    def get_base_model(self) -> nn.Module:
        return self.inside

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inside.forward(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.inside, name)


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def test_wrappers_are_looked_through():
    model = nn.Linear(2, 2)
    assert unwrapped(compiled(Adapter(nn.DataParallel(model)))) is model


@pytest.mark.parametrize("kind", ["is_prompt_learning", "is_adaption_prompt"])
def test_learned_prompts_are_refused(kind: str):
    with pytest.raises(NotImplementedError, match="adds columns of its own"):
        unwrapped(Adapter(nn.Linear(2, 2), **{kind: True}))


def test_a_model_inside_an_adapter_is_pruned_and_recorded(family_model: VideoLLM):
    tuned, method = Adapter(family_model.model), RandomTokens(retention=0.3)
    inputs = family_model.prepare(make_clip(), QUESTION).tensors
    with torch.no_grad(), prune(family_model, method):
        expected = family_model.model(**inputs).logits
    with torch.no_grad(), prune(tuned, method) as pruned:
        got = tuned(**inputs).logits
    assert len(pruned.reductions) == 1
    assert torch.equal(got, expected)
    assert family_for(tuned).core is family_model.family.core


def away(where: torch.device) -> nn.Module:
    """A module whose weights are elsewhere until it runs, as accelerate has them."""
    module = nn.Sequential(nn.Linear(2, 2, device="meta"))
    module[0]._hf_hook = SimpleNamespace(hooks=(SimpleNamespace(execution_device=None),), execution_device=None)
    module[0]._hf_hook.hooks += (SimpleNamespace(execution_device=where),)
    return module


def test_inputs_go_where_the_model_runs():
    assert input_device(nn.Linear(2, 2)) == torch.device("cpu")
    assert input_device(away(torch.device("cpu"))) == torch.device("cpu")
    with pytest.raises(ValueError, match="meta device, so it cannot run"):
        input_device(nn.Linear(2, 2, device="meta"))


def test_pixels_take_the_first_floating_type():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).to(torch.bfloat16))
    model[0].weight = nn.Parameter(torch.ones(2, 2, dtype=torch.int8), requires_grad=False)
    model[0].bias = None
    assert float_dtype(model) == torch.bfloat16
    with pytest.raises(ValueError, match="Identity has none"):
        float_dtype(nn.Identity())


def test_offloaded_parameters_of_a_module_are_loaded_meanwhile():
    module = nn.Linear(2, 2, device="meta")

    def place(value: nn.Parameter) -> None:
        module.weight = value

    weight = nn.Parameter(torch.ones(2, 2))
    meta = module.weight
    module._hf_hook = SimpleNamespace(pre_forward=lambda m: place(weight), post_forward=lambda m, _: place(meta))
    with parameters_loaded(module):
        assert module.weight.device.type == "cpu"
    assert module.weight.device.type == "meta"


@pytest.mark.parametrize("family", ["llava_video", "qwen3_vl"])
def test_an_offloaded_model_shows_the_same_tokens(family: str, tiny_folder: Callable[[str], Any]):
    accelerate = pytest.importorskip("accelerate", reason="accelerate, which offloads, is not installed")
    model, other = (load_model(tiny_folder(family), device="cpu") for _ in range(2))

    inputs = model.prepare(make_clip(), QUESTION).tensors
    accelerate.cpu_offload(other.model, execution_device=torch.device("cpu"))
    assert input_device(other.model) == torch.device("cpu")
    with torch.no_grad(), prune(model, RandomTokens(retention=0.3)):
        logits = model.model(**inputs).logits
    with torch.no_grad(), prune(other, RandomTokens(retention=0.3)):
        got = other.model(**inputs).logits
    torch.testing.assert_close(got, logits, atol=1e-5, rtol=0)  # the same operations
