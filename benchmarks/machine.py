"""What machine a benchmark ran on, how long calls take, and how much memory they touch."""

from __future__ import annotations

import platform
import statistics
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch


def describe(device: str = "cpu") -> str:
    """Machine, threads, torch and date."""
    if device != "cpu":
        machine = torch.cuda.get_device_name(device)
    else:
        lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
        name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "")
        machine = f"{platform.machine()} {name or platform.processor()}, {torch.get_num_threads()} threads"
    return f"{machine}, torch {torch.__version__}, {datetime.now(UTC):%Y-%m-%d}"


def wait() -> None:
    """Until a GPU, if there is one, has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    wait()
    start = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - start


def median_ms(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call in ms, after two calls to warm up (one if it is repeated three times or less)."""
    for _ in range(2 if repeats > 3 else 1):
        call()
    return 1e3 * statistics.median(seconds(call) for _ in range(repeats))


def peak_mb(call: Callable[[], object], device: torch.device | str = "cpu") -> float:
    """Memory at its highest during a call above what it was before, in MB.

    On a CPU what is resident (Linux: the mark is reset; NaN elsewhere), on a GPU what torch allocated.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        call()
        wait()
        return (torch.cuda.max_memory_allocated(device) - held) / 1e6
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        return float("nan")

    def field(name: str) -> float:
        return next(float(line.split()[1]) / 1e3 for line in status.read_text().splitlines() if line.startswith(name))

    reset.write_text("5")
    before = field("VmRSS")
    call()
    return field("VmHWM") - before


def work(call: Callable[[], object]) -> dict[str, Any]:
    """What a call has the GPU do: kernels, copies to and from it, ms that it is busy, and what takes most of them."""
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        call()
        wait()
    there = [e for e in profile.events() if e.device_type == torch.autograd.DeviceType.CUDA]
    spent: Counter[str] = Counter()
    for event in there:
        spent[event.name.split("<")[0][:60]] += event.self_device_time_total
    return {
        "kernels": sum("Memcpy" not in e.name and "Memset" not in e.name for e in there),
        "copies_to_host": sum("DtoH" in e.name for e in there),
        "copies_to_device": sum("HtoD" in e.name for e in there),
        "busy_ms": round(sum(spent.values()) / 1e3, 4),
        "most_us": {name: round(us, 1) for name, us in spent.most_common(6)},
    }
