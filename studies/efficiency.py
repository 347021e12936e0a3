"""What does an answer cost, by stage, and how much of it does each method save? Every method against the whole model.

For each clip and condition: milliseconds of reading, processor, tower, decision, shortening, language model and
decoding; time to the first token, tokens per second, peak memory, and FLOPs by both published formulas. Each timed
answer has an answer of the whole model right beside it, in turn before and after; ratios are medians over these pairs.
The whole model paired with itself shows the noise. Times are measurements of a machine at one moment: nothing is taken
from earlier runs, and every run replaces the stored results.

    python -m studies.efficiency
    python -m studies.efficiency --shape llava-onevision-0.5b-small-tower --frames 8 --limit 1 --repeats 3
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr
from tqdm import tqdm

import redundancy as rd
from redundancy import plot
from redundancy.evaluation.cells import NothingMeasuredError
from redundancy.evaluation.cost.memory import PeakMemory, peak_memory
from redundancy.evaluation.cost.random_model import random_model
from redundancy.evaluation.cost.times import (
    PromptFlops,
    RunTimes,
    prompt_flops,
    time_answer,
    video_size,
)
from redundancy.evaluation.failures import failure_of, with_failures
from redundancy.evaluation.rows import grid_text
from redundancy.models import VideoLLM
from redundancy.plot.efficiency import WHOLE, efficiency_figure
from redundancy.provenance import commit
from redundancy.pruning.base import Method
from redundancy.pruning.table import METHODS
from redundancy.recording import available_salience, model_provenance, open_dataset, save_dataset
from redundancy.sources import VideoSource
from studies.conditions import conditions_of as methods_at
from studies.runner import StudyOptions, command_line, study_main, videos_of, write_rows

NAME = "efficiency"
STATISTICS = ("median", "lower_quartile", "upper_quartile")
QUANTITIES = {
    "read": ("ms", "reading and decoding the file, in a process beside"),
    "prepare": ("ms", "processor"),
    "tower": ("ms", "vision tower, with what the method has it record"),
    "decision": ("ms", "the method's own call"),
    "shorten": ("ms", "rest of the reduction: tokens and salience collected, outputs merged, prompt shortened"),
    "language": ("ms", "language model on the prompt"),
    "other": ("ms", "rest until the first token: projector, pooling, output head, generate itself"),
    "decode": ("ms", "all tokens after the first"),
    "prefill": ("ms", "decision, shortening and language model on the prompt"),
    "first_token": ("ms", "from prepared inputs to the first token"),
    "total": ("ms", "from the file to the last token"),
    "decode_step": ("ms", "one step of decoding"),
    "decode_rate": ("tokens/s", "tokens per second of decoding"),
    "peak": ("MB", "peak memory of the answer beyond weights and inputs"),
    "peak_language": ("MB", "peak memory from the language model on, beyond weights and inputs"),
    "flops_fastvid": ("GFLOP", "FLOPs of the video's prefill by FastVID's formula, newlines included"),
    "flops_holitom": ("GFLOP", "FLOPs of the video's prefill by HoliTom's formula, newlines left out"),
}


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Measure the cost of an answer with every method.

    Parameters
    ----------
    shape
        In place of a model: random weights of a stated shape, "llava-onevision-0.5b", or
        "llava-onevision-0.5b-small-tower" with a tower that fits a CPU.
    prompt
        The question.
    methods
        Names of the methods.
    retentions
        Shares of the tokens to keep; methods with a fixed rate run once.
    new_tokens
        Length of the answer.
    repeats
        Pairs per clip and condition.
    threads
        Threads of torch on the CPU; none: as torch has it. On a machine that others use too, one is steadier.
    """

    shape: str | None = None
    prompt: str = "how many scenes ?"
    methods: tuple[str, ...] = tuple(METHODS)
    retentions: tuple[float, ...] = (0.5, 0.25, 0.1)
    new_tokens: int = 16
    repeats: int = 5
    threads: int | None = None
    out: Path = Path("results") / NAME
    limit: int | None = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.methods:
            methods_at(self.methods, self.retentions)
        self.at_least(1, "repeats", "threads")
        self.at_least(2, "new_tokens")


class Condition(NamedTuple):
    """A way to run the model; `method` is None for the whole model, `requested` NaN for a fixed rate."""

    label: str
    name: str
    kind: str
    method: Method | None
    requested: float


def conditions_of(options: Options) -> list[Condition]:
    """The whole model, and every method at every retention."""
    reduced = [Condition(*c) for c in methods_at(options.methods, options.retentions)]
    return [Condition(WHOLE, WHOLE, WHOLE, None, 1.0), *reduced]


def quantities_of(times: RunTimes, memory: PeakMemory, flops: PromptFlops) -> dict[str, float]:
    """Every quantity of one answer, in its unit."""
    seconds = times.seconds | {name: getattr(times, name) for name in ("prefill", "first_token", "total")}
    seconds["decode_step"] = times.seconds["decode"] / times.decode_steps
    return {name: 1e3 * value for name, value in seconds.items()} | {
        "decode_rate": 1 / seconds["decode_step"],
        "peak": memory.answer / 1e6,
        "peak_language": memory.language / 1e6,
        "flops_fastvid": flops.fastvid / 1e9,
        "flops_holitom": flops.holitom / 1e9,
    }


class Bench:
    """One clip on one model: answers timed in pairs."""

    def __init__(self, model: VideoLLM, source: VideoSource, options: Options) -> None:
        self.model, self.source, self.options = model, source, options
        self.inputs = model.prepare(source.load(model, frames=options.frames), options.prompt)
        self.size = video_size(model, self.inputs)
        self.memory: dict[str, PeakMemory] = {}

    def answer(self, condition: Condition) -> RunTimes:
        """One timed answer."""
        return time_answer(
            self.model,
            self.source,
            self.options.prompt,
            method=condition.method,
            frames=self.options.frames,
            new_tokens=self.options.new_tokens,
        )

    def warm_up(self, condition: Condition) -> None:
        """An answer that does not count, in which memory is measured: the profiler slows it."""
        if condition.method is not None:
            needed, given = condition.method.needs(self.model.family.layout).salience, available_salience(self.model)
            if needed not in (None, *given):
                raise ValueError(f"it needs the salience {needed!r}, the model gives {list(given)}")
        self.memory[condition.label] = peak_memory(self.model, self.inputs, method=condition.method)

    def pair(self, condition: Condition, whole: Condition, *, whole_first: bool) -> dict[str, Any]:
        """One row: a condition's answer and one of the whole model, one right after the other."""
        both = [self.answer(c) for c in ((whole, condition) if whole_first else (condition, whole))]
        of_whole, own = both if whole_first else both[::-1]
        row: dict[str, Any] = {"video": self.source.name, "condition": condition.label, "method": condition.name}
        row |= {"kind": condition.kind, "requested": condition.requested}
        row["achieved"] = 1.0 if own.reduction is None else own.reduction.achieved
        row |= {
            "grid": grid_text(self.size.grid),
            "video_tokens": self.size.tokens,
            "prompt": own.prompt,
            "whole_first": whole_first,
        }
        row |= self._measured(condition, own)
        return row | {f"whole_{name}": value for name, value in self._measured(whole, of_whole).items()}

    def _measured(self, condition: Condition, times: RunTimes) -> dict[str, float]:
        flops = prompt_flops(self.model, self.size, times=times)
        return quantities_of(times, self.memory[condition.label], flops)


def measure_video(bench: Bench, conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    """Rows of one clip: every condition in every repeat; a condition that cannot run is a row with its error."""
    rows, able = [], []
    for condition in conditions:
        try:
            bench.warm_up(condition)
            able.append(condition)
        except Exception as error:
            if condition.method is None:
                raise
            rows.append({"video": bench.source.name, "condition": condition.label, **failure_of(error)})
    for repeat, (i, condition) in product(range(bench.options.repeats), enumerate(able)):
        rows.append(bench.pair(condition, conditions[0], whole_first=(repeat + i) % 2 == 0) | {"repeat": repeat})
    return rows


def measure(model: VideoLLM, options: Options) -> pd.DataFrame:
    """Rows of all clips; a clip that fails is a row with its error."""
    rows: list[dict[str, Any]] = []
    conditions = conditions_of(options)
    with videos_of(options) as sources:
        for source in tqdm(sources, desc=NAME, unit="video", disable=None):
            try:
                rows += measure_video(Bench(model, source, options), conditions)
            except Exception as error:
                rows.append({"video": source.name, **failure_of(error)})
    return with_failures(pd.DataFrame(rows).assign(model=model.name, commit=commit()))


def summarise(rows: pd.DataFrame) -> xr.Dataset:
    """Medians and quartiles over pairs: of every quantity, and of its ratio to the whole model's beside it.

    Dims: condition, quantity, statistic; `achieved` has mean, min and max over clips. A ratio to nothing (the
    whole model decides nothing) is NaN.

    Raises
    ------
    NothingMeasuredError
        If no answer could be timed.
    """
    timed = rows[rows["error"].isna()]
    if timed.empty:
        raise NothingMeasuredError(f"no answer could be timed: {'; '.join(sorted(set(rows['error'])))}")
    labels = list(dict.fromkeys(timed["condition"]))
    value = np.full((len(labels), len(QUANTITIES), 3), np.nan)
    ratio, achieved = value.copy(), np.full((len(labels), 3), np.nan)
    for i, label in enumerate(labels):
        of = timed[timed["condition"] == label]
        kept = of.groupby("video")["achieved"].first()
        achieved[i] = kept.mean(), kept.min(), kept.max()
        for j, name in enumerate(QUANTITIES):
            own, whole = of[name].to_numpy(float), of[f"whole_{name}"].to_numpy(float)
            value[i, j] = np.quantile(own, (0.5, 0.25, 0.75))
            if (whole > 0).all() and name not in ("decision", "shorten"):
                ratio[i, j] = np.quantile(own / whole, (0.5, 0.25, 0.75))
    first = timed.drop_duplicates("condition").set_index("condition").loc[labels]
    dims = ("condition", "quantity", "statistic")
    return xr.Dataset(
        {"value": (dims, value), "ratio": (dims, ratio), "achieved": (("condition", "over_clips"), achieved)},
        coords={
            "condition": labels,
            "quantity": list(QUANTITIES),
            "statistic": list(STATISTICS),
            "over_clips": ["mean", "min", "max"],
            "method": ("condition", first["method"].astype(str).tolist()),
            "kind": ("condition", first["kind"].astype(str).tolist()),
            "requested": ("condition", first["requested"].to_numpy(float)),
            "unit": ("quantity", [unit for unit, _ in QUANTITIES.values()]),
            "long_name": ("quantity", [meaning for _, meaning in QUANTITIES.values()]),
        },
        attrs={
            "statistic": "median and quartiles over pairs of answers",
            "ratio": "condition divided by the whole model's answer right beside it, in turn before and after",
            "requested": "share of video tokens asked for; NaN: the method's rate is fixed",
            "videos": timed["video"].nunique(),
            "pairs": int(timed.groupby("condition").size().max()),
            "left_out": _told(rows[rows["condition"].notna()], "condition"),
            "failed": _told(rows[rows["condition"].isna()], "video"),
        },
    )


def _told(rows: pd.DataFrame, column: str) -> list[str]:
    """What did not run, and why."""
    named = rows[rows["error"].notna()]
    return sorted({f"{row[column]}: {row['error_type']}: {row['error']}" for _, row in named.iterrows()})


def machine(model: VideoLLM) -> dict[str, Any]:
    """Where and when the times were measured, and how memory was."""
    cuda = model.device.type == "cuda"
    names = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    cpu = next((line.split(":")[1].strip() for line in names if line.startswith("model name")), platform.processor())
    meter = "torch.cuda.max_memory_allocated" if cuda else "allocations and releases recorded by torch.profiler"
    return {
        "machine": torch.cuda.get_device_name(model.device)
        if cuda
        else f"{cpu}, torch threads: {torch.get_num_threads()}",
        "date": datetime.now(UTC).date().isoformat(),
        "memory": f"{meter}, tensors beyond weights and inputs, prompt and one step of decoding",
    }


def table(summary: xr.Dataset) -> pd.DataFrame:
    """One line per condition: medians, and ratios to the whole model."""

    def column(variable: str, quantity: str, digits: int) -> list[str]:
        values = summary[variable].sel(quantity=quantity, statistic="median").values
        return ["-" if np.isnan(v) else f"{v:.{digits}f}" for v in values]

    return pd.DataFrame(
        {
            "condition": summary["method"].values,
            "requested": ["fixed" if np.isnan(r) else f"{r:.3g}" for r in summary["requested"].values],
            "achieved": [f"{r:.3f}" for r in summary["achieved"].sel(over_clips="mean").values],
            "tower ms": column("value", "tower", 1),
            "decision ms": column("value", "decision", 2),
            "shorten ms": column("value", "shorten", 2),
            "language ms": column("value", "language", 1),
            "first token ms": column("value", "first_token", 1),
            "tokens/s": column("value", "decode_rate", 1),
            "GFLOP FastVID": column("value", "flops_fastvid", 3),
            "GFLOP HoliTom": column("value", "flops_holitom", 3),
            "peak MB": column("value", "peak", 1),
            "language peak MB": column("value", "peak_language", 1),
            "prefill ratio": column("ratio", "prefill", 2),
            "first token ratio": column("ratio", "first_token", 2),
            "total ratio": column("ratio", "total", 2),
        }
    )


@study_main(NAME)
def main(options: Options) -> xr.Dataset:
    """Time everything, write rows, summary and figure, and print the table."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    model = rd.load_model(options.model) if options.shape is None else random_model(options.shape)
    rows = measure(model, options)
    write_rows(rows, options.out / "rows.parquet")  # also if all failed
    weights = "loaded" if options.shape is None else "random, seed 0"
    summary = summarise(rows).assign_attrs(
        model_provenance(model), **machine(model), study=NAME, weights=weights, frames=options.frames
    )
    save_dataset(summary, options.out / "summary.zarr", overwrite=True)
    draw(options.out)
    print(table(summary).to_string(index=False))
    print(f"\nMedians over {summary.attrs['pairs']} pairs of answers; {summary.attrs['machine']}, {model.dtype}.")
    print("prefill: decision, shortening and language model; ratios: to the whole model's answer right beside it.")
    print(f"Memory: {summary.attrs['memory']}.")
    print("".join(f"Left out - {reason}\n" for reason in summary.attrs["left_out"]), end="")
    print(f"{summary.attrs['videos']} measured, {len(summary.attrs['failed'])} failed.")
    print("".join(f"  {reason}\n" for reason in summary.attrs["failed"]), end="")
    print(f"Rows, summary and figure: {options.out}")
    return summary


def draw(out: Path) -> list[Path]:
    """Draw the study's figure from what is stored in `out`."""
    return plot.save(efficiency_figure(open_dataset(out / "summary.zarr").load()), out / NAME)


if __name__ == "__main__":
    command_line(Options, main)
