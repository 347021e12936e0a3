"""`alignment` against the rotation of keys in a real model of each family; lost attention against eager squares."""

from __future__ import annotations

import pytest
import torch

import redundancy as rd
from redundancy.apply import prune
from redundancy.metrics.position import alignment
from redundancy.models import VideoLLM
from redundancy.models.cache_name import cache_of
from redundancy.pruning import RandomTokens
from redundancy.reduction import Reduction
from tests.apply.reference import whole_prompt
from tests.family_fixtures import eager_model, family_model, family_name, tiny_folder
from tests.tiny_models import make_clip

__all__ = ["eager_model", "family_model", "family_name", "tiny_folder"]
QUESTION = "what happens in the video ?"


def moved(tokens: rd.VideoTokens, content: int, place: int) -> Reduction:
    """Every token, but the content of one stands in the place of another."""
    size = tokens.grid.frames * tokens.grid.tokens_per_frame
    source = torch.arange(size)
    source[place] = content
    return Reduction(
        anchor=torch.arange(size),
        source=source,
        target=torch.arange(size),
        weight=torch.ones(size, dtype=torch.float64),
        slots=torch.arange(size),
        grid=tokens.grid,
        newline="all" if tokens.layout.newline == "row" else "none",
    )


def first_keys(model: VideoLLM, inputs: object, columns: torch.Tensor) -> torch.Tensor:
    """Rotated keys of layer 0 as complex numbers `[heads, columns, frequencies]`."""
    out = model.prefill(inputs, use_cache=True)
    keys = cache_of(out).layers[0].keys[0][:, columns].double()
    half = keys.shape[-1] // 2
    return torch.complex(keys[..., :half], keys[..., half:])


@pytest.mark.parametrize(("content", "place"), [(0, 1), (0, 30), (5, 2), (3, 19)])
def test_alignment_is_the_rotation_of_the_key(family_model: VideoLLM, content: int, place: int) -> None:
    clip = make_clip(6)
    tokens = rd.video_tokens(family_model, clip, QUESTION)
    inputs = family_model.prepare(clip, QUESTION)
    columns = whole_prompt(family_model, inputs).spans[0].columns.flatten()
    reduction = moved(tokens, content, place)
    before = first_keys(family_model, inputs, columns[[content]])
    with prune(family_model, reduction):
        after = first_keys(family_model, inputs, columns[[place]])
    turned = (after * before.conj()).real / before.abs().square()
    best = before.abs()[:, 0].amin(1).argmax()  # the head whose smallest pair is largest: least rounding
    found = turned[best, 0]
    assert tokens.positions is not None
    assert tokens.rotary is not None
    predicted = alignment(reduction, tokens.positions, tokens.rotary)
    for axis in range(len(tokens.rotary.axes)):
        mean = found[tokens.rotary.axis == axis].mean().item()
        # float32 angles of up to some hundred radians
        assert mean == pytest.approx(predicted.alignment[place, axis].item(), abs=1e-5)
    assert found.mean().item() == pytest.approx(predicted.alignment_all[place].item(), abs=1e-5)


def test_lost_attention_is_the_sum_over_eager_squares(family_model: VideoLLM, eager_model: VideoLLM) -> None:
    clip = make_clip(4)
    capture = rd.capture(family_model, clip, QUESTION, attention_rows="last", heads="all")
    reduction = RandomTokens(retention=0.5)(rd.VideoTokens.from_capture(capture))
    lost = rd.measure(capture, reduction, "attention_lost")["attention_lost"]
    inputs = family_model.prepare(clip, QUESTION)
    columns = whole_prompt(family_model, inputs).spans[0].columns.flatten()
    dropped = torch.ones(len(columns), dtype=torch.bool)
    dropped[reduction.anchor] = False
    out = eager_model.prefill(inputs, output_attentions=True)
    for layer, square in enumerate(out.attentions):
        row = square[0, :, -1][:, columns].float()
        expected = row[:, dropped].sum(1) / row.sum(1)
        found = torch.from_numpy(lost.sel(layer=layer).values[:, 0])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_everything_is_measured_on_every_family(family_model: VideoLLM) -> None:
    capture = rd.capture(family_model, make_clip(6), QUESTION, attention_rows="last", received=True)
    tokens = rd.VideoTokens.from_capture(capture)
    measured = rd.measure(capture, RandomTokens(retention=0.5)(tokens), "all", last_position=10_000)
    assert tokens.rotary is not None
    assert measured["rope_axis"].values.tolist() == list(tokens.rotary.axes)
    assert measured["attention_lost"].dims == ("layer", "query")
    assert float(measured["alignment_all"].min()) == pytest.approx(1.0, abs=1e-6)  # nothing was moved
    assert measured.attrs["architecture"] == family_model.family.name
