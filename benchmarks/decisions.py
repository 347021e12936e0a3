"""Cost of a decision: `python -m benchmarks.decisions` (T=32, N=196, D=3584, float32, 2 threads).

Each method of the paper's setting is timed beside a straightforward version with loops over frames and tokens, in the
same run and on the same tokens; medians, their ratio, the machine and the date are printed.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch

from benchmarks.loops import fastvid_loops, holitom_loops, vcast_loops
from redundancy.pruning import FastVID, HoliTom, VCast
from redundancy.tokens import TokenLayout, VideoTokens

T, ROWS, COLS, D = 32, 14, 14, 3584
BARS_MS = {"FastVID, OneVision": 110, "FastVID, Qwen": 50, "HoliTom": 65, "V-CAST": 40}


def scenes(seed: int = 0) -> VideoTokens:
    """Eight scenes of four frames, with a part common to all tokens of a scene; a quarter of the places change."""
    g = torch.Generator().manual_seed(seed)
    common, place = torch.randn(8, 1, D, generator=g), torch.randn(8, ROWS * COLS, D, generator=g)
    base = (common + place).repeat_interleave(4, dim=0)
    moving = (torch.rand(8, ROWS * COLS, 1, generator=g) < 0.25).repeat_interleave(4, dim=0)
    x = base + torch.where(moving, 1.5, 0.2) * torch.randn(T, ROWS * COLS, D, generator=g)
    salience = {s: torch.rand(T, ROWS * COLS, generator=g) for s in ("pooling_head", "received", "mean_query")}
    features = {"pooling_head": base[:, 0, :1152] + 0.1 * torch.randn(T, 1152, generator=g)}
    return VideoTokens.from_features(
        x,
        rows=ROWS,
        cols=COLS,
        salience=salience,
        frame_features=features,
        layout=TokenLayout("llava_onevision", "end"),
    )


def median_ms(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of a call in ms, after two calls to warm up."""
    for _ in range(2 if repeats > 3 else 1):
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def main() -> None:
    torch.set_num_threads(2)
    tokens = scenes()
    x, head = tokens.features, tokens.frame_features["pooling_head"]
    salience = tokens.salience
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "FastVID, OneVision": (
            lambda: FastVID(retention=0.1)(tokens),
            lambda: fastvid_loops(x, salience["pooling_head"], head, variant="onevision", r=0.1, tau=0.9),
        ),
        "FastVID, Qwen": (
            lambda: FastVID(retention=0.27, variant="qwen")(tokens),
            lambda: fastvid_loops(x, salience["mean_query"], x.mean(1), variant="qwen", r=0.27, tau=0.84),
        ),
        "HoliTom": (
            lambda: HoliTom(retention=0.15)(tokens),
            lambda: holitom_loops(x, salience["received"], r=0.15, tau=0.8),
        ),
        "V-CAST": (lambda: VCast(retention=0.25)(tokens), lambda: vcast_loops(x, r=0.25)),
    }
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    print(
        f"{platform.machine()} {cpu}, 2 threads, torch {torch.__version__}, "
        f"{datetime.now(UTC):%Y-%m-%d}; T={T}, N={ROWS * COLS}, D={D}, float32"
    )
    print(f"{'decision':20} {'ms':>8} {'bar':>6} {'loops ms':>10} {'ratio':>7}")
    for name, (fast, loops) in pairs.items():
        ours, slow = median_ms(fast, 15), median_ms(loops, 3)
        print(f"{name:20} {ours:8.1f} {BARS_MS[name]:6d} {slow:10.1f} {slow / ours:7.1f}")


if __name__ == "__main__":
    main()
