"""Compare the methods with stored results of the authors' code: `python -m tests.golden FOLDER [DEVICE]`.

Runs every npz file below a folder laid out like `tests/data/golden`, prints a line per case and `N passed, N failed`,
and exits with 1 if one failed. An unknown case, a missing array and an array that no check looks at are failures.
The folder of a file and the first part of its name choose the module of `tests.golden_checks` that checks it.
On a device other than the CPU every function of the package that a check calls gets its tensors there; what it returns
is compared on the host.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch.utils._pytree import tree_map_only

from tests.golden_checks.case import Case, Mismatch

BUNDLED = Path(__file__).parent / "data" / "golden"
CHECKS = ("fastvid", "holitom", "vcast", "vidcom2", "dycoke", "visionzip", "prunevid")


def files_below(folder: Path) -> list[Path]:
    """Every npz file below a folder, in a fixed order."""
    return sorted(folder.rglob("*.npz"))


def elsewhere(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    """`function` with the tensors that it is given on a device, and what it returns on the host."""

    @wraps(function)
    def moved(*args: Any, **kwargs: Any) -> Any:
        there = tree_map_only(torch.Tensor, lambda x: x.to(device), (args, kwargs))
        return tree_map_only(torch.Tensor, lambda x: x.cpu(), function(*there[0], **there[1]))

    moved.at_home = function  # type: ignore[attr-defined]
    return moved


def move_functions(module: ModuleType, device: str) -> None:
    """Have the functions of the package that a module of checks imports run on a device."""
    for name, value in vars(module).items():
        if isinstance(value, FunctionType) and value.__module__.startswith("redundancy."):
            home = getattr(value, "at_home", value)
            setattr(module, name, home if device == "cpu" else elsewhere(home, device))


def checker_of(path: Path, device: str) -> Callable[[Case], None]:
    """The function that checks a file: by its folder, in `baselines` by the first part of its name."""
    family = path.parent.name if path.parent.name != "baselines" else path.stem.split("_")[0]
    if family not in CHECKS:
        raise Mismatch(f"unknown kind of case {path.parent.name}/{path.name}; known are {', '.join(CHECKS)}")
    module = import_module(f"tests.golden_checks.{family}")
    move_functions(module, device)
    check: Callable[[Case], None] = module.check
    return check


def run(path: Path, device: str = "cpu") -> None:
    """Check one file; raises if anything differs."""
    case = Case(path)
    checker_of(path, device)(case)
    case.all_compared()


def main(folder: Path, device: str = "cpu") -> int:
    """Check all files below a folder; the exit status."""
    files, failed = files_below(folder), 0
    for path in files:
        name = path.relative_to(folder)
        try:
            run(path, device)
        except Exception as error:  # a crash of a method is a failed case, and the others still run
            failed += 1
            print(f"FAIL {name}: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
        else:
            print(f"pass {name}")
    if not files:
        print(f"no npz file below {folder}")
    print(f"{len(files) - failed} passed, {failed} failed")
    return 1 if failed or not files else 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or not Path(sys.argv[1]).is_dir():
        sys.exit(
            f"usage: python -m tests.golden FOLDER [DEVICE] (given {sys.argv[1:]}; the shown cases are in {BUNDLED})"
        )
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
