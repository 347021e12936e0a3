"""Dependencies point down: a module imports from floors below its own, and from its own part."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# from the ground up; parts of one floor do not know each other
FLOORS: tuple[set[str], ...] = (
    {"_checkout", "_lazy", "_moved", "checks", "digest", "labelled", "paths", "published", "questions"},
    {"provenance"},
    {"layout", "plugins", "records", "video"},
    {"tokens", "world"},
    {"reduction", "sources"},
    {"metrics.kernels"},
    {"metrics"},
    {"models", "pruning"},
    {"plot", "recording"},
    {"accessor", "apply"},
    {"evaluation"},
    {"command_line", "training"},
    {"studies"},
)
FLOOR = {part: i for i, parts in enumerate(FLOORS) for part in parts}
FILES = [p for top in ("redundancy", "studies") for p in sorted((ROOT / top).rglob("*.py"))]
MODULES = {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in FILES}


def part_of(module: str) -> str | None:
    """The part that a dotted module belongs to; None outside the project and for `redundancy` itself."""
    top, _, name = module.partition(".")
    if top == "studies":
        return "studies"
    if top != "redundancy" or not name:
        return None
    return "metrics.kernels" if name.startswith("metrics.kernels") else name.split(".")[0]


def imported(file: Path) -> set[str]:
    """Modules of the project that a file imports; of `from redundancy import measure` nothing is a module."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # the files of `studies` are `redundancy.studies` where installed, so they name each other relatively
            own = file.is_relative_to(ROOT / "studies") and (node.level or str(node.module).startswith("studies"))
            assert bool(node.level) == bool(own), f"{file}: {ast.unparse(node)}"
            base = ".".join(file.relative_to(ROOT).parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            found |= {f"{module}.{a.name}" if f"{module}.{a.name}" in MODULES else module for a in node.names}
    return found


@pytest.mark.parametrize("module", list(MODULES))
def test_imports_point_down(module: str) -> None:
    part = part_of(module)
    if part is None:
        return
    parts = {part_of(other) for other in imported(MODULES[module])} - {None, part}
    above = {other for other in parts if FLOOR[str(other)] >= FLOOR[part]}
    assert not above, f"{module} is on floor {FLOOR[part]} and imports {above} of floors that are no lower"


def test_only_one_file_registers_hooks() -> None:
    """`models/hook_context.py` registers; `models/hooks.py` hands it on."""
    registering = [p for p in FILES if "register_forward" in p.read_text()]
    assert registering == [ROOT / "redundancy" / "models" / "hook_context.py"]
