"""Rows of the question begin behind the video and its newlines."""

from __future__ import annotations

import redundancy as rd
from redundancy.models import VideoLLM
from tests.apply.reference import whole_prompt
from tests.tiny_models import make_clip


def test_rows_of_the_question_begin_behind_the_video(family_model: VideoLLM) -> None:
    clip, question = make_clip(4), "which digit happens first ?"
    entry = whole_prompt(family_model, family_model.prepare(clip, question))
    span, length = entry.spans[0], entry.kwargs["inputs_embeds"].shape[1]
    behind = 1 + max(int(x.max()) for x in (span.columns, span.newlines) if x.numel())
    capture = rd.capture(family_model, clip, question, attention_rows="question", layers=[0])
    assert capture["query"].values.tolist() == list(range(behind, length))
    row_newlines = family_model.family.layout.newline == "row"
    assert capture.attrs["text_after"] == length - 1 - int(span.columns.max()) - row_newlines
