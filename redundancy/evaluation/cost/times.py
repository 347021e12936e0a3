"""What one answer costs: time by stage, and FLOPs.

Stages are told apart by hooks on the tower and on the language model, and by wrapping the method; the model's own
forward runs unchanged. On a GPU every mark waits for the device, as the papers' instruments do.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from redundancy.apply import Pruned, prune
from redundancy.evaluation.cost.flops import DecoderShape, fastvid_flops, holitom_flops
from redundancy.models import Prepared, VideoLLM
from redundancy.models.hooks import Hooks, TextEntry, on_text_entry
from redundancy.pruning.base import Method, Needs
from redundancy.pruning.named import Outer, as_method, require_reduction
from redundancy.reduction import Reduction
from redundancy.sources import VideoSource
from redundancy.tokens import TokenGrid, TokenLayout, VideoTokens

PROMPT_STAGES = ("tower", "decision", "shorten", "language", "other")
STAGES = ("read", "prepare", *PROMPT_STAGES, "decode")


@dataclass(frozen=True, eq=False)
class RunTimes:
    """Seconds of one answer by stage, which follow each other without a gap.

    Parameters
    ----------
    seconds
        `read`: the file, decoded to frames (a video of the world: drawn). `prepare`: the processor. `tower`: the vision
        tower, and what the method has it record. `decision`: the method's own call. `shorten`: the rest of the
        reduction (tokens and salience collected, outputs merged, prompt shortened). `language`: the language model on
        the prompt. `other`: what is left until the first token (projector and pooling, output head, `generate` itself).
        `decode`: all later tokens.
    decode_steps
        Tokens that `decode` made.
    prompt
        Columns of the prompt that entered the language model.
    reduction
        What the method decided; None for the full model.
    """

    seconds: dict[str, float]
    decode_steps: int
    prompt: int
    reduction: Reduction | None

    @property
    def first_token(self) -> float:
        """Seconds from the prepared inputs to the first token on the host."""
        return sum(self.seconds[stage] for stage in PROMPT_STAGES)

    @property
    def prefill(self) -> float:
        """Seconds of the reduction and of the language model on the prompt: what FastVID reports (PAPERS.md, 1.6)."""
        return sum(self.seconds[stage] for stage in ("decision", "shorten", "language"))

    @property
    def total(self) -> float:
        """Seconds from the file to the last token."""
        return sum(self.seconds.values())


class _Clock:
    """Seconds by name; on a GPU a mark waits for what was asked of it before."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.spent: dict[str, float] = {}
        self._began: dict[str, float] = {}

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def begin(self, name: str) -> None:
        self._began[name] = self.now()

    def end(self, name: str) -> None:
        if name in self._began:
            self.spent[name] = self.spent.get(name, 0.0) + self.now() - self._began.pop(name)


class _TimedMethod:
    """A method whose calls are timed as `decision`."""

    def __init__(self, method: Outer, clock: _Clock) -> None:
        self.method, self.clock = method, clock

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        return self.method.needs(layout) if hasattr(self.method, "needs") else Needs()

    def __call__(self, tokens: VideoTokens) -> Reduction:
        self.clock.begin("decision")
        reduction = require_reduction(self.method(tokens), self.method)
        self.clock.end("decision")
        return reduction


class _Arrivals:
    """A streamer of `generate` that notes when each token is on the host; the prompt comes first and is no token."""

    def __init__(self, clock: _Clock) -> None:
        self.clock = clock
        self.times: list[float] = []
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        if self._prompt_seen:
            self.times.append(self.clock.now())
        self._prompt_seen = True

    def end(self) -> None:
        """Nothing is left to flush."""


class _Timeline:
    """The hooks of one timed answer; those of the reduction run between the outer and the inner ones."""

    def __init__(self, model: VideoLLM, method: object) -> None:
        self.model = model
        self.method = None if method is None else as_method(method)
        self.clock = _Clock(model.device)
        self.arrivals = _Arrivals(self.clock)
        self.prompt = 0

    @contextmanager
    def hooked(self) -> Iterator[Pruned]:
        family = self.model.family
        method: Any = self.method
        if callable(method):  # a ready reduction takes no time
            method = _TimedMethod(method, self.clock)
        with Hooks(family.core) as outer:
            outer.before(family.tower, self._marking("begin", "tower"))
            outer.before(family.text_model, self._marking("begin", "reduction"))
            reducing = nullcontext(Pruned()) if method is None else prune(self.model, method)
            with reducing as pruned, Hooks(family.core) as inner:
                inner.after(family.tower, self._marking("end", "tower"))
                inner.before(family.text_model, self._enter_language)
                inner.after(family.text_model, self._marking("end", "language"))
                yield pruned

    def _marking(self, verb: str, stage: str) -> Callable[..., None]:
        """A hook that begins or ends a stage of the prompt; decoding steps are not told apart."""
        mark = getattr(self.clock, verb)

        def hook(*_: Any) -> None:
            if not self.arrivals.times:
                mark(stage)

        return hook

    def _enter_language(self, module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        if not self.arrivals.times:
            self.prompt = int(kwargs["inputs_embeds"].shape[1])
            self.clock.end("reduction")
            self.clock.begin("language")


@contextmanager
def _no_collection() -> Iterator[None]:
    """Python's garbage collection waits, as in `timeit`."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def time_answer(
    model: VideoLLM,
    source: VideoSource,
    prompt: str,
    *,
    method: str | type[Method] | Outer | Reduction | None = None,
    frames: int | None = None,
    new_tokens: int = 16,
) -> RunTimes:
    """Answer one prompt about one video, greedily and to a fixed length, and time every stage once.

    The first run after loading a model is slower: run once before what counts. The file is read through the system's
    cache.

    Parameters
    ----------
    model
        A loaded model; its hooks are gone afterwards.
    source
        The video.
    prompt
        The question.
    method
        As `prune` takes it; None: the full model.
    frames
        Frames sampled; None: the family's convention.
    new_tokens
        Length of the answer, at least 2; it does not end earlier.

    Raises
    ------
    ValueError
        If `new_tokens` is less than 2, or the method cannot run on the model.
    """
    if new_tokens < 2:
        raise ValueError(f"new_tokens={new_tokens} given, expected at least 2: the first token is no step of decoding")
    line = _Timeline(model, method)
    with line.hooked() as pruned, _no_collection():
        marks = [line.clock.now()]
        clip = source.load(model, frames=frames)
        marks.append(line.clock.now())
        inputs = model.prepare(clip, prompt)
        marks.append(line.clock.now())
        model.generate(inputs, max_new_tokens=new_tokens, min_new_tokens=new_tokens, streamer=line.arrivals)
    arrived = line.arrivals.times
    if len(arrived) != new_tokens:
        raise RuntimeError(f"the model gave {len(arrived)} tokens where {new_tokens} were asked for")
    return RunTimes(
        seconds=_stages(line.clock.spent, [*marks, arrived[0], arrived[-1]]),
        decode_steps=new_tokens - 1,
        prompt=line.prompt,
        reduction=pruned.reductions[-1] if pruned.reductions else None,
    )


def _stages(spent: dict[str, float], marks: list[float]) -> dict[str, float]:
    """Seconds by stage, from what hooks measured and five marks: begin, read, prepared, first token, last token."""
    begin, read, prepared, first, last = marks
    decision = spent.get("decision", 0.0)
    seconds = {
        "read": read - begin,
        "prepare": prepared - read,
        "tower": spent["tower"],
        "decision": decision,
        "shorten": spent["reduction"] - decision,
        "language": spent["language"],
    }
    seconds["other"] = first - prepared - spent["tower"] - spent["reduction"] - spent["language"]
    return seconds | {"decode": last - first}


class VideoSize(NamedTuple):
    """Columns of a prompt: of video tokens, of newlines after grid rows, and of everything; and the tokens' grid."""

    tokens: int
    newlines: int
    prompt: int
    grid: TokenGrid


def video_size(model: VideoLLM, inputs: Prepared) -> VideoSize:
    """How many columns of a prompt are video, before any reduction.

    A newline at the end of the video counts as text, as in the papers.

    Raises
    ------
    ValueError
        If the prompt does not show exactly one video.
    """
    seen: list[TextEntry] = []
    with on_text_entry(model.family, lambda entry: seen.append(entry)):
        model.prefill(inputs)
    spans = [span for entry in seen for span in entry.spans]
    if len(spans) != 1:
        raise ValueError(f"a prompt with {len(spans)} videos given, expected one")
    newlines = 0 if model.family.layout.newline == "end" else spans[0].newlines.numel()
    return VideoSize(spans[0].columns.numel(), newlines, int(seen[0].input_ids.shape[1]), spans[0].grid)


class PromptFlops(NamedTuple):
    """FLOPs of prefilling the video by the formulas of two papers, which are not to be compared with each other."""

    fastvid: float
    holitom: float


def prompt_flops(model: VideoLLM, size: VideoSize, *, times: RunTimes) -> PromptFlops:
    """FLOPs of the video tokens that a timed answer had, by FastVID's formula (with newlines) and HoliTom's (without).

    NaN for a mixture of experts, of which neither formula speaks.

    Source: FastVID (arXiv:2503.11187), appendix A.2; HoliTom (arXiv:2505.21334), issue 2 of the authors' code.
    """
    config: Any = model.family.text_model.config
    if getattr(config, "num_experts", None):
        return PromptFlops(float("nan"), float("nan"))
    tokens = size.tokens if times.reduction is None else times.reduction.kept
    newlines = times.prompt - (size.prompt - size.tokens - size.newlines) - tokens
    shape = DecoderShape.from_config(config)
    return PromptFlops(fastvid_flops(tokens + newlines, shape), holitom_flops(tokens, shape))
