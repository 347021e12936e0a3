"""What one device does, in one call: `python -m benchmarks.gpu`.

Sections in this order, each written to the file when it is done: stored results of the authors' code; capture, metrics,
methods and answers of every family against the CPU; decisions at the papers' size; answers, batches and captures of the
7B and 8B shapes; measurements; decisions over frames. What no longer fits into the seconds is "not reached". The exit
status is 1 if a comparison does not hold or a section ends with an error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.gpu import correct, times
from benchmarks.gpu.report import Report

SECTIONS = {"goldens": correct.goldens, "families": correct.families} | {
    "decisions": times.decisions,
    "answers": times.answers,
    "measure": times.measuring,
    "frames": times.scaling,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=("paper", "small"), default="paper")
    parser.add_argument("--seconds", type=float, default=420)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "gpu.json")
    parser.add_argument("--only", nargs="*", choices=list(SECTIONS), default=list(SECTIONS))
    given = parser.parse_args()
    report = Report(torch.device(given.device), out=given.out, size=given.size, seconds=given.seconds)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # float32 is compared with float32
    for name in given.only:
        report.run(name, SECTIONS[name])
    if report.problems:
        sys.exit(f"{report.problems} comparisons or sections are not right: see {given.out}")


if __name__ == "__main__":
    main()
