"""`python -m studies` lists the studies."""

from __future__ import annotations

from importlib import import_module

from studies.registry import STUDIES, TOOLS, one_line

if __name__ == "__main__":
    for name in STUDIES:
        print(f"python -m studies.{name}\n    {one_line(name)}")
    for name in TOOLS:
        print(f"python -m studies.{name}\n    {(import_module(f'studies.{name}').__doc__ or '').splitlines()[0]}")
    print("python -m studies.figures\n    Draw every figure again from stored results, without a model.")
