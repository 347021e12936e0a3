"""Gradients inside `prune`: what is kept carries them, the decision does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from redundancy.apply import prune
from redundancy.models import VideoLLM, load_model
from redundancy.models.hooks import Hooks, on_text_entry
from redundancy.pruning import FastV, FastVID, HoliTomInner
from tests.apply.reference import dense
from tests.apply.test_outer import QUESTION, merged
from tests.tiny_models import make_clip

# the name that both supported versions of transformers have
pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")


def backward(model: VideoLLM, inputs: Any, **arguments: Any) -> None:
    model.model(**inputs.tensors, **arguments).logits[:, -1].logsumexp(-1).sum().backward()


@pytest.fixture
def trained(family_model: VideoLLM) -> Any:
    """The model with gradients; the session's model is left as it was."""
    family_model.model.requires_grad_(True)
    yield family_model
    family_model.model.requires_grad_(False)
    family_model.model.zero_grad(set_to_none=True)


def test_the_gradient_of_a_merge_is_its_transpose(trained: VideoLLM):
    """Embeddings get W^T of the gradient of what the text model was given."""
    inputs, seen = trained.prepare(make_clip(), QUESTION), []

    def before(entry: Any) -> dict[str, Any]:
        whole = entry.kwargs["inputs_embeds"].detach().requires_grad_(True)
        seen.append((whole, entry))
        return {**entry.kwargs, "inputs_embeds": whole}

    def after(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        kwargs["inputs_embeds"].retain_grad()
        seen.append(kwargs["inputs_embeds"])

    with on_text_entry(trained.family, before), prune(trained, merged) as pruned, Hooks() as hooks:
        hooks.before(trained.family.text_model, after)
        backward(trained, inputs)
    (whole, entry), short = seen
    columns, W = entry.spans[0].columns.flatten(), dense(pruned.reductions[0])
    is_output = torch.ones(short.shape[1], dtype=torch.bool)
    text = whole.shape[1] - columns.numel()
    kept_newlines = short.shape[1] - pruned.reductions[0].kept - (text - entry.spans[0].newlines.numel())
    assert kept_newlines >= 0
    first = int(columns[0])
    if trained.family.layout.newline != "row" and not trained.family.layout.frame_text:
        is_output[:first] = is_output[first + pruned.reductions[0].kept :] = False
        expected = W.T @ short.grad[0, is_output].double()
        torch.testing.assert_close(whole.grad[0, columns].double(), expected, atol=1e-5, rtol=0)
    assert bool(whole.grad[0, columns].any())
    assert bool(whole.grad[0, :first].any())


def same_gradients(model: VideoLLM, *, reentrant: bool | None = None) -> None:
    """Keeping every token is the same computation; with checkpointing too, which runs layers again."""
    inputs = model.prepare(make_clip(), QUESTION)
    source = model.family.attention_sources[0]  # hooks inside the tower
    gradients = []
    for method in (None, FastVID(retention=1.0, salience=source, features="mean")):
        if method is not None and reentrant is not None:
            model.model.gradient_checkpointing_enable({"use_reentrant": reentrant})
            model.model.train()
        model.model.zero_grad(set_to_none=True)
        with prune(model, method):
            backward(model, inputs, use_cache=False)
            backward(model, inputs, use_cache=False)  # what ran again for the first is not taken for the second
        gradients.append({name: p.grad for name, p in model.model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, value in gradients[1].items():
        torch.testing.assert_close(value, gradients[0][name], atol=1e-4, rtol=1e-3)  # float32 sums in other orders


def test_parameters_get_the_gradients_of_the_whole_model(trained: VideoLLM):
    same_gradients(trained)


@pytest.mark.parametrize("family", ["llava_onevision", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_changes_no_gradient(tiny_folder: Callable[[str], Any], family: str, reentrant: bool):
    same_gradients(load_model(tiny_folder(family), device="cpu"), reentrant=reentrant)


def test_methods_inside_the_model_carry_gradients(trained: VideoLLM):
    inputs = trained.prepare(make_clip(), QUESTION)
    with prune(trained, None, inner=[HoliTomInner(layer=1, merge_rate=0.5), FastV(layer=2, drop_rate=0.5)]) as pruned:
        backward(trained, inputs)
    assert len(pruned.inner) == 2
    tower = [p.grad for p in trained.family.tower.parameters() if p.grad is not None]
    first = [p.grad for p in trained.family.text_model.layers[0].parameters() if p.grad is not None]
    assert any(bool(g.any()) for g in tower)
    assert all(isinstance(g, Tensor) and bool(g.any()) for g in first)


def test_methods_inside_refuse_checkpointing(tiny_folder: Callable[[str], Any]):
    model = load_model(tiny_folder("qwen2_vl"), device="cpu")
    inputs = model.prepare(make_clip(), QUESTION)
    model.model.gradient_checkpointing_enable({"use_reentrant": False})
    model.model.train()
    with (
        prune(model, None, inner=[FastV(layer=2, drop_rate=0.5)]),
        pytest.raises(NotImplementedError, match="gradient checkpointing"),
    ):
        backward(model, inputs, use_cache=False)
