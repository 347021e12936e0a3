"""Sources of salience: `[T, N]` scores of how much a token matters, larger for more. `SALIENCE_SOURCES` names them."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from redundancy.pruning.part import Part, Registry
from redundancy.pruning.parts.draw import generator_of
from redundancy.pruning.settings import Needs
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


SALIENCE_SOURCES: Registry[Salience] = Registry("SALIENCE_SOURCES", "source of salience", Salience)
SALIENCE_SOURCES |= {name: Recorded(name) for name in ("pooling_head", "received", "mean_query", "norm")}
SALIENCE_SOURCES |= {RandomSalience.name: RandomSalience()}
