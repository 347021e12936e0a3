"""A method by its name, its class and as a function, where models run on it."""

from __future__ import annotations

from pathlib import Path

import torch

import redundancy as rd
from redundancy.pruning import RandomTokens
from redundancy.questions import Question

CLIPS = Path(__file__).resolve().parents[2] / "data" / "clips"


def test_a_name_a_class_and_a_function_prune_as_the_method_does() -> None:
    model = rd.load_model("tiny-llava-onevision")
    clip = model.load_video(CLIPS / "clip_000.mp4", frames=4)
    question = Question("count", "how many scenes ?", "one", ("one", "two"))
    half = RandomTokens(retention=0.25)
    forms = ("random_tokens", "random_tokens(0.25)", RandomTokens, half, lambda tokens: half(tokens))
    anchors = []
    for method in forms:
        with rd.prune(model, method, inner="fastv(layer=1)") as pruned:
            model.generate(clip, "how many scenes ?", max_new_tokens=1)
        anchors.append(pruned.reductions[0].anchor)
        assert pruned.inner[0].method == "FastV"
        assert repr(pruned).startswith("Pruned(1 reductions before and 1 inside the model, the last: Reduction(Random")
    assert all(torch.equal(a, anchors[0]) for a in anchors)
    rows = [rd.evaluate(model, clip, m, questions=[question], seed=1) for m in ("random_tokens", RandomTokens)]
    assert rows[0]["loglikelihood"].tolist() == rows[1]["loglikelihood"].tolist()
    assert repr(model).startswith("VideoLLM('tiny-llava-onevision', llava_onevision, ")
    assert repr(clip).startswith("VideoClip(4 frames of ")
    assert not any(word in text for text in map(repr, (model, clip, pruned)) for word in ("\n", "tensor(", "array("))
