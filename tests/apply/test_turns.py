"""What follows a reduced prompt in its cache: the next token, and nothing that would be answered wrongly."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from redundancy.apply import prune
from redundancy.apply.turns import continuing
from redundancy.models import VideoLLM
from redundancy.models.cache_name import cache_of
from redundancy.pruning import RandomInner
from tests.apply.test_outer import OTHER, QUESTION, every_third
from tests.tiny_models import CACHE, make_clip


def first_answer(model: VideoLLM) -> Any:
    inputs = model.prepare(make_clip(), QUESTION)
    return model.model.generate(**inputs.tensors, do_sample=False, max_new_tokens=3, return_dict_in_generate=True)


def ask(model: VideoLLM, ids: Tensor, cache: Any, **arguments: Any) -> Any:
    return model.model.generate(input_ids=ids, **{CACHE: cache}, do_sample=False, max_new_tokens=2, **arguments)


@pytest.mark.parametrize("inside", [False, True], ids=["outer", "inside"])
def test_a_second_question_is_refused_with_and_without_a_mask(family_model: VideoLLM, inside: bool):
    words = family_model.processor.tokenizer(OTHER, return_tensors="pt")["input_ids"]
    methods = (None, [RandomInner(layer=1, drop_rate=0.5)]) if inside else (every_third, ())
    with torch.no_grad(), prune(family_model, methods[0], inner=methods[1]):
        first = first_answer(family_model)
        for more in (words, words[:, :1]):
            whole = torch.cat([first.sequences, more], 1)
            mask = torch.ones_like(whole)
            for ids, arguments in (
                (whole, {"attention_mask": mask}),
                (whole, {}),
                (more, {"attention_mask": mask}),
                (whole, {"attention_mask": mask, "num_beams": 2}),
            ):
                cache = copy.deepcopy(cache_of(first))  # a copy holds the same prompt
                with pytest.raises(NotImplementedError, match=r"A second turn, another question"):
                    ask(family_model, ids, cache, **arguments)
        with pytest.raises(NotImplementedError, match=r"A second turn, another question"):
            family_model.model(input_ids=words, **{CACHE: cache_of(first)})


def test_a_reduced_cache_is_of_no_use_after_its_context(family_model: VideoLLM):
    with torch.no_grad(), prune(family_model, every_third):
        first = first_answer(family_model)
    copied = copy.deepcopy(cache_of(first))
    lengths = [layer.get_seq_length() for layer in copied.layers]
    for cache in (cache_of(first), copied):
        with pytest.raises(NotImplementedError, match="that context is closed"), torch.no_grad():
            family_model.model(input_ids=first.sequences[:, -1:], **{CACHE: cache})
    with (
        torch.no_grad(),
        prune(family_model, every_third),
        pytest.raises(NotImplementedError, match=r"that context is closed|A second turn"),
    ):
        family_model.model(input_ids=first.sequences[:, -1:], **{CACHE: copied})
    assert lengths == [layer.get_seq_length() for layer in copied.layers]


def test_tokens_added_by_name_are_those_of_one_after_another(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(), QUESTION)
    words = family_model.processor.tokenizer(OTHER, return_tensors="pt")["input_ids"]
    with torch.no_grad(), prune(family_model, every_third):
        cache = cache_of(family_model.prefill(inputs, use_cache=True))
        one_by_one = copy.deepcopy(cache)
        with continuing(cache):
            together = family_model.model(input_ids=words, **{CACHE: cache}).logits[0]
        singles = [family_model.model(input_ids=w[None, None], **{CACHE: one_by_one}).logits[0] for w in words[0]]
    torch.testing.assert_close(together, torch.cat(singles), atol=1e-4, rtol=0)  # float32 sums in another order


def test_an_emptied_cache_takes_another_prompt(family_model: VideoLLM):
    ids = family_model.processor.tokenizer(OTHER, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = family_model.model(input_ids=ids).logits
        with prune(family_model, every_third):
            cache = cache_of(family_model.prefill(family_model.prepare(make_clip(), QUESTION), use_cache=True))
            cache.crop(-cache.get_seq_length())
            got = family_model.model(input_ids=ids, **{CACHE: cache}).logits
            for _ in range(2):
                family_model.model(input_ids=ids[:, :2], **{CACHE: cache})
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
