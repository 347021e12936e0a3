"""Digests: equal for equal content in every process, other where a part differs, refused where there is no content."""

from __future__ import annotations

import collections
import enum
import functools
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from redundancy.digest import digest_of, file_sha256
from redundancy.provenance import folder_digest
from redundancy.pruning import FastVID
from redundancy.pruning.parts.segment import DySeg
from redundancy.pruning.table import METHODS
from redundancy.world.scene import WorldConfig


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Own:
    """A method of a user that is no dataclass."""

    limit = 3

    def __init__(self, weight: Any) -> None:
        self.weight = weight

    def __call__(self, tokens: Any) -> Any:
        return super().__repr__()


class Stricter(Own):
    limit = 4


def scaled(by: float) -> Callable[[float], float]:
    return lambda x: x * by


def kept_by(share: float) -> Any:
    """A user's method whose code holds a number, as when a cell of a notebook is edited and run again."""

    @dataclass(frozen=True)
    class Kept:
        seed: int = 0
        parts: list[int] = field(default_factory=list)

        def __call__(self, tokens: Any) -> Any:
            return tokens * share

        @functools.cached_property
        def twice(self) -> int:
            return 2 * self.seed

    return Kept()


SAME: list[tuple[Any, Any]] = [
    ([1, 2], (1, 2)),
    ({"a": 1, "b": [2]}, {"b": (2,), "a": 1}),
    ({1, 2, "c"}, {"c", 2, 1}),
    (np.float64(0.25), 0.25),
    (np.int64(3), 3),
    (float("nan"), float("nan")),
    (FastVID(retention=0.25), FastVID(retention=0.25)),
    (kept_by(0.5), kept_by(0.5)),
    (scaled(2), scaled(2)),
    (random.Random(1), random.Random(1)),
    (np.random.default_rng(1), np.random.default_rng(1)),
    (Own(torch.ones(3)), Own(torch.ones(3))),
    (torch.ones(4)[::2], torch.ones(2)),
    (collections.OrderedDict(a=1), {"a": 1}),
]
OTHER: list[tuple[Any, Any]] = [
    (True, 1),
    (1, 1.0),
    ("1", 1),
    (b"a", "a"),
    (0.0, -0.0),
    ([1, [2]], [[1], 2]),
    (["ab", "c"], ["a", "bc"]),
    (Path("a"), "a"),
    (Colour.RED, Colour.BLUE),
    (Colour.RED, 1),
    (FastVID(), FastVID(retention=0.5)),
    (FastVID(), FastVID(segmenter=replace(DySeg(), tau=0.5))),
    (kept_by(0.5), kept_by(0.25)),
    (scaled(2), scaled(3)),
    (functools.partial(scaled, 1), functools.partial(scaled, 2)),
    (Own(1), Own(2)),
    (Own(1), Stricter(1)),
    (Own(torch.ones(3)), Own(torch.zeros(3))),
    (torch.ones(3), np.ones(3, dtype=np.float32)),
    (torch.ones(3), torch.ones(3, dtype=torch.bfloat16)),
    (np.zeros((0, 3)), np.zeros((3, 0))),
    (np.array([1, "a"], object), np.array([1, "b"], object)),
    (torch.float16, torch.bfloat16),
    (random.Random(1), random.Random(2)),
    (lambda x: x + 1, lambda x: x + 2),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_equal_content_has_one_digest(one: object, other: object):
    assert digest_of({"of": [one]}) == digest_of({"of": [other]})


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_any_difference_is_seen(one: object, other: object):
    assert digest_of({"of": [one]}) != digest_of({"of": [other]})


@pytest.mark.parametrize(
    "value",
    [(i for i in [1]), threading.Lock(), torch.ones(2, device="meta"), torch.eye(2).to_sparse()],
    ids=["generator", "lock", "meta", "sparse"],
)
def test_what_has_no_content_is_refused_by_its_place(value: object):
    with pytest.raises(TypeError, match=r"the value given\['salience'\].* no digest"):
        digest_of({"salience": value})


def test_a_circle_is_refused():
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(TypeError, match="contains itself"):
        digest_of(circle)


def test_what_code_looks_up_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A number, a function or a module of one's own, edited in a notebook between two runs."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_helpers.py").write_text("def share(): return 0.5")
    cells = [
        "def method(x): return helper(x)",
        "def helper(x): return [x * SHARE * own_helpers.share() for _ in range(LEVEL.by)] if x else method(x)",
        "class Level: by = 1",
        "LEVEL, SHARE, UNUSED = Level(), 0.5, 1",
        "import own_helpers, numpy",
    ]
    notebook: dict[str, Any] = {"__name__": "a_notebook"}
    for cell in cells:
        exec(cell, notebook)
    before = digest_of(notebook["method"])
    for same in ("UNUSED = 2", cells[1]):
        exec(same, notebook)
        assert digest_of(notebook["method"]) == before
    seen = {before}
    for edited in (cells[1].replace("else", "or x else"), "SHARE = 0.25", "class Level: by = 2\nLEVEL = Level()"):
        exec(edited, notebook)
        seen.add(digest_of(notebook["method"]))
    (tmp_path / "own_helpers.py").write_text("def share(): return 0.125")
    seen.add(digest_of(notebook["method"]))
    assert len(seen) == 5
    exec("SHARE = (i for i in [1])", notebook)
    with pytest.raises(TypeError, match=r"\(method\), helper \(helper\), SHARE is of type .* no digest"):
        digest_of(notebook["method"])


def test_every_method_of_the_table_differs():
    own = {name: digest_of(entry.method) for name, entry in METHODS.items()}
    assert len(set(own.values())) == len(own)


def test_the_digest_is_the_same_in_another_process():
    """One by `repr` or by `hash` would hold an address or the seed of the process."""
    code = (
        "from redundancy.world.scene import WorldConfig\nfrom redundancy.digest import digest_of\n"
        "print(digest_of([WorldConfig(), {'a', 'b', 'c'}]))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == digest_of([WorldConfig(), {"c", "b", "a"}])


def test_every_file_of_a_model_counts(tmp_path: Path):
    digests = set()
    files = {
        "model.safetensors": b"1",
        "config.json": b"{}",
        "chat_template.jinja": b"x",
        "merges.txt": b"a b",
        "spiece.model": b"m",
        "redundancy.json": b'{"salience_head": "head"}',
        "head/model.safetensors": b"2",
        "additional_chat_templates/a.jinja": b"y",
        "model.safetensors.index.json": b'{"weight_map": {"a": "shards/1.safetensors"}}',
        "shards/1.safetensors": b"3",
    }
    (tmp_path / "head").mkdir()
    (tmp_path / "shards").mkdir()
    (tmp_path / "additional_chat_templates").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    digests.add(folder_digest(tmp_path))
    for name, content in files.items():
        (tmp_path / name).write_bytes(content + b" ")
        digests.add(folder_digest(tmp_path))
    assert len(digests) == len(files) + 1
    (tmp_path / "README.md").write_text("does not count")
    assert folder_digest(tmp_path) in digests
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").unlink()
    with pytest.raises(ValueError, match=r"holds no \*\.safetensors"):
        folder_digest(tmp_path)


def test_a_file_of_the_same_size_and_time_is_hashed_again(tmp_path: Path):
    file = tmp_path / "a"
    file.write_bytes(b"1")
    before, times = file_sha256(file), file.stat()
    file.write_bytes(b"2")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert file_sha256(file) != before
    with pytest.raises(OSError, match="is no regular file"):
        file_sha256(tmp_path)
