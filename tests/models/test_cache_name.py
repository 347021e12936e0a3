"""The cache is found by both names that transformers has for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from redundancy.models import VideoLLM
from redundancy.models.cache_name import as_argument, cache_in, cache_of
from tests.tiny_models import make_clip


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_both_names(name: str):
    cache: Any = object()
    assert cache_in({name: cache, "attention_mask": None}) is cache
    assert cache_of(SimpleNamespace(**{name: cache})) is cache
    assert cache_in({name: None}) is cache_of(SimpleNamespace()) is None


def test_the_model_takes_what_it_gave(family_model: VideoLLM):
    inputs = family_model.prepare(make_clip(2), "what ?")
    output = family_model.prefill(inputs, use_cache=True)
    (name, cache), *_ = as_argument(family_model.model, cache_of(output)).items()
    assert cache.get_seq_length() == inputs.tensors["input_ids"].shape[1]
    assert cache_in({name: cache}) is cache
