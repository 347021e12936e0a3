"""Masks of layers that have lost columns, and the rows of attention that a question reads, on small numbers."""

from __future__ import annotations

import torch

import redundancy as rd
from redundancy.apply.inner_video import InnerVideo, score
from redundancy.apply.layer_mask import prompt_mask, step_mask
from redundancy.models import VideoLLM
from redundancy.models.hooks import LayerColumns, TextEntry, on_text_entry
from tests.apply.reference import whole_prompt
from tests.tiny_models import make_clip

# Of a prompt of 4 columns the first row has 3 left, the second 1: two places of padding, which name column 0.
LEFT = LayerColumns(
    column=torch.tensor([[0, 1, 3], [0, 0, 2]]), valid=torch.tensor([[True, True, True], [False, False, True]])
)


def test_a_step_does_not_see_padding_whatever_column_it_names() -> None:
    whole = torch.ones(2, 6, dtype=torch.long)
    found = step_mask(whole, LEFT, length=4, generated=2, whole=False, flash=True)
    assert found is not None
    assert found.tolist() == [[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]]
    padded = whole.clone()
    padded[0, 1] = 0
    found = step_mask(padded, LEFT, length=4, generated=2, whole=False, flash=True)
    assert found is not None
    assert found.tolist() == [[1, 0, 1, 1, 1], [0, 0, 1, 1, 1]]
    short = prompt_mask(whole[:, :4], LEFT, torch.float32, implementation="flash_attention_2")
    assert short is not None
    assert short.tolist() == LEFT.valid.long().tolist()


def test_a_question_is_scored_from_its_first_row() -> None:
    rows = torch.zeros(2, 4, 5)
    rows[1, 1, 2], rows[0, 2, 2], rows[1, 3, 4] = 9.0, 3.0, 2.0  # row 1 is still the video's
    assert score(rows, torch.tensor([2, 4]), queries="question", first=2).tolist() == [3.0, 2.0]
    assert score(rows, torch.tensor([2, 4]), queries="last", first=2).tolist() == [0.0, 1.0]


def test_a_question_begins_behind_the_video(family_model: VideoLLM) -> None:
    inputs = family_model.prepare(make_clip(4), "which digit happens first ?")
    entry = whole_prompt(family_model, inputs)
    span = entry.spans[0]
    behind = 1 + max(int(x.max()) for x in (span.columns, span.newlines) if x.numel())
    assert InnerVideo.of(entry, 0).question == behind
    seen: list[TextEntry] = []
    keep = rd.Reduction.from_selection(torch.arange(0, span.columns.numel(), 3), grid=span.grid, newline="kept rows")
    with rd.prune(family_model, keep), on_text_entry(family_model.family, seen.append):
        family_model.prefill(inputs)
    short = int(seen[0].kwargs["inputs_embeds"].shape[1])
    text = entry.kwargs["inputs_embeds"].shape[1] - behind  # the question keeps its length
    assert InnerVideo.of(seen[0], 0).question == short - text
