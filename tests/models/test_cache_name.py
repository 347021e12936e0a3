"""The cache is found by both names that transformers has for it, and refused by others."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import DynamicCache
from transformers.utils import ModelOutput

from redundancy.apply import prune
from redundancy.models import VideoLLM
from redundancy.models.cache_name import NAMES, cache_in, cache_of, named_cache
from redundancy.pruning import RandomTokens
from tests.tiny_models import CACHE, make_clip


def test_both_names():
    cache: Any = DynamicCache()
    for name in NAMES:
        assert cache_in({name: cache, "attention_mask": None}) is cache
        assert cache_in({name: None}) is None
    assert cache_of(None) is cache_of(ModelOutput()) is None
    assert named_cache((1, cache)) == {"past_key_values": cache}


def test_the_model_takes_it_as_it_gave_it(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(2), "what ?")
    given = named_cache(family_model.prefill(inputs, use_cache=True))
    assert list(given) == [CACHE]
    assert given[CACHE].get_seq_length() == inputs.tensors["input_ids"].shape[1]


def test_another_name_is_refused_where_a_step_would_be_left_as_it_is(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(2), "what ?")
    with prune(family_model, RandomTokens(retention=0.5)):
        output = family_model.prefill(inputs, use_cache=True)
        with pytest.raises(NotImplementedError, match="a key-value cache is given as 'memory', expected one of"):
            family_model.model(input_ids=inputs.tensors["input_ids"][:, -1:], memory=cache_of(output))
