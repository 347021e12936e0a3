"""Sources of salience: `[T, N]` scores of how much a token matters, larger for more. `SALIENCE_SOURCES` names them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.metrics.visual import sinks_salience
from redundancy.pruning.part import Part, Registry
from redundancy.pruning.parts.draw import generator_of
from redundancy.pruning.settings import Needs, require_range
from redundancy.tokens import TokenLayout, VideoTokens


@dataclass(frozen=True)
class Salience(Part):
    """Base of sources of salience: `source(tokens)` gives `[T, N]` scores on the tokens' device."""

    @abstractmethod
    def __call__(self, tokens: VideoTokens) -> Float[Tensor, "frames tokens"]:
        """Scores of one video."""


@dataclass(frozen=True)
class Recorded(Salience):
    """What was recorded with the tokens: `VideoTokens.salience` of that name.

    Parameters
    ----------
    of
        Name of the source, such as `"received"`; also one that your own tokens carry.
    """

    of: str

    def __call__(self, tokens: VideoTokens) -> Float[Tensor, "frames tokens"]:
        """Scores of one video."""
        return tokens.salience_from(self.of)

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """The source of that name."""
        return Needs(salience=self.of)

    @property
    def as_setting(self) -> Any:
        """The name of the source."""
        return self.of


@dataclass(frozen=True)
class RandomSalience(Salience):
    """Uniform draws, the control of every source.

    Parameters
    ----------
    seed
        Of the draw; each video has its own stream.
    """

    name: ClassVar[str] = "random"

    seed: int = 0

    def __call__(self, tokens: VideoTokens) -> Float[Tensor, "frames tokens"]:
        """Scores of one video."""
        draw = torch.rand(*tokens.features.shape[:2], generator=generator_of(tokens, self.seed, stream="salience"))
        return draw.to(tokens.features.device)


@dataclass(frozen=True)
class WithoutSinks(Salience):
    """Another source with its sinks last: places whose salience is an outlier in most frames, see `sinks_salience`.

    Parameters
    ----------
    of
        Name of the source, as in `Recorded`.
    factor, share
        As in `sinks_salience`: deviations above the median, and share of the frames.

    Source: own, after Darcet et al. 2024 (arXiv:2309.16588).
    """

    name: ClassVar[str] = "without_sinks"

    of: str = "received"
    factor: float = 6.0
    share: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("factor", self.factor, 0)
        require_range("share", self.share, 0, 1, open_low=True)

    def __call__(self, tokens: VideoTokens) -> Float[Tensor, "frames tokens"]:
        """Scores of one video; those of sinks are the least of their frame."""
        score = tokens.salience_from(self.of)
        sink = sinks_salience(score, factor=self.factor, share=self.share).sinks_salience > 0
        return torch.where(sink, score.amin(1, keepdim=True), score)

    def needs(self, layout: TokenLayout | None = None) -> Needs:
        """The source that it changes."""
        return Needs(salience=self.of)


SALIENCE_SOURCES: Registry[Salience] = Registry("SALIENCE_SOURCES", "source of salience", Salience)
SALIENCE_SOURCES |= {name: Recorded(name) for name in ("pooling_head", "received", "mean_query", "norm")}
SALIENCE_SOURCES |= {RandomSalience.name: RandomSalience(), WithoutSinks.name: WithoutSinks()}
