"""Cost of a decision: `python -m benchmarks.decisions` (T=32, N=196, D=3584; on a CPU float32 and 2 threads).

Each method of the paper's setting is timed alone, with its merge, and beside a straightforward version that is
vectorised as the authors' code is (`benchmarks.loops`), in turns in the same run and on the same tokens; both must keep
the same tokens with the same values. Medians, the ratio of the shortest times, the machine and the date are printed
and stored as `benchmarks/results/decisions.json`. `most` is the ratio of the authors' own code, measured once beside
this package on two idle cores (their code is not part of it): FastVID 395 ms against 51, HoliTom 200 against 52,
V-CAST 26 against 29.
With `--device cuda` the tokens are bfloat16 on the GPU, the copies from it per decision are counted beside the times,
and the versions are not compared: the straightforward one decides in bfloat16.
"""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.loops import fastvid_loops, holitom_loops, vcast_loops
from benchmarks.machine import describe, seconds, work
from redundancy.pruning import FastVID, HoliTom, VCast
from redundancy.pruning.base import Method
from redundancy.reduction import Reduction
from redundancy.tokens import TokenLayout, VideoTokens

T, ROWS, COLS, D = 32, 14, 14, 3584
BARS_MS = {"FastVID, OneVision": 110, "FastVID, Qwen": 50, "HoliTom": 65, "V-CAST": 40}
BAR_GPU_MS = 1.5
MOST = {"FastVID, OneVision": 7.7, "FastVID, Qwen": 7.7, "HoliTom": 3.8, "V-CAST": 0.9}  # theirs against ours
STORED = Path(__file__).parent / "results" / "decisions.json"
REPEATS = {"FastVID, OneVision": 5, "FastVID, Qwen": 5, "HoliTom": 5, "V-CAST": 25}


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


def times(name: str, calls: tuple[Callable[[], object], ...]) -> dict[str, float]:
    """Median ms of calls that are made in turns, and the ratio of the shortest times of the last two.

    Of what else runs on the machine the shortest times hold least.
    """
    for call in calls:
        call()
    taken = [[1e3 * seconds(call) for call in calls] for _ in range(REPEATS[name])]
    columns = list(zip(*taken, strict=True))
    decision, merged, loops = map(statistics.median, columns)
    ratio = min(columns[2]) / min(columns[1])
    found = {"ms": decision, "with_merge_ms": merged, "loops_ms": loops, "ratio": ratio, "most": MOST[name]}
    return {key: round(value, 2) for key, value in found.items()}


def compare(name: str, r: Reduction, values: Tensor, loops: tuple[Tensor | None, Tensor]) -> None:
    """Refuse two versions that do not keep the same tokens with the same values.

    Raises
    ------
    ValueError
        Naming the method.
    """
    kept, plain = loops
    if kept is not None:  # in the method's own order
        if not torch.equal(kept.sort().values, r.anchor.sort().values):
            raise ValueError(f"{name}: the straightforward version keeps other tokens")
        values, plain = values[r.anchor.argsort()], plain[kept.argsort()]
    if not torch.allclose(values, plain, atol=1e-4):  # sums of float32 in another order
        raise ValueError(f"{name}: the straightforward version gives other values")


def pairs_of(tokens: VideoTokens) -> dict[str, tuple[Method, Callable[[], tuple[Tensor | None, Tensor]]]]:
    """Each method and its straightforward version, which gives kept indices and values."""
    x, head, salience = tokens.features, tokens.frame_features["pooling_head"], tokens.salience
    return {
        "FastVID, OneVision": (
            FastVID(retention=0.1),
            lambda: fastvid_loops(x, salience["pooling_head"], head, variant="onevision", r=0.1, tau=0.9),
        ),
        "FastVID, Qwen": (
            FastVID(retention=0.27, variant="qwen"),
            lambda: fastvid_loops(x, salience["mean_query"], x.mean(1), variant="qwen", r=0.27, tau=0.84),
        ),
        "HoliTom": (
            HoliTom(retention=0.15),
            lambda: (None, holitom_loops(x, salience["received"], r=0.15, tau=0.8)),
        ),
        "V-CAST": (VCast(retention=0.25), lambda: vcast_loops(x, r=0.25)),
    }


def main(device: str = "cpu") -> None:
    """Time the decisions.

    Parameters
    ----------
    device
        cpu, or cuda for bfloat16 tokens on a GPU.
    """
    on_cpu = device == "cpu"
    torch.set_num_threads(2)
    tokens = scenes().to(device, None if on_cpu else torch.bfloat16)
    x = tokens.features
    where = f"{describe(device)}; T={T}, N={ROWS * COLS}, D={D}, {str(x.dtype).removeprefix('torch.')}"
    load = round(os.getloadavg()[0], 1)  # of two cores; on a busy machine the ratios hold, the times do not
    print(f"{where}; load {load}")
    print(f"{'decision':20} {'ms':>8} {'bar':>6} {'with merge':>11} {'loops ms':>10} {'ratio':>7} {'most':>5}")
    rows = {}
    for name, (method, loops) in pairs_of(tokens).items():
        if on_cpu:
            r = method(tokens)
            compare(name, r, r.apply(x), loops())
        row = times(name, (lambda m=method: m(tokens), lambda m=method: m(tokens).apply(x), loops))
        bar = BARS_MS[name] if on_cpu else BAR_GPU_MS
        count = "" if on_cpu else f"  {work(lambda m=method: m(tokens))['copies_to_host']} copies"
        numbers = f"{row['with_merge_ms']:11.2f} {row['loops_ms']:10.2f} {row['ratio']:7.2f} {row['most']:5g}"
        print(f"{name:20} {row['ms']:8.2f} {bar:6g} {numbers}{count}", flush=True)
        rows[name] = row
    if on_cpu:
        STORED.parent.mkdir(exist_ok=True)
        STORED.write_text(
            json.dumps({"where": where, "load": load, "repeats": REPEATS, "decisions": rows}, indent=1) + "\n"
        )


if __name__ == "__main__":
    import tyro

    tyro.cli(main, prog="python -m benchmarks.decisions", description=__doc__)
