"""What machine a benchmark ran on, how long calls take, and how much memory they touch."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

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


def peak_mb(call: Callable[[], object]) -> float:
    """Resident memory at its highest during a call above what it was before, in MB (Linux: the mark is reset)."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        return float("nan")

    def field(name: str) -> float:
        return next(float(line.split()[1]) / 1e3 for line in status.read_text().splitlines() if line.startswith(name))

    reset.write_text("5")
    before = field("VmRSS")
    call()
    return field("VmHWM") - before
