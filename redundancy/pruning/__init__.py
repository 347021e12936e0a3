"""Methods of token reduction as decisions: `method(tokens) -> Reduction`. Names are imported when first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from redundancy.pruning.controls import AveragePool as AveragePool
    from redundancy.pruning.controls import FirstOf2x2 as FirstOf2x2
    from redundancy.pruning.controls import FrameDrop as FrameDrop
    from redundancy.pruning.controls import RandomOf2x2 as RandomOf2x2
    from redundancy.pruning.controls import RandomTokens as RandomTokens
    from redundancy.pruning.controls import UniformTokens as UniformTokens
    from redundancy.pruning.dycoke import DyCoke as DyCoke
    from redundancy.pruning.fastv import FastV as FastV
    from redundancy.pruning.fastvid import FastVID as FastVID
    from redundancy.pruning.holitom import HoliTom as HoliTom
    from redundancy.pruning.holitom_inner import HoliTomInner as HoliTomInner
    from redundancy.pruning.named import as_inner as as_inner
    from redundancy.pruning.named import as_method as as_method
    from redundancy.pruning.prunevid import PruneVid as PruneVid
    from redundancy.pruning.prunevid_stage2 import PruneVidStage2 as PruneVidStage2
    from redundancy.pruning.random_inner import RandomInner as RandomInner
    from redundancy.pruning.segment import SEGMENTERS as SEGMENTERS
    from redundancy.pruning.table import INNER_METHODS as INNER_METHODS
    from redundancy.pruning.table import METHODS as METHODS
    from redundancy.pruning.vcast import VCast as VCast
    from redundancy.pruning.vidcom2 import VidCom2 as VidCom2
    from redundancy.pruning.visionzip import VisionZip as VisionZip

_HOME = {
    "RandomOf2x2": "controls",
    "FirstOf2x2": "controls",
    "AveragePool": "controls",
    "FrameDrop": "controls",
    "UniformTokens": "controls",
    "RandomTokens": "controls",
    "PruneVid": "prunevid",
    "VisionZip": "visionzip",
    "DyCoke": "dycoke",
    "VidCom2": "vidcom2",
    "FastV": "fastv",
    "FastVID": "fastvid",
    "PruneVidStage2": "prunevid_stage2",
    "RandomInner": "random_inner",
    "HoliTom": "holitom",
    "HoliTomInner": "holitom_inner",
    "INNER_METHODS": "table",
    "METHODS": "table",
    "SEGMENTERS": "segment",
    "VCast": "vcast",
    "as_inner": "named",
    "as_method": "named",
}
__all__ = [*sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'redundancy.pruning' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"redundancy.pruning.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
