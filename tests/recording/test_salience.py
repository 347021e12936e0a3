"""Salience of the vision tower against the attention maps that the model's own eager attention makes."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from redundancy.models import VideoLLM
from redundancy.recording import video_tokens
from redundancy.recording.salience import mean_query_attention, received_attention
from redundancy.tokens import VideoTokens
from tests.tiny_models import make_clip

TOLERANCE = 1e-6  # float32 softmax of the same products, summed in another order


class EagerMaps:
    """Queries, keys and attention of the last attention layer of the tower, frame by frame."""

    def __init__(self, model: VideoLLM, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[nn.Module, Tensor, Tensor, Tensor]] = []
        inside = set(model.family.tower.modules())
        names = {type(module).__module__ for module in inside}
        for module in [sys.modules[n] for n in names if hasattr(sys.modules[n], "eager_attention_forward")]:
            original = module.eager_attention_forward

            def record(
                attention: nn.Module, query: Tensor, key: Tensor, *args: Any, original: Any = original, **kwargs: Any
            ) -> Any:
                output = original(attention, query, key, *args, **kwargs)
                if attention in inside:
                    scale = kwargs.get("scaling", kwargs.get("scale", query.shape[-1] ** -0.5))
                    self.calls.append((attention, query * scale, key, output[1]))
                return output

            monkeypatch.setattr(module, "eager_attention_forward", record)

    def last_layer(self) -> tuple[Tensor, Tensor, Tensor]:
        """Scaled queries, keys and attention `[T, heads, patches, ...]`."""
        last = self.calls[-1][0]
        own = [call[1:] for call in self.calls if call[0] is last]
        return tuple(torch.cat(parts) for parts in zip(*own, strict=True))  # type: ignore[return-value]


def capture_with_maps(
    model: VideoLLM, monkeypatch: pytest.MonkeyPatch, **arguments: Any
) -> tuple[VideoTokens, EagerMaps]:
    maps = EagerMaps(model, monkeypatch)
    return video_tokens(model, make_clip(6), **arguments), maps


def window_order(model: VideoLLM, tokens: VideoTokens) -> Tensor:
    """Raster index of each token in the order in which the tower works, from the tower's own function."""
    if not hasattr(model.family.tower, "window_size"):
        return torch.arange(tokens.grid.frames * tokens.grid.tokens_per_frame)
    from transformers.vision_utils import get_vision_window_index

    tower: Any = model.family.tower
    unmerged = torch.tensor([[tokens.grid.frames, 2 * tokens.grid.rows, 2 * tokens.grid.cols]])
    return get_vision_window_index(unmerged, 2, tower.window_size, tower.patch_size)[0]


def pooled(model: VideoLLM, patches: Tensor, tokens: VideoTokens) -> Tensor:
    """Patch scores `[T, P]` on tokens, written out: groups of four, or the family's own pooling of features."""
    grid = tokens.grid
    if patches.shape[1] == 4 * grid.tokens_per_frame:
        groups = patches.view(-1, 4).mean(1)
        raster = torch.empty_like(groups)
        raster[window_order(model, tokens)] = groups
        return raster.view(grid.frames, -1)
    core: Any = model.family.core
    return core.apply_pooling(patches[..., None])[..., 0]  # type: ignore[no-any-return]


def test_received_attention(eager_model: VideoLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, maps = capture_with_maps(eager_model, monkeypatch)
    attention = maps.last_layer()[2]
    assert attention.shape[-1] == attention.shape[-2]
    expected = pooled(eager_model, attention.mean((1, 2)), tokens)
    torch.testing.assert_close(tokens.salience["received"], expected, atol=TOLERANCE, rtol=0)
    assert tokens.salience["received"].std() > 100 * TOLERANCE  # the comparison can fail


def test_mean_query_attention(eager_model: VideoLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    if "mean_query" not in eager_model.family.attention_sources:
        tokens = video_tokens(eager_model, make_clip(2))
        assert "mean_query" not in tokens.salience
        return
    tokens, maps = capture_with_maps(eager_model, monkeypatch)
    query, key, _ = maps.last_layer()
    frames = []
    for q, k in zip(query, key, strict=True):  # [heads, patches, d]
        of_token = k.view(k.shape[0], -1, 4, k.shape[2]).mean(2)
        frames.append((q.mean(1, keepdim=True) @ of_token.transpose(1, 2)).softmax(-1).mean(0)[0])
    flat = torch.stack(frames).flatten()
    raster = torch.empty_like(flat)
    raster[window_order(eager_model, tokens)] = flat
    torch.testing.assert_close(tokens.salience["mean_query"].flatten(), raster, atol=TOLERANCE, rtol=0)


def test_salience_does_not_depend_on_the_attention_implementation(
    family_model: VideoLLM, eager_model: VideoLLM
) -> None:
    fast = video_tokens(family_model, make_clip(6))
    eager = video_tokens(eager_model, make_clip(6))
    assert set(fast.salience) == set(eager.salience)
    for source in fast.salience:
        # hidden states differ by rounding of another attention kernel, three layers deep
        torch.testing.assert_close(fast.salience[source], eager.salience[source], atol=1e-5, rtol=1e-5)


def test_pooling_head(family_model: VideoLLM) -> None:
    """The head's attention and output against `nn.MultiheadAttention` written out, on the tower's own output."""
    if family_model.pooling_head is None:
        with pytest.raises(ValueError, match="gives no salience of source"):
            video_tokens(family_model, make_clip(2), salience=["pooling_head"])
        return
    clip = make_clip(3)
    tokens = video_tokens(family_model, clip)
    pixels = family_model.prepare(clip).tensors["pixel_values_videos"][0]
    with torch.no_grad():
        output = family_model.family.tower(pixels)
        head: Any = family_model.pooling_head
        hidden = output.last_hidden_state
        heads, width = head.attention.num_heads, hidden.shape[-1]
        weights, biases = head.attention.in_proj_weight.chunk(3), head.attention.in_proj_bias.chunk(3)
        query = (head.probe[0] @ weights[0].T + biases[0]).view(1, heads, -1)
        key = (hidden @ weights[1].T + biases[1]).view(*hidden.shape[:2], heads, -1)
        scores = torch.einsum("qhd,tphd->thp", query, key) / math.sqrt(width / heads)
        expected = pooled(family_model, scores.softmax(-1).mean(1), tokens)
    torch.testing.assert_close(tokens.salience["pooling_head"], expected, atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(tokens.frame_features["pooling_head"], output.pooler_output, atol=1e-5, rtol=1e-5)


def test_keys_of_the_last_layer(eager_model: VideoLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, maps = capture_with_maps(eager_model, monkeypatch, keys=True)
    patches = maps.last_layer()[1].mean(1)  # [T, patches, d], mean over heads
    expected = torch.stack([pooled(eager_model, channel, tokens) for channel in patches.unbind(-1)], -1)
    # keys of a few units, pooled in float32
    torch.testing.assert_close(tokens.extra["keys"], expected, atol=1e-5, rtol=1e-5)
    assert "keys" not in video_tokens(eager_model, make_clip(2)).extra


@pytest.mark.parametrize("layer", [9, -9])
def test_a_layer_that_does_not_exist_is_refused(family_model: VideoLLM, layer: int) -> None:
    with pytest.raises(ValueError, match=f"salience_layer={layer} does not exist: the vision tower has . layers"):
        video_tokens(family_model, make_clip(2), salience_layer=layer)


def test_an_earlier_layer_can_be_asked_for(family_model: VideoLLM) -> None:
    layer = {"qwen2_5_vl": 1}.get(family_model.family.name, 0)  # layer 1 of the small Qwen2.5 sees whole frames
    last = video_tokens(family_model, make_clip(2), salience=["received"])
    early = video_tokens(family_model, make_clip(2), salience=["received"], salience_layer=layer)
    assert not torch.allclose(last.salience["received"], early.salience["received"])


def test_attention_received_sums_to_one_and_chunks_do_not_matter() -> None:
    query, key = torch.randn(2, 5, 2, 12, 4, generator=torch.Generator().manual_seed(0))
    whole = received_attention(query, key, chunk=5)
    torch.testing.assert_close(whole.sum(1), torch.ones(5))
    torch.testing.assert_close(received_attention(query, key, chunk=2), whole)
    one = mean_query_attention(query, key, patches_per_token=4)
    assert one.shape == (5, 3)
    torch.testing.assert_close(one.sum(1), torch.ones(5))


def test_uniform_attention_has_a_closed_form() -> None:
    zero = torch.zeros(2, 3, 8, 4)
    torch.testing.assert_close(received_attention(zero, zero), torch.full((2, 8), 1 / 8))
    torch.testing.assert_close(mean_query_attention(zero, zero, patches_per_token=4), torch.full((2, 2), 1 / 2))
