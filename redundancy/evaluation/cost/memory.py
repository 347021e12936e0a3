"""Peak memory of one answer, counted alike on a CPU and on a GPU."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from redundancy.apply import prune
from redundancy.models import Prepared, VideoLLM
from redundancy.models.hooks import Hooks
from redundancy.pruning.base import Method
from redundancy.pruning.named import Outer

_LANGUAGE_BEGINS = "redundancy: language model begins"


class PeakMemory(NamedTuple):
    """Bytes of tensors at the worst moment above what was held before.

    `answer`: of all of it. `language`: from where the language model begins on the prompt, after the reduction.
    """

    answer: int
    language: int


def peak_memory(
    model: VideoLLM, inputs: Prepared, *, method: str | type[Method] | Outer | None = None, new_tokens: int = 2
) -> PeakMemory:
    """Peak memory of one answer beyond the weights and inputs.

    On a GPU from `torch.cuda.max_memory_allocated`; on a CPU from the allocations and releases that torch's profiler
    records. Both count tensors and torch's scratch buffers, not the allocator's reserve, Python, or the libraries.

    Parameters
    ----------
    model
        A loaded model; its hooks are gone afterwards.
    inputs
        What `model.prepare` returned for one prompt.
    method
        As `prune` takes it; None: the full model.
    new_tokens
        Length of the answer.

    Raises
    ------
    ValueError
        If the model is neither on a CPU nor on a CUDA device.
    """
    meters = {"cpu": _peak_on_cpu, "cuda": _peak_on_cuda}
    if model.device.type not in meters:
        raise ValueError(f"a model on {model.device} given, expected one of {sorted(meters)}")

    def answer(mark: Callable[[], None]) -> None:
        """Answer; `mark` is called when the language model first runs on the prompt that it sees."""
        waiting = [mark]

        def entered(*_: Any) -> None:
            if waiting:
                waiting.pop()()

        with nullcontext() if method is None else prune(model, method), Hooks(model.family.core) as hooks:
            hooks.before(model.family.text_model, entered)
            model.generate(inputs, max_new_tokens=new_tokens, min_new_tokens=new_tokens)

    return meters[model.device.type](answer, model.device)


Answer = Callable[[Callable[[], None]], None]


def _peak_on_cuda(answer: Answer, device: torch.device) -> PeakMemory:
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_allocated(device)
    before: list[int] = []

    def mark() -> None:
        before.append(torch.cuda.max_memory_allocated(device))
        torch.cuda.reset_peak_memory_stats(device)

    answer(mark)
    after = torch.cuda.max_memory_allocated(device)
    return PeakMemory(max(*before, after) - held, after - held)


def _peak_on_cpu(answer: Answer, device: torch.device) -> PeakMemory:
    """The running sum of allocations and releases; what was allocated before does not enter, released or not."""

    def mark() -> None:
        with torch.profiler.record_function(_LANGUAGE_BEGINS):
            pass

    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler prints two lines of its own at every start
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        answer(mark)
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text())["traceEvents"]
    begins = min(e["ts"] for e in events if e.get("name") == _LANGUAGE_BEGINS)
    changes = sorted((e["ts"], e["args"]["Ev Idx"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    held = peak = language = 0
    for at, _, change in changes:
        if at >= begins:
            language = max(language, held)  # what is held when the language model begins counts for it
        held += change
        peak = max(peak, held)
    return PeakMemory(peak, max(language, held))
