"""Dependencies point one way.

(studies, world.train) -> evaluation -> (capture, apply) -> (models, pruning);
pruning -> metrics -> (reduction, tokens) -> video.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASIS = {"checks", "video", "paths", "provenance", "world", "sources"}
VALUES = {"tokens", "reduction"} | BASIS
# what each part may import, beside itself
ALLOWED = {
    "video": {"checks", "paths", "provenance"},
    "checks": set(),
    "paths": set(),
    "provenance": set(),
    "world": {"video", "paths", "provenance"},
    "sources": {"video", "paths", "provenance", "world"},
    "tokens": {"checks", "video"},
    "reduction": {"checks", "tokens", "video"},
    "metrics": VALUES,
    "pruning": VALUES | {"metrics"},
    "models": VALUES,
    "capture": VALUES | {"models", "pruning", "metrics"},
    "apply": VALUES | {"models", "pruning", "metrics", "capture"},
    "evaluation": VALUES | {"models", "pruning", "metrics", "capture", "apply"},
    "plot": {"checks", "paths", "provenance", "pruning"},  # the tables give every method its look
    "train": VALUES | {"models", "pruning", "metrics", "capture", "apply", "evaluation", "plot"},
    "accessor": VALUES | {"metrics", "plot"},
    "studies": VALUES | {"models", "pruning", "metrics", "capture", "apply", "evaluation", "plot"},
}
FILES = [p for top in ("redundancy", "studies") for p in sorted((ROOT / top).rglob("*.py"))]


def part_of(module: str) -> str | None:
    """Name of the part that a dotted module belongs to; None outside the project and for `redundancy` itself."""
    names = module.split(".")
    if names[0] == "studies":
        return "studies"
    if names[:3] == ["redundancy", "world", "train"]:  # above everything that the worlds' videos are for
        return "train"
    return names[1] if names[0] == "redundancy" and len(names) > 1 else None


def imported(file: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {part for part in map(part_of, modules) if part is not None}


def public_parts() -> set[str]:
    return {
        p.stem if p.is_file() else p.name
        for p in (ROOT / "redundancy").iterdir()
        if p.suffix in ("", ".py") and p.name[0] not in "_."
    }


@pytest.mark.parametrize("file", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(file: Path) -> None:
    part = part_of(".".join(file.relative_to(ROOT).with_suffix("").parts))
    if part is None or part == "__init__":
        return
    # names of functions behind `from redundancy import ...` are no parts
    found = imported(file) & (public_parts() | {"studies", "train"}) - {part}
    assert found <= ALLOWED[part], f"{part} may import {sorted(ALLOWED[part])}, not {sorted(found - ALLOWED[part])}"


def test_every_part_has_its_place() -> None:
    parts = public_parts()
    assert parts <= set(ALLOWED), f"say in ALLOWED what {sorted(parts - set(ALLOWED))} may import"


def test_the_table_has_no_circle() -> None:
    seen: set[str] = set()
    left = dict(ALLOWED)
    while left:
        ready = {part for part, others in left.items() if not others & set(left) - {part}}
        assert ready, f"parts that import each other: {sorted(left)}"
        seen |= ready
        left = {part: others for part, others in left.items() if part not in ready}


def test_only_one_file_registers_hooks() -> None:
    """DESIGN section 3: one place registers hooks; `models/hooks.py` hands it on."""
    registering = [p for p in FILES if "register_forward" in p.read_text()]
    assert registering == [ROOT / "redundancy" / "models" / "hook_context.py"]
