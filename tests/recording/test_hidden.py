"""Hidden states of chosen layers against what the model returns."""

from __future__ import annotations

import pytest
import torch

import redundancy as rd
from redundancy.apply import prune
from redundancy.models import VideoLLM
from redundancy.pruning import FastV
from redundancy.recording.hidden import record_hidden
from tests.tiny_models import make_clip

QUESTION = "what happens in the video ?"


def test_states_are_those_that_the_model_returns(family_model: VideoLLM):
    inputs = family_model.prepare([make_clip(4, seed=1), make_clip(4, seed=2)], [QUESTION, "which cat ?"])
    with record_hidden(family_model.family) as record:
        out = family_model.prefill(inputs, output_hidden_states=True)
    text = family_model.family.text_model
    assert sorted(record.states) == list(range(len(text.layers) + 1))
    is_text = inputs.tensors["input_ids"] != family_model.family.video_token_id
    for layer, state in enumerate(out.hidden_states[:-1]):
        assert torch.equal(record.states[layer][is_text], state[is_text])
        if layer and family_model.family.name.startswith("qwen3"):
            continue  # transformers returns what leaves a layer, to which DeepStack features are added
        assert torch.equal(record.states[layer], state)
    with torch.no_grad():
        last = text.norm(record.states[len(text.layers)])
    assert torch.equal(last, out.hidden_states[-1])


def test_text_and_video_are_told_apart(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(4), QUESTION)
    dataset = rd.capture(family_model, make_clip(4), QUESTION, hidden=[0])
    ids = inputs.tensors["input_ids"][0]
    text = (ids != family_model.family.video_token_id).nonzero().flatten()
    assert dataset["text_column"].values.tolist() == text.tolist()
    embedded = family_model.model.get_input_embeddings()(ids[text])
    assert torch.equal(torch.from_numpy(dataset["hidden_text"].values[0]), embedded.detach())


def test_columns_that_a_layer_lost_are_nan(family_model: VideoLLM):
    with prune(family_model, None, inner=[FastV(layer=2, drop_rate=0.5)]) as pruned:
        dataset = rd.capture(family_model, make_clip(4), QUESTION, hidden=[1, 2, -1])
    lost = dataset["hidden_video"].isnull().all("hidden_channel").values.reshape(3, -1)
    kept = pruned.inner[0].anchor_token
    assert not lost[0].any()
    for row in lost[1:]:
        assert (~row).nonzero()[0].tolist() == kept.tolist()
    assert not dataset["hidden_text"].isnull().any()


def test_layers_that_do_not_exist(family_model: VideoLLM):
    with pytest.raises(ValueError, match=r"layers \[9\] do not exist"), record_hidden(family_model.family, [9]):
        pass
