"""Hooks on models that are compiled, shared by threads, or called past their hooks."""

from __future__ import annotations

import asyncio
import copy
import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from redundancy.apply import prune
from redundancy.models import load_model
from redundancy.models.hooks import Hooks, on_text_entry
from redundancy.pruning import FastV, RandomInner, RandomTokens
from redundancy.recording.attention import record_attention
from redundancy.recording.hidden import record_hidden
from tests.tiny_models import make_clip

QUESTION = "what happens in the video ?"


class Whole(nn.Module):
    """A model of two parts."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.part(x) + 1


def in_place(model: Any) -> Any:
    model.compile(backend="eager")
    return model


def part_in_place(model: Any) -> Any:
    model.part.compile(backend="eager")
    return model


def part_replaced(model: Any) -> Any:
    model.part = torch.compile(model.part, backend="eager")
    return model


def forward_replaced(model: Any) -> Any:
    model.forward = torch.compile(model.forward, backend="eager")
    return model


def around(model: Any) -> Any:
    return torch.compile(model, backend="eager")


@pytest.mark.parametrize("way", [in_place, part_in_place, part_replaced, forward_replaced, around])
def test_hooks_fire_on_models_that_were_compiled_and_run_before(way: Callable[[Any], Any]):
    torch._dynamo.reset()
    compiled, x, seen = way(Whole()), torch.ones(1, 2), []
    before = compiled(x)
    with Hooks() as outer, Hooks() as inner:
        outer.before(compiled.part, lambda *_: seen.append("outer"))
        inner.after(compiled.part, lambda module, args, kwargs, output: torch.zeros_like(output))
        assert torch.equal(compiled(x), torch.ones(1, 2))
    assert seen == ["outer"]
    assert torch.equal(compiled(x), before)
    assert torch._dynamo.eval_frame._stance.stance == "default"


def test_a_compiled_layer_is_reduced_as_the_same_without_compile(tiny_folder: Callable[[str], Any]):
    torch._dynamo.reset()
    model = load_model(tiny_folder("llava_onevision"), device="cpu")
    inputs, inner = model.prepare(make_clip(), QUESTION), [FastV(layer=2, drop_rate=0.5)]
    with prune(model, None, inner=inner):
        expected = model.prefill(inputs).logits
    model.family.text_model.layers[2].compile(backend="eager")
    model.prefill(inputs)
    with prune(model, None, inner=inner) as pruned:
        got = model.prefill(inputs).logits
    assert len(pruned.inner) == 1
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)  # the same operations


def test_a_stance_set_inside_is_an_error():
    with pytest.raises(RuntimeError, match="stance was set to 'default'"), Hooks():
        torch.compiler.set_stance("default")
    with Hooks():
        pass
    assert torch._dynamo.eval_frame._stance.stance == "default"


def in_thread(job: Callable[[], Any]) -> Any:
    """What the job returns or raises in a thread of its own."""
    out: list[Any] = []

    def work() -> None:
        try:
            out.append(job())
        except Exception as error:
            out.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return out[0]


def test_another_thread_is_refused(tiny_folder: Callable[[str], Any]):
    model = load_model(tiny_folder("llava_onevision"), device="cpu")
    inputs = model.prepare(make_clip(), QUESTION)

    def opens() -> Any:
        with prune(model, RandomTokens(retention=0.3)):
            return model.prefill(inputs)

    with prune(model, RandomTokens(retention=0.3)) as pruned:
        for job in (opens, lambda: model.model.generate(**inputs.tensors, max_new_tokens=1)):
            error = in_thread(job)
            assert isinstance(error, NotImplementedError)
            assert "another thread" in str(error)
        assert pruned.reductions == []
        model.prefill(inputs)
    assert len(pruned.reductions) == 1
    assert not isinstance(in_thread(opens), Exception)


class Past(nn.Module):
    """Runs a module's forward and not its hooks, as a captured graph does."""

    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = [inside]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inside[0].forward(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["inside"][0], name) if name != "inside" else self.__dict__["inside"]


def test_a_text_model_that_runs_past_its_hooks_is_an_error(tiny_folder: Callable[[str], Any]):
    model = load_model(tiny_folder("qwen2_vl"), device="cpu")
    inputs, core = model.prepare(make_clip(), QUESTION), model.family.core
    with prune(model, RandomTokens(retention=0.3)):
        core.language_model = Past(core.language_model)
        with pytest.raises(RuntimeError, match="hooks of its text model"):
            model.prefill(inputs)


def test_a_core_that_runs_past_its_hooks_is_an_error(tiny_folder: Callable[[str], Any]):
    model = load_model(tiny_folder("qwen2_vl"), device="cpu")
    tensors = model.prepare(make_clip(), QUESTION).tensors
    with (
        pytest.raises(NotImplementedError, match="text model was called by itself"),
        prune(model, RandomTokens(retention=0.3)),
    ):
        model.family.core.forward(**tensors)


def test_layers_that_run_past_their_hooks_are_named(tiny_folder: Callable[[str], Any]):
    model = load_model(tiny_folder("llava_onevision"), device="cpu")
    inputs, layers = model.prepare(make_clip(), QUESTION), model.family.text_model.layers

    def replaced(context: Any, owner: Any, name: str) -> None:
        with context:
            setattr(owner, name, Past(getattr(owner, name)))
            model.prefill(inputs)

    with pytest.raises(RuntimeError, match=r"attention of layers \[3\]"):
        replaced(record_attention(model.family, "last"), layers[3], "self_attn")
    with pytest.raises(RuntimeError, match=r"hidden states of layers \[1\]"):
        replaced(record_hidden(model.family, [0, 1]), layers, "1")
    with pytest.raises(RuntimeError, match=r"hooks of its layers \[3\]"):
        replaced(prune(model, None, inner=[RandomInner(layer=3, drop_rate=0.5)]), layers, "3")


def test_video_given_by_place_is_seen(tiny_folder: Callable[[str], Any]):
    model = load_model(tiny_folder("llava_onevision"), device="cpu")
    tensors, seen = model.prepare(make_clip(), QUESTION).tensors, []
    with on_text_entry(model.family, seen.append), torch.no_grad():
        model.family.core(tensors["input_ids"], None, None, tensors["pixel_values_videos"])
    assert len(seen[0].spans) == 1


def jit_traced(part: nn.Module) -> Any:
    with warnings.catch_warnings(action="ignore"):  # it is deprecated, and in use
        return torch.jit.trace(part, torch.ones(1, 1, 64))


@pytest.mark.parametrize("traced", [torch.fx.symbolic_trace, jit_traced])
def test_a_graph_made_of_the_model_before_is_an_error(traced: Callable[..., Any], tiny_folder: Callable[[str], Any]):
    model = load_model(tiny_folder("llava_onevision"), device="cpu")
    graph, x = traced(model.family.text_model.layers[0].self_attn.q_proj), torch.ones(1, 1, 64)
    other = traced(nn.Linear(64, 64))
    expected = graph(x)
    with prune(model, RandomTokens(retention=0.3)):
        other(x)
        with pytest.raises(RuntimeError, match="hooks of the model were not called"):
            graph(x)
    assert torch.equal(graph(x), expected)


def test_a_copy_of_a_model_inside_a_context_is_refused(tiny_folder: Callable[[str], Any]):
    model = load_model(tiny_folder("llava_onevision"), device="cpu")
    inputs = model.prepare(make_clip(), QUESTION)
    with prune(model, RandomTokens(retention=0.3)) as pruned:
        copied = copy.deepcopy(model)
    with pytest.raises(NotImplementedError, match="copied from one inside"):
        copied.prefill(inputs)
    assert pruned.reductions == []


def test_tracing_inside_a_context_is_refused():
    part = nn.Linear(64, 64)
    with Hooks() as hooks:
        hooks.before(part, lambda *_: None)
        with pytest.raises(NotImplementedError, match="traced or exported inside"):
            jit_traced(part)
    jit_traced(part)


def test_another_task_is_refused(tiny_folder: Callable[[str], Any]):
    model = load_model(tiny_folder("llava_onevision"), device="cpu")
    inputs = model.prepare(make_clip(), QUESTION)

    async def runs() -> Any:
        return model.prefill(inputs)

    async def holds() -> int:
        with prune(model, RandomTokens(retention=0.3)) as pruned:
            (error,) = await asyncio.gather(runs(), return_exceptions=True)
            assert "another asyncio task" in str(error)
            await runs()
        return len(pruned.reductions)

    assert asyncio.run(holds()) == 1
    with prune(model, RandomTokens(retention=0.3)) as pruned:
        asyncio.run(runs())
    assert len(pruned.reductions) == 1
