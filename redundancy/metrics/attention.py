"""What the language model attends to, from captured rows.

`attention` is a row per layer, head and query over the video tokens, as a part of everything that the query sees;
`attention_mass` is its mass on all video tokens, all newlines and all text. The dims layer, head and query lead; any
number of them may be absent (`head` is after a mean over heads). Everything is computed in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from redundancy.metrics.kernels.ranks import average_rank, spearman, top_count
from redundancy.metrics.registry import metric
from redundancy.reduction import Reduction

ROW = ("layer", "head", "query")
PARTS = ("video", "newline", "text")
ROWS_AT_ONCE = 256  # sorting takes several times the memory of its rows
NO_VIDEO_MASS = "in rows without attention on the video"


class AttentionEntropy(NamedTuple):
    """Entropy of attention on the video, and the number of tokens of the same entropy."""

    attention_entropy: Float[Tensor, "*rows"]
    effective_tokens: Float[Tensor, "*rows"]


class AttentionLost(NamedTuple):
    """Share of the attention on what is gone, as places and as content."""

    attention_lost: Float[Tensor, "*rows"]
    attention_lost_sources: Float[Tensor, "*rows"]


class SalienceAttentionAgreement(NamedTuple):
    """Rank correlation of salience and attention, and how well salience finds the most attended tokens."""

    salience_attention_agreement: Float[Tensor, "*rows"]
    salience_auc: Float[Tensor, "*rows"]


@metric(
    dims=ROW,
    unit="1",
    bounds=(0, 1),
    higher="the language model looks at the video more than at text and newlines",
    known=("uniform row: N_video / N_keys", "no video token seen: 0"),
    undefined="in rows that see no key",
)
def video_share(attention_mass: Float[Tensor, "*rows parts"]) -> Float[Tensor, "*rows"]:
    """Share of a row's attention on video tokens.

    Parameters
    ----------
    attention_mass
        `[layer, head, query, part]` mass on video, newlines and text.

    Returns
    -------
    `[layer, head, query]` float32.

    Raises
    ------
    ValueError
        If there are not three parts.

    Examples
    --------
    >>> video_share(torch.tensor([0.5, 0.1, 0.4]))
    tensor(0.5000)
    """
    if attention_mass.shape[-1] != len(PARTS):
        raise ValueError(f"attention_mass with {attention_mass.shape[-1]} parts given, expected {PARTS}")
    mass = attention_mass.float()
    share: Tensor = mass[..., PARTS.index("video")] / mass.sum(-1)
    return share


@metric(
    dims=(*ROW, "frame"),
    unit="1",
    bounds=(0, 1),
    higher="the language model looks at this frame more",
    known=("uniform row: tokens per frame / N_keys",),
)
def frame_mass(attention: Float[Tensor, "*rows frames tokens"]) -> Float[Tensor, "*rows frames"]:
    """Attention on each frame, as a part of everything that the row sees.

    Parameters
    ----------
    attention
        `[layer, head, query, T, N]`.

    Returns
    -------
    `[layer, head, query, T]` float32; sums to the row's mass on video tokens.
    """
    return attention.float().sum(-1)


@metric(
    dims={"attention_entropy": ROW, "effective_tokens": ROW},
    unit="nat",
    bounds=(0, float("inf")),
    higher="attention is spread over more of the video's tokens",
    source="own; Shannon 1948",
    known=("uniform row: ln N_video and N_video", "one attended token: 0 and 1"),
    undefined=NO_VIDEO_MASS,
)
def attention_entropy(attention: Float[Tensor, "*rows frames tokens"]) -> AttentionEntropy:
    """Entropy `H = -sum p ln p` of a row renormalised on the video tokens, and `exp(H)`, an effective number of them.

    Parameters
    ----------
    attention
        `[layer, head, query, T, N]`.

    Returns
    -------
    `[layer, head, query]` each, float32: `attention_entropy`, at most ln TN, and `effective_tokens`, 1..TN.
    """
    entropy = torch.special.entr(_video_shares(attention)).sum(-1)
    return AttentionEntropy(entropy, entropy.exp())


@metric(
    dims=(*ROW, "top"),
    unit="1",
    bounds=(0, 1),
    higher="few tokens hold the attention on the video",
    known=("uniform row: ceil(r n) / n", "one attended token: 1"),
    undefined=NO_VIDEO_MASS,
)
def top_mass(
    attention: Float[Tensor, "*rows frames tokens"], *, top: Sequence[int | float] = (0.05, 0.1, 0.25)
) -> Float[Tensor, "*rows top"]:
    """Share of the attention on the video that its most attended tokens hold.

    Parameters
    ----------
    attention
        `[layer, head, query, T, N]`.
    top
        Shares r of the n = TN video tokens; the ceil(r n) most attended ones count.

    Returns
    -------
    `[layer, head, query, top]` float32.

    Raises
    ------
    ValueError
        If a share is not in (0, 1], or there is none.
    """
    shares = _video_shares(attention)
    counts = [top_count(share, shares.shape[-1]) for share in top]
    if not counts:
        raise ValueError(f"top={top} given, expected at least one share")
    largest = shares.topk(max(counts)).values
    return torch.stack([largest[..., :count].sum(-1) for count in counts], -1)


@metric(
    dims={"attention_lost": ROW, "attention_lost_sources": ROW},
    unit="1",
    bounds=(0, 1),
    higher="the reduction drops more of what the full model looks at",
    known=(
        "uniform row, K of N tokens selected: 1 - K / N",
        "keep-all: 0",
        "merging: content lost is less than places",
    ),
    undefined=NO_VIDEO_MASS,
)
def attention_lost(attention: Float[Tensor, "*rows frames tokens"], reduction: Reduction) -> AttentionLost:
    """Share of the attention on the video that falls on tokens that a reduction drops.

    Parameters
    ----------
    attention
        `[layer, head, query, T, N]` of the full model.
    reduction
        Of the same video.

    Returns
    -------
    `[layer, head, query]` each, float32: `attention_lost` on tokens that are not anchors, and
    `attention_lost_sources` on tokens that no output takes anything from (weight > 0); what merging saves is the
    difference.

    Raises
    ------
    ValueError
        If the rows are not those of the reduction's grid.
    """
    expected = (reduction.grid.frames, reduction.grid.tokens_per_frame)
    if tuple(attention.shape[-2:]) != expected:
        raise ValueError(f"attention on {tuple(attention.shape[-2:])} given, expected (frames, tokens) = {expected}")
    shares = _video_shares(attention)
    sources = reduction.slots[reduction.source[reduction.weight > 0]]
    return AttentionLost(_outside(shares, reduction.anchor_token), _outside(shares, sources))


@metric(
    dims={"salience_attention_agreement": ROW, "salience_auc": ROW},
    unit="1",
    bounds=(-1, 1),
    higher="salience of the vision tower says what the language model looks at",
    known=("attention = salience: 1 and 1", "reversed order: -1 and 0"),
    undefined="where attention or salience is constant; the AUC where attention is, or all tokens are among the top",
)
def salience_attention_agreement(
    attention: Float[Tensor, "*rows frames tokens"],
    salience: Float[Tensor, "frames tokens"],
    *,
    attended: int | float = 0.1,
) -> SalienceAttentionAgreement:
    """Spearman correlation of salience and attention over all tokens, and ROC AUC of salience for the most attended.

    Parameters
    ----------
    attention
        `[layer, head, query, T, N]`.
    salience
        `[T, N]` from the vision tower.
    attended
        Share r: the ceil(r TN) most attended tokens of a row are to be found, ties to the lowest index.

    Returns
    -------
    `[layer, head, query]` each, float32: `salience_attention_agreement`, and `salience_auc` in [0, 1], .5 for a
    salience that says nothing.

    Raises
    ------
    ValueError
        If the share is not in (0, 1].
    """
    rows, scores = attention.float().flatten(-2), salience.float().flatten()
    k = top_count(attended, len(scores))
    blocks = torch.split(rows.reshape(-1, len(scores)), ROWS_AT_ONCE)
    correlation = torch.cat([spearman(block, scores) for block in blocks])
    auc = torch.cat([_auc_for_top(block, scores, k) for block in blocks])
    return SalienceAttentionAgreement(correlation.view(rows.shape[:-1]), auc.view(rows.shape[:-1]))


@metric(
    dims=ROW,
    unit="1",
    bounds=(0, 1),
    higher="the most salient tokens of each frame hold more of the attention on the video",
    known=("uniform row: ceil(r N) / N, as of any salience by chance", "attention on the most salient token alone: 1"),
    undefined=NO_VIDEO_MASS,
    default=False,
)
def top_salience_mass(
    attention: Float[Tensor, "*rows frames tokens"],
    salience: Float[Tensor, "frames tokens"],
    *,
    top: int | float = 0.25,
) -> Float[Tensor, "*rows"]:
    """Share of the attention on the video that the most salient tokens of each frame hold.

    Ranks of all tokens (`salience_attention_agreement`) say little where few of them hold most of the attention; this
    counts what is held.

    Parameters
    ----------
    attention
        `[layer, head, query, T, N]`.
    salience
        `[T, N]`, or any other score of the tokens.
    top
        Share r of each frame: its ceil(r N) most salient tokens count, ties to the lowest index.

    Returns
    -------
    `[layer, head, query]` float32.

    Raises
    ------
    ValueError
        If the share is not in (0, 1], or attention and salience are of different grids.
    """
    if attention.shape[-2:] != salience.shape:
        raise ValueError(
            f"salience {tuple(salience.shape)} given, expected that of {tuple(attention.shape[-2:])} tokens"
        )
    rows = attention.float()
    best = salience.sort(dim=1, descending=True, stable=True).indices[:, : top_count(top, salience.shape[1])]
    held = rows.gather(-1, best.to(rows.device).expand(*rows.shape[:-2], -1, -1)).sum((-2, -1))
    return held / rows.sum((-2, -1))


def _auc_for_top(rows: Float[Tensor, "rows points"], scores: Float[Tensor, "points"], k: int) -> Float[Tensor, "rows"]:
    """ROC AUC of the scores for the k highest points of each row, by the rank sum of Mann and Whitney."""
    highest = torch.sort(rows, dim=-1, descending=True, stable=True).indices[:, :k]
    above = average_rank(scores)[highest].sum(-1) - k * (k + 1) / 2
    constant = (rows == rows[:, :1]).all(-1)
    return (above / (k * (len(scores) - k))).masked_fill(constant, torch.nan).float()


def _video_shares(attention: Tensor) -> Float[Tensor, "*rows points"]:
    """Rows over all video tokens, renormalised to sum to 1."""
    rows = attention.float().flatten(-2)
    return rows / rows.sum(-1, keepdim=True)


def _outside(shares: Tensor, kept: Int64[Tensor, "kept"]) -> Float[Tensor, "*rows"]:
    """Mass of each row on tokens that are not among `kept`; newlines (-1) are no tokens."""
    outside = torch.ones(shares.shape[-1], dtype=torch.bool, device=shares.device)
    outside[kept[kept >= 0].to(shares.device)] = False
    lost = shares[..., outside].sum(-1)
    return lost.masked_fill(shares.isnan().any(-1), torch.nan)
