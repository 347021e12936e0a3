"""In a checkout `redundancy.studies` is the folder `studies` beside the package, as a wheel has it inside."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

INSIDE = "redundancy.studies"
FOLDER = Path(__file__).resolve().parents[1] / "studies"


class CheckoutStudies(MetaPathFinder, Loader):
    """Gives modules of `studies` under their installed name too: one module with two names, not a copy of it."""

    def find_spec(self, fullname: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        """Of modules inside `redundancy.studies`; None for any other."""
        return ModuleSpec(fullname, self) if f"{fullname}.".startswith(f"{INSIDE}.") else None

    def exec_module(self, module: ModuleType) -> None:
        """Put the module of the checkout in the place of the empty one.

        Raises
        ------
        ImportError
            If another package named `studies` is found first.
        """
        studies = import_module("studies")
        if Path(str(studies.__file__)).resolve().parent != FOLDER:
            raise ImportError(f"{studies.__file__} is the package `studies` that is imported here, expected {FOLDER}")
        sys.modules[module.__name__] = import_module(module.__name__.removeprefix("redundancy."))


def name_studies() -> None:
    """Let `redundancy.studies` be imported in a checkout."""
    if FOLDER.is_dir() and not any(isinstance(finder, CheckoutStudies) for finder in sys.meta_path):
        sys.meta_path.insert(0, CheckoutStudies())  # before the path's finder, which would load files a second time
