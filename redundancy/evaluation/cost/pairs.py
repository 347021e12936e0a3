"""What an answer costs beside one of the full model right before or after it, and medians over such pairs.

Times are measurements of a machine at one moment: a pair shares the moment, so that its ratio says more than two
medians. The full model paired with itself shows the noise.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Float

from redundancy.evaluation.cells import NothingMeasuredError
from redundancy.evaluation.cost.memory import PeakMemory, peak_memory
from redundancy.evaluation.cost.times import PromptFlops, RunTimes, prompt_flops, time_answer, video_size
from redundancy.evaluation.failures import failure_of
from redundancy.evaluation.rows import grid_text
from redundancy.evaluation.statistics.aggregate import condition_coords, measure_coords
from redundancy.evaluation.statistics.measures import Measure
from redundancy.models import VideoLLM
from redundancy.recording import available_salience
from redundancy.sources import VideoSource

FULL = "full_"  # of columns about the full model's answer of a pair
NO_RATIO = ("decision", "shorten")  # the full model does neither
QUANTITIES = tuple(
    Measure(name, long_name, unit, bounds=(0, float("inf")))
    for name, unit, long_name in (
        ("read", "ms", "reading and decoding the file, in a process beside"),
        ("prepare", "ms", "processor"),
        ("tower", "ms", "vision tower, with what the method has it record"),
        ("decision", "ms", "the method's own call"),
        (
            "shorten",
            "ms",
            "rest of the reduction: tokens and salience collected, outputs merged, prompt shortened",
        ),
        ("language", "ms", "language model on the prompt"),
        ("other", "ms", "rest until the first token: projector, pooling, output head, generate itself"),
        ("decode", "ms", "all tokens after the first"),
        ("prefill", "ms", "decision, shortening and language model on the prompt"),
        ("first_token", "ms", "from prepared inputs to the first token"),
        ("total", "ms", "from the file to the last token"),
        ("decode_step", "ms", "one step of decoding"),
        ("decode_rate", "tokens/s", "tokens per second of decoding"),
        ("peak", "MB", "peak memory of the answer beyond weights and inputs"),
        ("peak_language", "MB", "peak memory from the language model on, beyond weights and inputs"),
        ("flops_fastvid", "GFLOP", "FLOPs of the video's prefill by FastVID's formula, newlines included"),
        ("flops_holitom", "GFLOP", "FLOPs of the video's prefill by HoliTom's formula, newlines left out"),
    )
)


@runtime_checkable
class Timed(Protocol):
    """A condition that is timed: `method` is None for the full model, `factors` become columns of its rows."""

    @property
    def label(self) -> str:
        """Name, unique in a run."""

    @property
    def method(self) -> Any:
        """What decides; None for the full model."""

    @property
    def factors(self) -> Mapping[str, Any]:
        """Columns of its rows."""


def quantities_of(times: RunTimes, memory: PeakMemory, flops: PromptFlops) -> dict[str, float]:
    """Every quantity of one answer (`QUANTITIES`), in its unit."""
    seconds = times.seconds | {name: getattr(times, name) for name in ("prefill", "first_token", "total")}
    seconds["decode_step"] = times.seconds["decode"] / times.decode_steps
    return {name: 1e3 * value for name, value in seconds.items()} | {
        "decode_rate": 1 / seconds["decode_step"],
        "peak": memory.answer / 1e6,
        "peak_language": memory.language / 1e6,
        "flops_fastvid": flops.fastvid / 1e9,
        "flops_holitom": flops.holitom / 1e9,
    }


class PairedAnswers:
    """One clip on one model: answers timed in pairs.

    Parameters
    ----------
    model, source
        The model and the clip, which is read again for every answer.
    prompt
        The question.
    frames
        Frames sampled from the clip.
    new_tokens
        Length of the answer, at least 2.
    """

    def __init__(self, model: VideoLLM, source: VideoSource, *, prompt: str, frames: int, new_tokens: int = 16) -> None:
        self.model, self.source = model, source
        self.prompt, self.frames, self.new_tokens = prompt, frames, new_tokens
        self.inputs = model.prepare(source.load(model, frames=frames), prompt)
        self.size = video_size(model, self.inputs)
        self.memory: dict[str, PeakMemory] = {}

    def warm_up(self, condition: Timed) -> None:
        """An answer that does not count, in which memory is measured: the profiler slows it.

        Raises
        ------
        ValueError
            If the method reads salience that the model does not give.
        """
        if hasattr(condition.method, "needs"):
            needed, given = condition.method.needs(self.model.family.layout).salience, available_salience(self.model)
            if needed not in (None, *given):
                raise ValueError(f"it needs the salience {needed!r}, the model gives {list(given)}")
        self.memory[condition.label] = peak_memory(self.model, self.inputs, method=condition.method)

    def pair(self, condition: Timed, full: Timed, *, full_first: bool) -> dict[str, Any]:
        """One row: a condition's answer and one of the full model, one right after the other; both warmed up."""
        both = [self._answer(c) for c in ((full, condition) if full_first else (condition, full))]
        of_full, own = both if full_first else both[::-1]
        row: dict[str, Any] = {"video": self.source.name, "condition": condition.label, **condition.factors}
        row["achieved"] = 1.0 if own.reduction is None else own.reduction.achieved
        row |= {"grid": grid_text(self.size.grid), "video_tokens": self.size.tokens}
        row |= {"prompt": own.prompt, "full_first": full_first} | self._measured(condition, own)
        return row | {f"{FULL}{name}": value for name, value in self._measured(full, of_full).items()}

    def _answer(self, condition: Timed) -> RunTimes:
        return time_answer(
            self.model,
            self.source,
            self.prompt,
            method=condition.method,
            frames=self.frames,
            new_tokens=self.new_tokens,
        )

    def _measured(self, condition: Timed, times: RunTimes) -> dict[str, float]:
        flops = prompt_flops(self.model, self.size, times=times)
        return quantities_of(times, self.memory[condition.label], flops)


def time_pairs(answers: PairedAnswers, conditions: Sequence[Any], *, repeats: int = 5) -> list[dict[str, Any]]:
    """Rows of one clip: every condition in every repeat, the full model's answer in turn before and after.

    Parameters
    ----------
    answers
        The clip on the model.
    conditions
        `Timed` conditions, the full model first.
    repeats
        Pairs for each condition.

    Returns
    -------
    A condition that cannot run is one row with its `error` and `error_type`.

    Raises
    ------
    ValueError
        If the first condition has a method.
    """
    full, *_ = conditions
    if full.method is not None:
        raise ValueError(f"condition {full.label!r} given first, expected the full model: method=None")
    rows, able = [], []
    for condition in conditions:
        try:
            answers.warm_up(condition)
            able.append(condition)
        except Exception as error:
            if condition.method is None:
                raise
            rows.append({"video": answers.source.name, "condition": condition.label, **failure_of(error)})
    for repeat, (i, condition) in product(range(repeats), enumerate(able)):
        rows.append(answers.pair(condition, full, full_first=(repeat + i) % 2 == 0) | {"repeat": repeat})
    return rows


def summarise_pairs(rows: pd.DataFrame) -> xr.Dataset:
    """Medians and quartiles over pairs: of every quantity, and of its ratio to the full model's beside it.

    Parameters
    ----------
    rows
        Of `time_pairs`, of all clips, with the columns `error` and `error_type`.

    Returns
    -------
    `value` and `ratio`, dims `condition`, `measure` (`QUANTITIES`) and `statistic`, where `estimate` is the median,
    `low` and `high` are the quartiles and `n` is the number of pairs. A ratio to nothing (the full model decides
    nothing) is NaN. `achieved` is the mean over clips, `achieved_least` and `achieved_most` their range. The attributes
    `left_out` and `failed` say what did not run, and why.

    Raises
    ------
    NothingMeasuredError
        If no answer could be timed.
    """
    timed = rows[rows["error"].isna()]
    if timed.empty:
        raise NothingMeasuredError(f"no answer could be timed: {'; '.join(sorted(set(rows['error'])))}")
    labels = list(dict.fromkeys(timed["condition"]))
    value = np.full((len(labels), len(QUANTITIES), 4), np.nan)
    ratio = value.copy()
    for i, label in enumerate(labels):
        of = timed[timed["condition"] == label]
        for j, name in enumerate(m.name for m in QUANTITIES):
            own, full = of[name].to_numpy(float), of[f"{FULL}{name}"].to_numpy(float)
            value[i, j] = _quartiles(own)
            if (full > 0).all() and name not in NO_RATIO:
                ratio[i, j] = _quartiles(own / full)
    kept = timed.groupby(["condition", "video"])["achieved"].first().groupby(level=0)
    coords = condition_coords(timed, conditions=labels) | measure_coords(QUANTITIES)
    coords["achieved"] = ("condition", kept.mean().reindex(labels).to_numpy())
    for name, of in (("least", kept.min()), ("most", kept.max())):
        coords[f"achieved_{name}"] = ("condition", of.reindex(labels).to_numpy())
    dims = ("condition", "measure", "statistic")
    return xr.Dataset(
        {"value": (dims, value), "ratio": (dims, ratio)},
        coords=coords,
        attrs={
            "statistic": "estimate: median, low and high: quartiles, n: number; over pairs of answers",
            "interval": "quartiles over pairs of answers",
            "ratio": "condition divided by the full model's answer right beside it, in turn before and after",
            "requested": "share of video tokens asked for; NaN: the method's rate is fixed",
            "videos": int(timed["video"].nunique()),
            "pairs": int(timed.groupby("condition").size().max()),
            "left_out": _told(rows[rows["condition"].notna()], "condition"),
            "failed": _told(rows[rows["condition"].isna()], "video"),
        },
    )


def pairs_text(summary: xr.Dataset) -> str:
    """What is to be said under a table of `summarise_pairs` with the attributes of `machine` and the model's type."""
    told = summary.attrs
    lines = [f"Medians over {told['pairs']} pairs of answers; {told['machine']}, {told['dtype']}."]
    lines += ["prefill: decision, shortening and language model; ratios: to the full model's answer right beside it."]
    return "\n".join([*lines, f"Memory: {told['memory']}.", *(f"Left out - {reason}" for reason in told["left_out"])])


def machine(model: VideoLLM) -> dict[str, Any]:
    """Where and when times are measured, and how memory is."""
    cuda = model.device.type == "cuda"
    names = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    cpu = next((line.split(":")[1].strip() for line in names if line.startswith("model name")), platform.processor())
    where = f"{cpu}, torch threads: {torch.get_num_threads()}"
    meter = "torch.cuda.max_memory_allocated" if cuda else "allocations and releases recorded by torch.profiler"
    return {
        "machine": torch.cuda.get_device_name(model.device) if cuda else where,
        "date": datetime.now(UTC).date().isoformat(),
        "memory": f"{meter}, tensors beyond weights and inputs, prompt and one step of decoding",
    }


def _quartiles(values: Float[np.ndarray, "pairs"]) -> list[float]:
    """Median, quartiles and number."""
    return [*np.quantile(values, (0.5, 0.25, 0.75)).tolist(), float(len(values))]


def _told(rows: pd.DataFrame, column: str) -> list[str]:
    """What did not run, and why."""
    named = rows[rows["error"].notna()]
    return sorted({f"{row[column]}: {row['error_type']}: {row['error']}" for _, row in named.iterrows()})
