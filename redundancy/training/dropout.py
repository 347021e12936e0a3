"""Which video tokens a training step drops, so that answers degrade gracefully when a method drops some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

SHARES = (0.05, 0.1, 0.15, 0.25, 0.4, 0.6)
FEWEST = 4
SOMETIMES = 0.3  # how often each bias is in use
OFTEN = 0.5  # how often what shows something is favoured


@dataclass(frozen=True)
class Dropout:
    """What is kept in one step, the same number for every video of the batch.

    Parameters
    ----------
    keep
        Ascending numbers of the kept video tokens.
    renumbered
        Whether the kept tokens take consecutive positions instead of their own.
    """

    keep: Int64[Tensor, "videos kept"]
    renumbered: bool


def draw_dropout(
    tokens: Float[Tensor, "videos tokens width"],
    per_step: int,
    generator: torch.Generator,
    *,
    shows: UInt8[Tensor, "videos tokens"],
    probability: float,
    renumber: float,
    shares: Sequence[float] = SHARES,
) -> Dropout | None:
    """Draw what is kept; None keeps everything.

    Tokens are drawn at random. In `SOMETIMES` of the steps, each on its own, some temporal steps are favoured (mildly,
    or so that whole steps vanish), and tokens of large norm are; in `OFTEN` of them tokens that show something are, as
    methods favour them: what is asked about is then seen among few tokens, and found sooner among many.

    Parameters
    ----------
    tokens
        Of each video.
    per_step
        Tokens of a temporal step.
    generator
        Of the draws, on the CPU.
    shows
        What each token shows: 0 the background, 1 a thing, 2 the digit.
    probability
        That tokens are dropped at all.
    renumber
        That the kept ones are renumbered.
    shares
        Of the tokens, one of which is kept.
    """
    videos, total = tokens.shape[:2]
    # always as many draws, so that one decision does not change the next
    draws = torch.rand(9, generator=generator).tolist()
    dropped, share, clumped, strongly, by_norm, weight, renumbered, favoured, surely = draws
    noise = torch.rand(videos, total, generator=generator)
    steps = torch.rand(videos, total // per_step, generator=generator)
    if dropped >= probability:
        return None
    scores = noise.to(tokens.device)
    if clumped < SOMETIMES:
        scores = scores + (4 if strongly < 0.5 else 1) * steps.to(tokens.device).repeat_interleave(per_step, 1)
    if by_norm < SOMETIMES:
        scores = scores + (0.1 if weight < 0.5 else 0.5) * tokens.float().norm(dim=-1)
    if favoured < OFTEN:
        scores = scores + (1 if surely < 0.5 else 0.3) * shows
    count = min(total, max(FEWEST, int(total * shares[int(share * len(shares))])))
    return Dropout(scores.topk(count, 1).indices.sort(1).values, renumbered < renumber)
