"""`python -m studies` lists the studies."""

from __future__ import annotations

from studies.registry import STUDIES, one_line

if __name__ == "__main__":
    for name in STUDIES:
        print(f"python -m studies.{name}\n    {one_line(name)}")
    print("python -m studies.figures\n    Draw every figure again from stored results, without a model.")
