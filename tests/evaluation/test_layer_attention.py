"""Attention by layer: what is lost and what tells it, against values by hand, and the captured attention itself."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import redundancy as rd
from redundancy.evaluation.attention import (
    ALL_LAYERS,
    LOST_MEASURES,
    LayerAttention,
    layer_attention,
    lost_by_layer,
    told_by_layer,
)
from redundancy.pruning.methods.controls import UniformTokens
from redundancy.sources import list_videos
from redundancy.tokens import VideoTokens


@pytest.fixture
def tokens() -> VideoTokens:
    random = torch.Generator().manual_seed(0)
    features = torch.randn(3, 16, 8, generator=random)
    salience = torch.rand(3, 16, generator=random)
    return VideoTokens.from_features(features, rows=4, cols=4, salience={"received": salience})


def one_layer(attention: torch.Tensor) -> LayerAttention:
    """One layer and one query."""
    return LayerAttention(attention[None, None].expand(2, 1, -1, -1), attention.sum()[None])


def test_even_attention_is_lost_as_by_chance(tokens: VideoTokens) -> None:
    rows = list(lost_by_layer(one_layer(torch.full((3, 16), 0.01)), UniformTokens(0.25)(tokens)))
    assert [r["layer"] for r in rows] == ["0", ALL_LAYERS]
    for row in rows:
        assert set(row) == {"layer", *LOST_MEASURES}
        assert row["attention_lost"] == pytest.approx(0.75)
        assert row["least"] == pytest.approx(0.75)
        assert row["excess"] == pytest.approx(0, abs=1e-6)  # sums of float32 shares
        assert np.isnan(row["reached"])  # no choice is better than another


def test_the_best_choice_loses_the_least(tokens: VideoTokens) -> None:
    reduction = UniformTokens(0.25)(tokens)
    attention = torch.full((48,), 0.001)
    attention[reduction.anchor] = 0.05
    row = next(lost_by_layer(one_layer(attention.view(3, 16)), reduction))
    lost = 36 * 0.001 / (36 * 0.001 + 12 * 0.05)
    assert row["attention_lost"] == pytest.approx(lost, rel=1e-5)
    assert row["least"] == pytest.approx(lost, rel=1e-5)
    assert row["reached"] == pytest.approx(1, rel=1e-5)
    others = torch.full((48,), 0.05)
    others[reduction.anchor] = 0.001
    row = next(lost_by_layer(one_layer(others.view(3, 16)), reduction))
    assert row["excess"] > 0
    assert row["reached"] < 0


def test_what_tells_attention(tokens: VideoTokens) -> None:
    same = one_layer(tokens.salience["received"] / 100)
    rising = one_layer(torch.arange(48.0).view(3, 16) / 10_000)
    told = [
        {"skill": skill, **row}
        for skill, one, other in (("digit", same, rising), ("when", rising, same))
        for row in told_by_layer(one, tokens, others=[other])
    ]
    rows = pd.DataFrame(told).set_index(["skill", "layer", "source"])
    agreement, auc = rows["salience_attention_agreement"], rows["salience_auc"]
    for layer in ("0", ALL_LAYERS):
        assert agreement["digit", layer, "received"] == pytest.approx(1)
        assert auc["digit", layer, "received"] == pytest.approx(1)
        assert agreement["when", layer, "order"] == pytest.approx(1)
        # of two questions the other one is all there is
        assert agreement["digit", layer, "other questions"] == pytest.approx(agreement["digit", layer, "order"])
    quarter = tokens.salience["received"].topk(4, dim=1).values.sum() / tokens.salience["received"].sum()
    assert rows["held"]["digit", "0", "received"] == pytest.approx(quarter.item(), rel=1e-5)
    last = np.arange(48.0).reshape(3, 16)[:, 12:].sum() / np.arange(48.0).sum()
    assert rows["held"]["when", "0", "order"] == pytest.approx(last, rel=1e-5)
    assert {row["source"] for row in told_by_layer(same, tokens)} == {"received", "order"}


@pytest.mark.parametrize("rows", ["last", "question"])
def test_attention_is_the_captured_one(rows: str) -> None:
    model = rd.load_model("tiny-llava-onevision")
    clip = list_videos(limit=1)[0].load(model, frames=8)
    capture = rd.capture(model, clip, prompt="which digit flash ?", attention_rows=rows)
    found, direct = layer_attention(capture), capture["attention"].values
    assert np.array_equal(found.attention[:-1].numpy(), direct)
    assert np.allclose(found.attention[-1].numpy(), direct.sum(0), rtol=1e-6)
    share = direct.sum((-2, -1)).mean(1)  # rows sum to 1, so this is the video's share
    assert np.allclose(found.mass.numpy(), share, atol=1e-5)  # float32 rows of 264 keys
    assert found.attention.shape[1] == (1 if rows == "last" else len(capture["query"]))
    with pytest.raises(ValueError, match='expected one with attention_rows="last"'):
        layer_attention(capture.drop_vars("attention"))
