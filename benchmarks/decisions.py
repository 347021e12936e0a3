"""Cost of a decision: `python -m benchmarks.decisions` (T=32, N=196, D=3584; on a CPU float32 and 2 threads).

Each method of the paper's setting is timed beside a straightforward version with loops over frames and tokens, in the
same run and on the same tokens; medians, their ratio, the machine and the date are printed. With `--device cuda` the
tokens are bfloat16 on the GPU, and the copies from it per decision are counted beside the times.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch

from benchmarks.loops import fastvid_loops, holitom_loops, vcast_loops
from benchmarks.machine import describe, median_ms, wait
from redundancy.pruning import FastVID, HoliTom, VCast
from redundancy.tokens import TokenLayout, VideoTokens

T, ROWS, COLS, D = 32, 14, 14, 3584
BARS_MS = {"FastVID, OneVision": 110, "FastVID, Qwen": 50, "HoliTom": 65, "V-CAST": 40}
BAR_GPU_MS = 1.5


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


def copies(call: Callable[[], object]) -> int:
    """Copies from the GPU to the host during a call."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        wait()
    return sum("Memcpy DtoH" in event.name for event in profile.events())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda for bfloat16 tokens on a GPU")
    device = parser.parse_args().device
    torch.set_num_threads(2)
    tokens = scenes().to(device, None if device == "cpu" else torch.bfloat16)
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
    print(f"{describe(device)}; T={T}, N={ROWS * COLS}, D={D}, {str(x.dtype).removeprefix('torch.')}")
    print(f"{'decision':20} {'ms':>8} {'bar':>6} {'loops ms':>10} {'ratio':>7}" + " copies" * (device != "cpu"))
    for name, (fast, loops) in pairs.items():
        ours, slow = median_ms(fast, 15), median_ms(loops, 3)
        bar = BARS_MS[name] if device == "cpu" else BAR_GPU_MS
        count = "" if device == "cpu" else f" {copies(fast):6d}"
        print(f"{name:20} {ours:8.2f} {bar:6g} {slow:10.1f} {slow / ours:7.1f}{count}")


if __name__ == "__main__":
    main()
