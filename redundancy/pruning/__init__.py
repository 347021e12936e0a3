"""Methods of token reduction as decisions: `method(tokens) -> Reduction`. Names are imported when first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redundancy._lazy import lazy_names

if TYPE_CHECKING:
    from redundancy.pruning.base import InnerMethod as InnerMethod
    from redundancy.pruning.base import Method as Method
    from redundancy.pruning.methods.controls import AveragePool as AveragePool
    from redundancy.pruning.methods.controls import FirstOf2x2 as FirstOf2x2
    from redundancy.pruning.methods.controls import FrameDrop as FrameDrop
    from redundancy.pruning.methods.controls import RandomOf2x2 as RandomOf2x2
    from redundancy.pruning.methods.controls import RandomTokens as RandomTokens
    from redundancy.pruning.methods.controls import UniformTokens as UniformTokens
    from redundancy.pruning.methods.dycoke import DyCoke as DyCoke
    from redundancy.pruning.methods.fastv import FastV as FastV
    from redundancy.pruning.methods.fastvid import FastVID as FastVID
    from redundancy.pruning.methods.holitom import HoliTom as HoliTom
    from redundancy.pruning.methods.holitom_inner import HoliTomInner as HoliTomInner
    from redundancy.pruning.methods.prunevid import PruneVid as PruneVid
    from redundancy.pruning.methods.prunevid_stage2 import PruneVidStage2 as PruneVidStage2
    from redundancy.pruning.methods.random_inner import RandomInner as RandomInner
    from redundancy.pruning.methods.vcast import VCast as VCast
    from redundancy.pruning.methods.vidcom2 import VidCom2 as VidCom2
    from redundancy.pruning.methods.visionzip import VisionZip as VisionZip
    from redundancy.pruning.named import as_inner as as_inner
    from redundancy.pruning.named import as_method as as_method
    from redundancy.pruning.named import label_of as label_of
    from redundancy.pruning.parts.budget import BUDGETS as BUDGETS
    from redundancy.pruning.parts.budget import Budget as Budget
    from redundancy.pruning.parts.merge import MERGERS as MERGERS
    from redundancy.pruning.parts.merge import Merger as Merger
    from redundancy.pruning.parts.salience import SALIENCE_SOURCES as SALIENCE_SOURCES
    from redundancy.pruning.parts.salience import Salience as Salience
    from redundancy.pruning.parts.segment import SEGMENTERS as SEGMENTERS
    from redundancy.pruning.parts.segment import Segmenter as Segmenter
    from redundancy.pruning.parts.select import SELECTORS as SELECTORS
    from redundancy.pruning.parts.select import Selector as Selector
    from redundancy.pruning.registration import register as register
    from redundancy.pruning.table import INNER_METHODS as INNER_METHODS
    from redundancy.pruning.table import METHODS as METHODS

__getattr__, __dir__, __all__ = lazy_names(__name__, __file__)
