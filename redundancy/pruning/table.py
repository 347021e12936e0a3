"""The tables of methods, from which generic tests, studies, command lines and the README are made.

A new method is one file and one line here; what is known of it stands in its class.
"""

from __future__ import annotations

from dataclasses import dataclass

from redundancy.pruning.base import InnerMethod, Kind, Method
from redundancy.pruning.methods.controls import (
    AveragePool,
    FirstOf2x2,
    FrameDrop,
    RandomOf2x2,
    RandomTokens,
    UniformTokens,
)
from redundancy.pruning.methods.dycoke import DyCoke
from redundancy.pruning.methods.fastv import FastV
from redundancy.pruning.methods.fastvid import FastVID
from redundancy.pruning.methods.holitom import HoliTom
from redundancy.pruning.methods.holitom_inner import HoliTomInner
from redundancy.pruning.methods.prunevid import PruneVid
from redundancy.pruning.methods.prunevid_stage2 import PruneVidStage2
from redundancy.pruning.methods.random_inner import RandomInner
from redundancy.pruning.methods.vcast import VCast
from redundancy.pruning.methods.vidcom2 import VidCom2
from redundancy.pruning.methods.visionzip import VisionZip
from redundancy.tokens import VideoTokens


@dataclass(frozen=True)
class MethodEntry:
    """A method of the table: a default instance, and what its class says of it."""

    method: Method

    @property
    def paper(self) -> str:
        """Where it was published."""
        return self.method.paper

    @property
    def kind(self) -> Kind:
        """`"method"`, `"baseline"` or `"control"`."""
        return self.method.kind

    @property
    def row_sums(self) -> tuple[float, ...]:
        """Values that a row of W may sum to."""
        return self.method.row_sums

    @property
    def unique_anchors(self) -> bool:
        """True if no two outputs stand in the same place."""
        return self.method.unique_anchors

    def bounds(self, tokens: VideoTokens) -> tuple[float, float]:
        """Least and greatest share of these tokens that the default keeps; of others `method.bounds(tokens)`."""
        return self.method.bounds(tokens)


@dataclass(frozen=True)
class InnerEntry:
    """A method inside the language model: a default instance, with the published layer, and what its class says."""

    method: InnerMethod

    @property
    def paper(self) -> str:
        """Where it was published."""
        return self.method.paper

    @property
    def kind(self) -> Kind:
        """`"method"`, `"baseline"` or `"control"`."""
        return self.method.kind

    @property
    def outer(self) -> str | None:
        """Name of the outer method without which it cannot decide."""
        return self.method.outer


OUTER: tuple[Method, ...] = (
    FastVID(),
    HoliTom(),
    VCast(),
    VidCom2(),
    DyCoke(),
    VisionZip(),
    PruneVid(),
    RandomTokens(),
    UniformTokens(),
    FrameDrop(),
    AveragePool(),
    FirstOf2x2(),
    RandomOf2x2(),
)
INNER: tuple[InnerMethod, ...] = (HoliTomInner(), FastV(), PruneVidStage2(), RandomInner())

METHODS: dict[str, MethodEntry] = {method.name: MethodEntry(method) for method in OUTER}
INNER_METHODS: dict[str, InnerEntry] = {method.name: InnerEntry(method) for method in INNER}
