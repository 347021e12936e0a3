"""A file has one subject and a function one thing to do: lengths beyond which somebody must say why."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = [p for top in ("redundancy", "studies") for p in sorted((ROOT / top).rglob("*.py"))]
LONGEST_FILE, LONGEST_BODY = 400, 60

# what may be longer, and why
LONG_FILES: dict[str, str] = {}
LONG_BODIES: dict[str, str] = {}


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> int:
    """Lines of a body that hold code: without the docstring, comments and empty lines."""
    first = function.body[1] if ast.get_docstring(function) is not None and len(function.body) > 1 else function.body[0]
    code = [line.strip() for line in lines[first.lineno - 1 : function.end_lineno]]
    return sum(bool(line) and not line.startswith("#") for line in code)


def long_bodies(file: Path) -> dict[str, int]:
    text = file.read_text()
    functions = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    lengths = {f"{file.relative_to(ROOT)}:{f.name}": body_lines(f, text.splitlines()) for f in functions}
    return {name: length for name, length in lengths.items() if length > LONGEST_BODY}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_longer_than_one_reads(file: Path) -> None:
    name = str(file.relative_to(ROOT))
    lines = len(file.read_text().splitlines())
    assert lines <= LONGEST_FILE or name in LONG_FILES, f"{name} has {lines} lines, expected at most {LONGEST_FILE}"
    left = {f: length for f, length in long_bodies(file).items() if f not in LONG_BODIES}
    assert not left, f"bodies of more than {LONGEST_BODY} lines: {left}"


def test_every_exception_is_needed() -> None:
    for name in LONG_FILES:
        assert len((ROOT / name).read_text().splitlines()) > LONGEST_FILE, f"{name} needs no exception any more"
    found = {name for file in FILES for name in long_bodies(file)}
    assert set(LONG_BODIES) <= found, f"{set(LONG_BODIES) - found} need no exception any more"
