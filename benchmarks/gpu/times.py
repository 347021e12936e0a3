"""How long decisions, prefills, captures and measurements take on a device."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

import redundancy as rd
from benchmarks.decisions import pairs_of, scenes
from benchmarks.gpu import shapes
from benchmarks.gpu.report import Report
from benchmarks.machine import peak_mb, seconds, work
from benchmarks.measure import video
from redundancy.evaluation.cost.memory import peak_memory
from redundancy.evaluation.cost.random_model import random_model
from redundancy.evaluation.cost.times import STAGES, RunTimes, time_answer
from redundancy.evaluation.decisions import suited
from redundancy.models import VideoLLM
from redundancy.pruning import METHODS, FastVID, HoliTom, VCast
from redundancy.recording.attention import record_attention
from redundancy.sources import list_videos
from redundancy.tokens import VideoTokens

RETENTIONS = (0.25, 0.1)
IN_MODELS = ("fastvid", "holitom", "vcast", "vidcom2", "visionzip", "random_tokens")
PROMPT = "how many scenes ?"


def ms(call: Callable[[], object], device: torch.device, *, budget_s: float = 0.5) -> dict[str, float]:
    """Median and least ms of a call, in as many repeats (3 to 50) as the budget holds, after two warm-ups."""
    for _ in range(2):
        call()
    first = seconds(call)
    taken = [seconds(call) for _ in range(max(3, min(50, int(budget_s / max(first, 1e-6)))))]
    return {"ms": round(1e3 * statistics.median(taken), 4), "least_ms": round(1e3 * min(taken), 4)}


def rates(device: torch.device) -> dict[str, float]:
    """Bytes read and written per second by a large copy, and FLOPs of a large matrix product, of this device."""
    small = device.type == "cpu"
    x = torch.randn(2**24 if small else 2**30, device=device)
    y = torch.empty_like(x)
    copy = ms(lambda: y.copy_(x), device)["least_ms"]
    n = 1024 if small else 8192
    a = torch.randn(n, n, device=device, dtype=torch.float32 if small else torch.bfloat16)
    product = ms(lambda: a @ a, device)["least_ms"]
    return {"bytes_per_s": 2 * x.nbytes / copy * 1e3, "flops": 2 * n**3 / product * 1e3}


def dtype_of(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "cpu" else torch.bfloat16


def decisions(report: Report, found: dict[str, Any]) -> None:
    """Every method at the papers' size, beside plain versions vectorised as the authors' code is."""
    device = report.device
    found["device"] = rate = rates(device)
    tokens = scenes().to(device, dtype_of(device))
    floor = 1e3 * tokens.features.nbytes / rate["bytes_per_s"]
    found["tokens"] = {"shape": list(tokens.features.shape), "MB": tokens.features.nbytes / 1e6, "read_once_ms": floor}
    plain = pairs_of(tokens)
    methods: dict[str, Any] = {name: method for name, (method, _) in plain.items()}
    methods |= {name: entry.method for name, entry in METHODS.items() if name not in ("fastvid", "holitom", "vcast")}
    for name, method in methods.items():
        if report.left <= 0:
            found[name] = "not reached"
            continue
        try:
            row: dict[str, Any] = ms(lambda m=method: m(tokens), device)  # type: ignore[misc]
            row["with_merge"] = ms(lambda m=method: m(tokens).apply(tokens.features), device)  # type: ignore[misc]
            if device.type == "cuda":
                row |= work(lambda m=method: m(tokens))  # type: ignore[misc]
            row["over_one_read"] = round(row["ms"] / floor, 1)
            if name in plain:
                row["plain"] = ms(plain[name][1], device)
        except ValueError as error:
            row = {"error": str(error)}
        found[name] = row
        print(f"{name:20} {row.get('ms', row)} busy {row.get('busy_ms')} kernels {row.get('kernels')} copies "
              f"{row.get('copies_to_host')} plain {row.get('plain', {}).get('ms')}", flush=True)  # fmt: skip


def free(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def answers(report: Report, found: dict[str, Any]) -> None:
    """Prompts of the 7B and 8B shapes, full and with each method: stages, first token, decoding, memory."""
    device, small = report.device, report.content["size"] == "small"
    shape: dict[str, tuple[Callable[[], VideoLLM], int]] = {
        "LLaVA-OneVision-7B": (lambda: shapes.onevision(device, small=small), 32),
        "Qwen3-VL-8B": (lambda: shapes.qwen3_vl(device, small=small, frames=64), 64),
    }
    for name, (make, frames) in shape.items():
        if report.left <= 0:
            found[name] = "not reached"
            continue
        model = make()
        answers_of(model, frames, report, found.setdefault(name, {}))
        if name == "LLaVA-OneVision-7B":
            found["batches"] = {}
            batches(model, report, found["batches"])
            found["capture"] = {}
            capturing(model, report, found["capture"])
        del model
        free(device)
        report.write()


def answers_of(model: VideoLLM, frames: int, report: Report, found: dict[str, Any]) -> None:
    """One model."""
    source = list_videos(f"world:1?frames={frames}")[0]
    clip = source.load(model, frames=frames)
    inputs, tokens = model.prepare(clip, PROMPT), rd.video_tokens(model, clip, PROMPT)
    conditions: dict[str, tuple[Any, str]] = {"full": (None, "")}
    for retention in RETENTIONS:
        for name in IN_MODELS:
            rated: Any = METHODS[name].method
            conditions[f"{name}({retention})"] = suited(replace(rated, retention=retention), tokens)
    del tokens
    for label, (method, replaced) in conditions.items():
        if report.left <= 0:
            found[label] = "not reached"
            continue
        try:
            memory = peak_memory(model, inputs, method=method)
            about: dict[str, Any] = {"method": method, "frames": frames, "new_tokens": 16}
            runs = [time_answer(model, source, PROMPT, **about) for _ in range(3)]
        except Exception as error:  # the others are worth their time
            found[label] = {"error": f"{type(error).__name__}: {error}"[:300]}
            print(f"{label}: {found[label]}", flush=True)
            continue
        row = stages_of(runs)
        row |= {"prompt": runs[-1].prompt, "replaced": replaced}
        row |= {"peak_GB": round(memory.answer / 1e9, 3), "peak_language_GB": round(memory.language / 1e9, 3)}
        row["achieved"] = 1.0 if runs[-1].reduction is None else runs[-1].reduction.achieved
        found[label] = row
        shown = " ".join(f"{key} {row[key]['median']}" for key in ("tower_ms", "decision_ms", "language_ms"))
        print(f"{label:22} prompt {row['prompt']} {shown} first token {row['first_token_ms']}", flush=True)


def stages_of(runs: Sequence[RunTimes]) -> dict[str, Any]:
    """Median, least and largest of every stage over runs, in ms, and of tokens per second while decoding."""
    each: dict[str, list[float]] = {f"{name}_ms": [1e3 * run.seconds[name] for run in runs] for name in STAGES}
    each |= {"first_token_ms": [1e3 * r.first_token for r in runs], "prefill_ms": [1e3 * r.prefill for r in runs]}
    each["decode_tokens_per_s"] = [run.decode_steps / run.seconds["decode"] for run in runs]
    rounded = {name: [round(v, 3) for v in values] for name, values in each.items()}
    return {k: {"median": statistics.median(v), "least": min(v), "largest": max(v)} for k, v in rounded.items()}


def batches(model: VideoLLM, report: Report, found: dict[str, Any]) -> None:
    """Batches of one clip: prompts per second, full and pruned."""
    source = list_videos("world:1?frames=32")[0]
    clip = source.load(model, frames=32)
    for size in (1, 2, 4, 8):
        inputs = model.prepare([clip] * size, [PROMPT] * size)
        for label, method in (("full", None), ("fastvid(0.1)", FastVID(retention=0.1))):
            if report.left <= 0:
                found[f"{label}, batch {size}"] = "not reached"
                continue
            with rd.prune(model, method):
                time = ms(lambda inputs=inputs: model.prefill(inputs), report.device)  # type: ignore[misc]
            found[f"{label}, batch {size}"] = time | {"prompts_per_s": round(1e3 * size / time["ms"], 2)}


def capturing(model: VideoLLM, report: Report, found: dict[str, Any]) -> None:
    """Attention rows beside a plain prefill, and eager squares on a model that they fit."""
    device, small = report.device, report.content["size"] == "small"
    clip = list_videos("world:1?frames=32")[0].load(model, frames=32)
    inputs = model.prepare(clip, PROMPT)
    found["prefill"] = ms(lambda: model.prefill(inputs), device)
    for rows in ("last", "question"):

        def recorded(rows: Any = rows) -> None:
            with record_attention(model.family, rows):
                model.prefill(inputs)

        found[f"prefill with rows {rows}"] = ms(recorded, device)
    found["capture, last"] = ms(lambda: rd.capture(model, clip, PROMPT, attention_rows="last"), device)
    found["capture, last, received"] = ms(
        lambda: rd.capture(model, clip, PROMPT, attention_rows="last", received=True), device
    )
    del inputs
    if small:
        return
    half = random_model("llava-onevision-0.5b", device=device)
    half_inputs = half.prepare(clip, PROMPT)
    found["0.5B: prefill"] = ms(lambda: half.prefill(half_inputs), device)

    def half_recorded() -> None:
        with record_attention(half.family, "last"):
            half.prefill(half_inputs)

    found["0.5B: rows last"] = ms(half_recorded, device)
    half.model.set_attn_implementation("eager")
    found["0.5B: eager squares"] = ms(lambda: half.prefill(half_inputs, output_attentions=True), device)


def measuring(report: Report, found: dict[str, Any]) -> None:
    """`measure` of the default metrics, and of all, over frames."""
    for frames in (8, 16) if report.content["size"] == "small" else (32, 256, 1024):
        if report.left <= 0:
            found[f"{frames} frames"] = "not reached"
            continue
        tokens = video(frames).to(report.device, dtype_of(report.device))
        row: dict[str, Any] = ms(lambda tokens=tokens: rd.measure(tokens), report.device)  # type: ignore[misc]
        if frames <= 32:
            row["all"] = ms(lambda tokens=tokens: rd.measure(tokens, None, "all"), report.device)  # type: ignore[misc]
        if report.device.type == "cuda":
            row["peak_above_MB"] = peak_mb(lambda tokens=tokens: rd.measure(tokens), report.device)  # type: ignore[misc]
        found[f"{frames} frames"] = row
        print(frames, row, flush=True)


def scaling(report: Report, found: dict[str, Any]) -> None:
    """Decisions of the three methods over frames."""
    for frames in (8, 16) if report.content["size"] == "small" else (32, 128, 512, 1024):
        source = video(frames)
        drawn = torch.rand(frames, source.grid.tokens_per_frame, generator=torch.Generator().manual_seed(0))
        tokens: VideoTokens = VideoTokens.from_features(
            source.features,
            rows=source.grid.rows,
            cols=source.grid.cols,
            salience={"pooling_head": drawn, "received": drawn},
            frame_features={"pooling_head": source.features.mean(1)},
        ).to(report.device, dtype_of(report.device))
        for method in (FastVID(retention=0.1), HoliTom(retention=0.15), VCast(retention=0.25)):
            label = f"{method.name}, {frames} frames"
            if report.left <= 0:
                found[label] = "not reached"
                continue
            row: dict[str, Any] = ms(lambda m=method, t=tokens: m(t), report.device)  # type: ignore[misc]
            if report.device.type == "cuda":
                row["peak_above_MB"] = peak_mb(lambda m=method, t=tokens: m(t), report.device)  # type: ignore[misc]
            found[label] = row
            print(label, row, flush=True)
