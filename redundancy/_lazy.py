"""Names of a package that are imported when they are first used, so that importing the package is quick.

The names are those that the package's `__init__` imports under `if TYPE_CHECKING:`: written once, for type checkers and
for `__getattr__`.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def lazy_names(
    package: str, file: str, *, also: tuple[str, ...] = (), then: Callable[[], None] = lambda: None
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package.

    Parameters
    ----------
    package, file
        Its `__name__` and `__file__`.
    also
        Names that it defines itself.
    then
        Called after each import.
    """
    home = _imported_for_types(Path(file))
    names = [*sorted(home), *also]

    def get(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}; it has {', '.join(names)}")
        value = getattr(import_module(home[name]), name)
        then()
        return value

    return get, lambda: names, names


def _imported_for_types(file: Path) -> dict[str, str]:
    """Name -> module of the imports under `if TYPE_CHECKING:`."""
    blocks = [n for n in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(n, ast.If)]
    guarded = [n for b in blocks if isinstance(b.test, ast.Name) and b.test.id == "TYPE_CHECKING" for n in b.body]
    return {a.name: str(n.module) for n in guarded if isinstance(n, ast.ImportFrom) for a in n.names}
