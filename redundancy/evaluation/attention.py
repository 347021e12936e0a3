"""Attention of the full model to a video, layer by layer: what a reduction loses of it, and what tells it before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import xarray as xr
from jaxtyping import Float
from torch import Tensor

from redundancy.checks import require_type
from redundancy.evaluation.decisions import SALIENCE
from redundancy.metrics.attention import (
    attention_lost,
    salience_attention_agreement,
    top_mass,
    top_salience_mass,
    video_share,
)
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens

ALL_LAYERS = "all"
LOST_MEASURES = {  # of `lost_by_layer`, and what they mean
    "attention_lost": "attention on tokens that are not kept, as a share of that on the video",
    "attention_lost_sources": "attention on tokens of which nothing is kept",
    "expected": "what a random choice of as many tokens loses on average: the share not kept",
    "least": "what the best choice of as many tokens loses",
    "excess": "attention_lost minus expected",
    "reached": "part of the way from a random choice to the best one: (expected - lost) / (expected - least)",
}
TOLD_MEASURES = {  # of `told_by_layer`
    "salience_attention_agreement": "rank correlation over all video tokens",
    "salience_auc": "area under the ROC curve for the most attended tenth",
    "held": "attention on the quarter of each frame's tokens that score highest, as a share of that on the video",
}
NO_CHOICE = 1e-6  # float32 shares: below it no choice of tokens is better than another


class LayerAttention(NamedTuple):
    """Attention to a video of one prompt, layer by layer and of all layers together.

    `attention` `[layer, query, T, N]`: the last entry is the sum of the others, each by what it gives the video. `mass`
    `[layer]` is the share of each layer's rows on the video, without that sum.
    """

    attention: Float[Tensor, "layers queries frames tokens"]
    mass: Float[Tensor, "real_layers"]

    @property
    def names(self) -> list[str]:
        """Numbers of the layers as text, then "all"."""
        return [*map(str, range(len(self.attention) - 1)), ALL_LAYERS]


def layer_attention(capture: xr.Dataset) -> LayerAttention:
    """Attention of a capture of the full model, see `capture(..., attention_rows=...)`.

    Raises
    ------
    ValueError
        If the capture holds no attention to all tokens of the video.
    """
    require_type("capture", capture, xr.Dataset, expected="a capture of the full model")
    if "attention" not in capture or "token" not in capture["attention"].dims:
        raise ValueError('a capture without attention to the video given, expected one with attention_rows="last"')
    rows = capture["attention"].transpose("layer", "query", "frame", "token").values
    attention = torch.from_numpy(rows).float()
    mass = video_share(torch.from_numpy(capture["attention_mass"].values)).mean(1)
    return LayerAttention(torch.cat([attention, attention.sum(0, keepdim=True)]), mass)


def lost_by_layer(found: LayerAttention, reduction: Reduction) -> Iterator[dict[str, float | str]]:
    """What a reduction throws away of the attention, beside what chance and the best choice would; a row per layer.

    Returns
    -------
    Columns: `layer` and `LOST_MEASURES`, of attention the means over queries. `reached` is 0 for a random choice, 1 for
    the most attended tokens, and NaN where no choice is better than another.
    """
    reduction = reduction.to(found.attention.device)  # a capture lies on the host
    kept = len(torch.unique(reduction.anchor_token)) / (reduction.grid.frames * reduction.grid.tokens_per_frame)
    lost = attention_lost(found.attention, reduction)
    least = 1 - top_mass(found.attention, top=(kept,))[..., 0] if kept else torch.ones_like(lost.attention_lost)
    values = [x.mean(1).tolist() for x in (lost.attention_lost, lost.attention_lost_sources, least)]
    for layer, place, content, best in zip(found.names, *values, strict=True):
        possible = 1 - kept - best
        yield {
            "layer": layer,
            "attention_lost": place,
            "attention_lost_sources": content,
            "expected": 1 - kept,
            "least": best,
            "excess": place - (1 - kept),
            "reached": (1 - kept - place) / possible if possible > NO_CHOICE else float("nan"),
        }


def told_by_layer(
    found: LayerAttention, tokens: VideoTokens, *, others: Sequence[LayerAttention] = ()
) -> Iterator[dict[str, float | str]]:
    """How well every salience of the tokens, and their mere order, tell the attention: a row per layer and source.

    Parameters
    ----------
    tokens
        Of the same video.
    others
        Attention of other prompts to the same video: its mean at the same layer is a source, "other questions".

    Returns
    -------
    Columns: `layer`, `source`, `video_share` (attention on the video) and `TOLD_MEASURES`.
    """
    T, N = tokens.grid.frames, tokens.grid.tokens_per_frame
    on = found.attention.device
    scores = {s: tokens.salience_from(s).to(on) for s in SALIENCE if s in tokens.salience}
    scores["order"] = torch.arange(T * N, dtype=torch.float32, device=on).view(T, N)
    of_others = [other.attention.mean(1) for other in others]
    for at, layer in enumerate(found.names):
        sources = dict(scores)
        if of_others:
            sources["other questions"] = torch.stack([o[at] / o[at].sum() for o in of_others]).mean(0)
        mass = found.mass.mean().item() if layer == ALL_LAYERS else found.mass[at].item()
        for source, score in sources.items():
            agreement = salience_attention_agreement(found.attention[at], score)
            values = {name: getattr(agreement, name).nanmean().item() for name in agreement._fields}
            values["held"] = top_salience_mass(found.attention[at], score).mean().item()
            yield {"layer": layer, "source": source, "video_share": mass, **values}
