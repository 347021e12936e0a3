"""Files of a user's own that register methods, parts and metrics: `load_plugin("mine.py")`.

A plug-in's top level calls `redundancy.pruning.register(...)` and `redundancy.metrics.registry.metric(...)`. Its code
counts in `redundancy.digest.digest_of`, so that rows of a method whose code changed are computed again.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping
from importlib import import_module
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from redundancy.checks import require_type
from redundancy.digest import PLUGIN

_LOADED: dict[Path, ModuleType] = {}


class _FromSource(SourceFileLoader):
    """Runs the file as it is: compiled code of a file that was changed within the same second passes for current."""

    def path_stats(self, path: str) -> Mapping[str, Any]:
        raise OSError("no compiled code is taken or kept")


def load_plugin(plugin: str | Path) -> ModuleType:
    """Import a user's file or module; one that is loaded already is not run again.

    Parameters
    ----------
    plugin
        A file, `"mine.py"` or `"folder/mine.py"`, which becomes the module `plugin_mine`; or the dotted name of a
        module that can be imported.

    Returns
    -------
    The module.

    Raises
    ------
    TypeError
        If it is no path and no name.
    ValueError
        If there is no such file or module, if another plug-in has the same file name, or if its code raises: with the
        error and its line.
    """
    require_type("plugin", plugin, str | Path, expected="a file or the name of a module")
    if isinstance(plugin, Path) or plugin.endswith(".py") or "/" in plugin:
        return _load_file(Path(plugin).expanduser().resolve())
    try:
        return import_module(plugin)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{plugin}.".startswith(f"{error.name}."):
            raise _failed(plugin, error) from error  # the module is there, and lacks another
        raise ValueError(f"plug-in {plugin!r} given, expected a file such as mine.py, or a module to import") from None
    except Exception as error:
        raise _failed(plugin, error) from error


def _load_file(path: Path) -> ModuleType:
    if path in _LOADED:
        return _LOADED[path]
    if not path.is_file():
        raise ValueError(f"plug-in {path} given, expected a file that exists")
    if (known := _imported(path)) is not None:
        return known
    name = PLUGIN + path.stem
    spec = spec_from_file_location(name, path, loader=_FromSource(name, str(path)))
    if not path.stem.isidentifier() or spec is None or spec.loader is None:
        raise ValueError(f"plug-in {path} given, expected a name of letters, digits and underscores that ends in .py")
    if name in sys.modules:
        raise ValueError(f"plug-in {path} given beside {sys.modules[name].__file__}, expected files of different names")
    module = module_from_spec(spec)
    sys.modules[name] = module  # before it runs: dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise _failed(str(path), error) from error
    _LOADED[path] = module
    return module


def _imported(path: Path) -> ModuleType | None:
    """The module of a file that runs as a script, or was imported without this function."""
    alike = (m for m in list(sys.modules.values()) if Path(str(vars(m).get("__file__"))).name == path.name)
    return next((m for m in alike if Path(str(m.__file__)).resolve() == path), None)


def _failed(plugin: str, error: Exception) -> ValueError:
    """The error of a plug-in with the last of its own lines that led there."""
    if isinstance(error, SyntaxError):
        place = f" in line {error.lineno}"
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f.lineno for f in frames if f.filename == plugin]
        place = f" in line {own[-1]}" if own else ""
    return ValueError(f"plug-in {plugin} given, which raises {type(error).__name__}{place}: {error}")
