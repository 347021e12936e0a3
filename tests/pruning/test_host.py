"""Copies from the device: at most one per decision, counted with tensors that say when they are looked at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from redundancy.pruning import METHODS, FastVID
from redundancy.pruning.base import Method
from redundancy.pruning.host import NotFiniteError, to_host, watching
from redundancy.reduction import value as reduction
from redundancy.tokens import VideoTokens
from tests.pruning.samples import video

LOOKS = {"item", "tolist", "__bool__", "__int__", "__float__", "__index__", "nonzero", "numpy", "unique"}
LOOKS |= {"unique_consecutive", "masked_select", "equal", "argwhere", "__array__", "cpu"}
seen: Counter[str] = Counter()


class OnDevice(Tensor):
    """A tensor that counts what would make a GPU wait; what is computed from it is one too, until `cpu()`."""

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = function.__name__, kwargs or {}
        if name in LOOKS or by_mask(name, args) or counted_repeats(name, args, kwargs):
            seen[name] += 1
        result = super().__torch_function__(function, types, args, kwargs)
        return result.as_subclass(Tensor) if name == "cpu" else result


def by_mask(name: str, args: Any) -> bool:
    """Indexing by a boolean mask has to know how many are true."""
    if name not in ("__getitem__", "__setitem__"):
        return False
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    return any(isinstance(i, OnDevice) and i.dtype in (torch.bool, torch.uint8) for i in index)


def counted_repeats(name: str, args: Any, kwargs: Any) -> bool:
    return name == "repeat_interleave" and isinstance(args[1], OnDevice) and kwargs.get("output_size") is None


def on_device(tokens: VideoTokens) -> VideoTokens:
    def move(x: Any) -> Any:
        return {k: move(v) for k, v in x.items()} if isinstance(x, dict) else x.as_subclass(OnDevice)

    names = ("features", "salience", "frame_features", "extra")
    return replace(tokens, **{name: move(getattr(tokens, name)) for name in names})


# PruneVid's clusters have sizes that only the tokens know, set by set
@pytest.mark.parametrize("name", [n for n in METHODS if n != "prunevid"])
@pytest.mark.parametrize("layout", ["onevision", "llava_video", "qwen"])
def test_one_copy_per_decision(name: str, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reduction, "check_values", lambda r: None)  # left out on a GPU
    seen.clear()
    METHODS[name].method(on_device(video(12, 6, 6, seed=3, layout=layout)))
    assert sum(seen.values()) <= 1, dict(seen)


def test_the_counter_sees_what_waits() -> None:
    x = torch.tensor([1.0, 0.0]).as_subclass(OnDevice)
    looks: list[Callable[[], object]] = [
        lambda: bool(x[0] > 0),
        lambda: x.tolist(),
        lambda: x[x > 0],
        lambda: x.nonzero(),
        lambda: torch.repeat_interleave(x, x.long()),
        lambda: x.cpu(),
    ]
    for look in looks:
        seen.clear()
        look()
        assert seen
    assert type(x.cpu()) is Tensor
    assert type(x + 1) is OnDevice


@pytest.mark.parametrize("method", [e.method for e in METHODS.values()], ids=list(METHODS))
def test_a_frame_that_is_not_finite_is_named(method: Method) -> None:
    for value in (torch.nan, torch.inf):
        tokens = video(8, 4, 4, seed=1, layout="onevision")
        tokens.features[5, 2, 1] = value
        with pytest.raises(ValueError, match=r"frame 5 holds NaN or infinite tokens \(1 such frames"):
            method(tokens)


def test_salience_that_is_not_finite_is_named() -> None:
    tokens = video(8, 4, 4, seed=1, layout="onevision")
    tokens.salience["pooling_head"][3, 0] = torch.nan
    with pytest.raises(ValueError, match=r"frame 3 has NaN or infinite salience\[pooling_head\]"):
        FastVID()(tokens)


def test_a_sum_that_overflows_is_no_error() -> None:
    x = torch.full((4, 4, 2), 3e38)
    kept = METHODS["uniform_tokens"].method(video(4, 2, 2, features=x))
    assert kept.kept == 4


def test_a_flag_travels_with_the_first_copy() -> None:
    good, bad = torch.tensor(True), torch.tensor(False)
    with watching(good):
        assert to_host(torch.tensor([[1.5], [2.5]])).tolist() == [[1.5], [2.5]]
        assert to_host(torch.tensor(3)).item() == 3
    with pytest.raises(NotFiniteError), watching(bad):
        to_host(torch.ones(2))
    with pytest.raises(NotFiniteError), watching(bad):
        pass
    assert to_host(torch.ones(2)).tolist() == [1, 1]
