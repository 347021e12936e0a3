"""What a method decides on tokens: with sources that they carry, for each seed, and beside it as many random ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, NamedTuple

import torch

from redundancy.pruning.base import Method
from redundancy.pruning.methods.controls import RandomTokens
from redundancy.pruning.parts.draw import generator_of
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens

SALIENCE = ("pooling_head", "mean_query", "received", "norm")  # what published methods read first


class Draw(NamedTuple):
    """What a method decided: with which seed (-1: nothing is drawn), and which of its sources were replaced."""

    seed: int
    reduction: Reduction
    note: str


def salience_of(tokens: VideoTokens) -> str:
    """The first source of salience that the tokens carry, the published methods' choices first.

    Raises
    ------
    ValueError
        If they carry none.
    """
    found = next((s for s in SALIENCE if s in tokens.salience), None)
    if found is None:
        raise ValueError(f"tokens with salience {sorted(tokens.salience)} given, expected some of {SALIENCE}")
    return found


def suited(method: Method, tokens: VideoTokens) -> tuple[Method, str]:
    """The method with sources that the tokens carry, and what was put in place of what (empty: nothing)."""
    needs, changed = method.needs(tokens.layout), {}
    if needs.salience is not None and needs.salience not in tokens.salience:
        changed["salience"] = (needs.salience, salience_of(tokens))
    if needs.frame_features not in (None, "mean") and needs.frame_features not in tokens.frame_features:
        changed["features"] = (str(needs.frame_features), "mean")
    if not changed:
        return method, ""
    note = ", ".join(f"{new} in place of {old} as {field}" for field, (old, new) in changed.items())
    sources: Any = {field: new for field, (_, new) in changed.items()}
    return replace(method, **sources), note


def decisions(method: Method, tokens: VideoTokens, *, seeds: int, note: str = "") -> Iterator[Draw]:
    """What a method decides; if it draws, with as many seeds as asked for: its own, and those that follow."""
    if "seed" not in {f.name for f in fields(method)}:
        yield Draw(-1, method(tokens), note)
        return
    first = int(getattr(method, "seed"))  # noqa: B009
    for seed in range(first, first + seeds):
        drawn: Any = replace(method, seed=seed)  # type: ignore[call-arg]
        yield Draw(seed, drawn(tokens), note)


def random_like(reduction: Reduction, tokens: VideoTokens, *, seed: int, per_frame: bool = False) -> Reduction:
    """As many tokens as a reduction keeps, drawn over the whole video, or in each frame as many as it has there.

    Raises
    ------
    ValueError
        If another number is drawn, which would be no control.
    """
    T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
    if per_frame:
        anchors = reduction.anchor_token
        counts = torch.bincount(anchors[anchors >= 0].cpu() // N, minlength=T)
        draw = torch.rand(T, N, generator=generator_of(tokens, seed))
        rank = draw.argsort(dim=1, stable=True).argsort(dim=1)
        chosen = (rank < counts[:, None]).flatten().nonzero().flatten().to(tokens.features.device)
        drawn = Reduction.from_selection(chosen, grid=tokens.grid, method="random_tokens")
    else:
        drawn = RandomTokens(retention=reduction.kept / (T * N), seed=seed, across_frames=True)(tokens)
    if drawn.kept != reduction.kept:
        raise ValueError(f"{drawn.kept} random tokens drawn, expected {reduction.kept}")
    return drawn


def anchors_alone(reduction: Reduction) -> Reduction:
    """The outputs of a reduction with nothing merged into them: same anchors, order, placement and newlines."""
    pruned = Reduction.from_selection(reduction.anchor, grid=reduction.grid, slots=reduction.slots)
    return replace(
        pruned,
        placement=reduction.placement,
        positions=reduction.positions,
        newline=reduction.newline,
        requested=reduction.requested,
    )
