"""Reductions inside the language model at layers of a relative depth, for studies that run on models of any depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from redundancy.pruning.base import InnerMethod, Method
from redundancy.pruning.methods.fastv import FastV

RATES = ("drop_rate", "merge_rate")  # names of settings with the share that goes
LAYERS = 28  # of the language model with 7B parameters on which the papers name layers


class FastVByQuestion(FastV):
    """FastV by the attention of all tokens of the question, of each place the largest."""

    queries: ClassVar[Literal["last", "question", "none"]] = "question"


@dataclass(frozen=True)
class Inside:
    """A reduction inside the model, at layers of a relative depth.

    Parameters
    ----------
    method
        Its layer and rate are set; what it does stays.
    shares
        (Relative depth, share of the tokens in front of the first layer that stays from there on), ascending.
    outer
        What reduces the tokens in front of the model.
    taken
        Relative depths of earlier conditions, at whose layers nothing is measured again.
    """

    method: InnerMethod
    shares: tuple[tuple[float, float], ...]
    outer: Method | None = None
    taken: tuple[float, ...] = ()

    def methods(self, layers: int) -> tuple[InnerMethod, ...] | None:
        """The methods in a model of so many layers; None where their layers are one, or were measured already."""
        at = [layer_at(depth, layers) for depth, _ in self.shares]
        if len(set(at)) < len(at) or set(at) & {layer_at(depth, layers) for depth in self.taken}:
            return None
        left, made = 1.0, []
        for layer, (_, share) in zip(at, self.shares, strict=True):
            rate = next((name for name in RATES if hasattr(self.method, name)), None)
            changed: Any = {"layer": layer} | ({} if rate is None else {rate: 1 - share / left})
            made.append(replace(self.method, **changed))
            left = share
        return tuple(made)


def layer_at(depth: float, layers: int) -> int:
    """The decoder layer of a relative depth, at least the second: a reduction reads the one before.

    >>> layer_at(0.5, 28), layer_at(2 / 28, 4)
    (14, 1)
    """
    return min(max(round(depth * layers), 1), layers - 1)


def rate_of(method: InnerMethod) -> float:
    """Share of the tokens that a method takes away in its layer."""
    return float(next(getattr(method, name) for name in RATES if hasattr(method, name)))


def tokens_of_layers(methods: Sequence[InnerMethod], first: int, last: float, *, layers: int) -> list[float]:
    """Video tokens in every layer: as they enter, as methods round them, and from the last method on as it was.

    Parameters
    ----------
    first, last
        Tokens in front of the model, and behind the last method.
    layers
        Of the model.
    """
    tokens = [float(first)] * layers
    for i, one in enumerate(sorted(methods, key=lambda method: method.layer)):
        before = tokens[one.layer - 1]
        kept = last if i == len(methods) - 1 else before - int(rate_of(one) * before)
        tokens[one.layer :] = [kept] * (layers - one.layer)
    return tokens
