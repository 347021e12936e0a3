"""Methods of token reduction as decisions: `method(tokens) -> Reduction`. Names are imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redundancy.pruning.fastvid import FastVID as FastVID
    from redundancy.pruning.holitom import HoliTom as HoliTom
    from redundancy.pruning.holitom_inner import HoliTomInner as HoliTomInner
    from redundancy.pruning.segment import SEGMENTERS as SEGMENTERS
    from redundancy.pruning.table import INNER_METHODS as INNER_METHODS
    from redundancy.pruning.table import METHODS as METHODS
    from redundancy.pruning.vcast import VCast as VCast

_HOME = {
    "FastVID": "fastvid",
    "HoliTom": "holitom",
    "HoliTomInner": "holitom_inner",
    "INNER_METHODS": "table",
    "METHODS": "table",
    "SEGMENTERS": "segment",
    "VCast": "vcast",
}
__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'redundancy.pruning' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"redundancy.pruning.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
