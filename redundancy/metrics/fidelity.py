"""How far a reduced model is from the full one.

Logits and hidden states are those of the same text positions in both models, in the same order; any number of dims may
lead. Distributions are taken in float64 from whatever dtype comes in.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from redundancy.metrics.registry import metric

NO_DISTRIBUTION = "where logits hold NaN"


@metric(
    dims=("query",),
    unit="nat",
    bounds=(0, float("inf")),
    higher="the reduced model predicts the next token differently",
    source="own; Kullback and Leibler 1951",
    known=("equal logits: 0", "(1/2, 1/2) against (3/4, 1/4): ln(2 / sqrt 3)"),
    undefined=NO_DISTRIBUTION,
)
def next_token_kl(
    full_logits: Float[Tensor, "*queries vocabulary"], reduced_logits: Float[Tensor, "..."]
) -> Float[Tensor, "*queries"]:
    """Kullback-Leibler divergence of the next-token distributions, `KL(p || q) = sum p ln(p / q)`.

    Parameters
    ----------
    full_logits, reduced_logits
        `[query, vocabulary]` of the full model (p) and the reduced one (q).

    Returns
    -------
    `[query]` float32; infinite where the reduced model excludes what the full one does not.

    Raises
    ------
    ValueError
        If the two do not have the same shape.
    """
    p, q = _log_probabilities(full_logits, reduced_logits)
    return _divergence(p, q).float()


@metric(
    dims=("query",),
    unit="nat",
    bounds=(0, math.log(2)),
    higher="the reduced model predicts the next token differently",
    source="own; Lin 1991",
    known=("equal logits: 0", "certain of different tokens: ln 2"),
    undefined=NO_DISTRIBUTION,
)
def jensen_shannon(
    full_logits: Float[Tensor, "*queries vocabulary"], reduced_logits: Float[Tensor, "..."]
) -> Float[Tensor, "*queries"]:
    """Jensen-Shannon divergence of the next-token distributions, `(KL(p || m) + KL(q || m)) / 2`, `m = (p + q) / 2`.

    Parameters
    ----------
    full_logits, reduced_logits
        `[query, vocabulary]`; the order of the two does not matter.

    Returns
    -------
    `[query]` float32.

    Raises
    ------
    ValueError
        If the two do not have the same shape.
    """
    p, q = _log_probabilities(full_logits, reduced_logits)
    middle = torch.logaddexp(p, q) - math.log(2)
    return ((_divergence(p, middle) + _divergence(q, middle)) / 2).float()


@metric(
    dims=("query",),
    unit="1",
    bounds=(0, 1),
    higher="the reduced model gives the full model's answer",
    known=("equal logits: 1", "another token is the likeliest: 0"),
    undefined=NO_DISTRIBUTION,
)
def top1_agreement(
    full_logits: Float[Tensor, "*queries vocabulary"], reduced_logits: Float[Tensor, "..."]
) -> Float[Tensor, "*queries"]:
    """1 where both models rate the same token highest, else 0; ties to the lowest index.

    Parameters
    ----------
    full_logits, reduced_logits
        `[query, vocabulary]`, or the logits of the options of a question.

    Returns
    -------
    `[query]` float32, 0 or 1; its mean is the rate of agreement.

    Raises
    ------
    ValueError
        If the two do not have the same shape.

    Examples
    --------
    >>> top1_agreement(torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 3.0]]))
    tensor([1.])
    """
    _expect_same_shape(full_logits, reduced_logits)
    same = full_logits.argmax(-1) == reduced_logits.argmax(-1)
    return same.float().masked_fill(_undefined(full_logits, reduced_logits), torch.nan)


@metric(
    dims=("query",),
    unit="rank",
    bounds=(1, float("inf")),
    higher="the full model's answer is further down the reduced model's list",
    known=("equal logits: 1", "reversed logits of V tokens: V"),
    undefined=NO_DISTRIBUTION,
)
def answer_rank(
    full_logits: Float[Tensor, "*queries vocabulary"], reduced_logits: Float[Tensor, "..."]
) -> Float[Tensor, "*queries"]:
    """Rank of the full model's top answer in the reduced model's distribution, 1 = first; ties to the lowest index.

    Parameters
    ----------
    full_logits, reduced_logits
        `[query, vocabulary]`, or the logits of the options of a question.

    Returns
    -------
    `[query]` float32, at most the size of the vocabulary.

    Raises
    ------
    ValueError
        If the two do not have the same shape.
    """
    _expect_same_shape(full_logits, reduced_logits)
    answer = full_logits.argmax(-1, keepdim=True)
    value = reduced_logits.gather(-1, answer)
    earlier = torch.arange(full_logits.shape[-1], device=answer.device) < answer
    before = (reduced_logits > value) | ((reduced_logits == value) & earlier)
    return (1 + before.sum(-1)).float().masked_fill(_undefined(full_logits, reduced_logits), torch.nan)


@metric(
    dims=("layer", "query"),
    unit="1",
    bounds=(-1, 1),
    higher="the reduced model's text sees the video as the full model's does",
    known=("equal states: 1", "opposite states: -1", "at 60 degrees: .5"),
    undefined="next to a zero vector",
)
def hidden_cosine(
    full_hidden: Float[Tensor, "*rows channels"], reduced_hidden: Float[Tensor, "..."]
) -> Float[Tensor, "*rows"]:
    """Cosine of the hidden states of the text positions in both models.

    Parameters
    ----------
    full_hidden, reduced_hidden
        `[layer, query, channels]` at the same text positions; video positions have no counterpart once tokens are gone.

    Returns
    -------
    `[layer, query]` float32, summed in float64.

    Raises
    ------
    ValueError
        If the two do not have the same shape.
    """
    _expect_same_shape(full_hidden, reduced_hidden)
    a, b = full_hidden.double(), reduced_hidden.double()
    size = torch.linalg.vector_norm(a, dim=-1) * torch.linalg.vector_norm(b, dim=-1)
    cosine: Tensor = (a * b).sum(-1) / size
    return cosine.float()


def _log_probabilities(whole: Tensor, reduced: Tensor) -> tuple[Float64[Tensor, "..."], Float64[Tensor, "..."]]:
    """Log of both softmaxes in float64."""
    _expect_same_shape(whole, reduced)
    return whole.double().log_softmax(-1), reduced.double().log_softmax(-1)


def _divergence(p: Tensor, q: Tensor) -> Float64[Tensor, "..."]:
    """KL(p || q) of log probabilities, with 0 ln 0 = 0; rounding below 0 is cut."""
    probability = p.exp()
    terms = torch.where(probability == 0, 0.0, probability * (p - q))
    divergence: Tensor = terms.sum(-1).clamp_min(0)
    return divergence


def _undefined(whole: Tensor, reduced: Tensor) -> Bool[Tensor, "..."]:
    """True where a row of logits holds NaN."""
    return (whole.isnan() | reduced.isnan()).any(-1)


def _expect_same_shape(whole: Tensor, reduced: Tensor) -> None:
    """Refuse what would otherwise be broadcast in silence."""
    if whole.shape != reduced.shape:
        raise ValueError(
            f"shape {tuple(reduced.shape)} of the reduced model given, expected {tuple(whole.shape)} of the full one"
        )
