"""A user's own methods and parts: under a name everywhere, refused where the name is taken, seen by digests."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from redundancy.digest import digest_of
from redundancy.plot.looks import colours, looks, segmenter_colours
from redundancy.plugins import load_plugin
from redundancy.pruning import (
    INNER_METHODS,
    MERGERS,
    METHODS,
    SEGMENTERS,
    FastVID,
    Merger,
    RandomTokens,
    Segmenter,
    as_inner,
    as_method,
    label_of,
    register,
)
from redundancy.pruning.base import Entries, InnerMethod, Method
from redundancy.pruning.part import Slot
from redundancy.pruning.parts.merge import ClusterWeights, Drop
from redundancy.pruning.registration import REGISTRIES
from redundancy.reduction import Reduction
from redundancy.tokens import VideoTokens
from tests.pruning.samples import video
from tests.warm_python import python as warm

ROOT = Path(__file__).resolve().parents[2]
TABLES: tuple[dict[str, Any], ...] = (METHODS, INNER_METHODS, *REGISTRIES)


@pytest.fixture(autouse=True)
def tables_as_before() -> Iterator[None]:
    before = [dict(table) for table in TABLES]
    yield
    for table, entries in zip(TABLES, before, strict=True):
        table.clear()
        table.update(entries)


@dataclass(frozen=True)
class EverySecond(Method):
    """Every second token."""

    step: int = 2

    def _decide(self, tokens: VideoTokens) -> Reduction:
        return self._select(tokens, torch.arange(0, tokens.grid.frames * tokens.grid.tokens_per_frame, self.step))


@dataclass(frozen=True)
class LastOnes(InnerMethod):
    """The last places of the span."""

    layer: int = 2
    keep: int = 4

    def _decide_span(self, hidden: Tensor, attention: Tensor, outer: Reduction | None) -> Entries:
        return self._kept(torch.arange(len(hidden) - self.keep, len(hidden)))


@dataclass(frozen=True)
class Halves(Segmenter):
    """Two segments."""

    first: int = 2

    def __call__(self, tokens: VideoTokens) -> Tensor:
        return torch.tensor([self.first, tokens.grid.frames - self.first])


@dataclass(frozen=True)
class Little(Merger):
    """A little of the members."""

    beta: float = 0.6
    share: float = 0.1

    def __call__(self, target: Tensor, outputs: int) -> ClusterWeights:
        return Drop()(target, outputs)


def test_a_method_of_a_user() -> None:
    assert register(EverySecond) is EverySecond
    assert as_method("every_second:step=4") == EverySecond(step=4)
    assert label_of(EverySecond(step=4)) == "every_second(step=4)"
    assert METHODS["every_second"].kind == "method"
    assert METHODS["every_second"].bounds(video()) == (1 / 128, 1.0)
    assert as_method("every_second")(video()).achieved == 0.5
    register(LastOnes, name="last")
    assert as_inner("last(keep=3)") == (LastOnes(keep=3),)


def test_a_second_default_of_a_class() -> None:
    register(FastVID(d=0.2), name="fastvid_light")
    assert as_method("fastvid_light:c=2") == FastVID(d=0.2, c=2)
    assert label_of(FastVID(d=0.2)) == "fastvid_light(0.1)"
    assert label_of(FastVID()) == "fastvid(0.1)"
    assert as_method("FastVID") == FastVID()


def test_parts_of_a_user() -> None:
    register(Halves)
    register(name="little")(Little)
    method = as_method("fastvid:segmenter=halves(first=3);merger=little;beta=0.2")
    assert method == FastVID(segmenter=Halves(first=3), merger=Little(beta=0.2), beta=0.2)
    assert label_of(method) == "fastvid(0.1, beta=0.2, segmenter=halves(first=3), merger=little)"
    kept = method(video())
    assert kept.stages["segments"].tolist() == [3, 5]
    assert kept.settings["merger"] == {"name": "Little", "beta": 0.2, "share": 0.1}
    odd = FastVID(merger=Little(share=0.2))
    assert label_of(odd) == "fastvid(0.1, merger=little(share=0.2))"
    assert as_method(label_of(odd)) == odd
    both = FastVID(merger=Little(share=0.2, beta=0.3))
    assert as_method(label_of(both)) == both


@dataclass(frozen=True)
class Merging(Method):
    """A user's method with a part."""

    slots: ClassVar[Mapping[str, Slot]] = {"merger": Slot(MERGERS)}

    merger: Merger | str = "drop"

    def _decide(self, tokens: VideoTokens) -> Reduction:
        return self._keep_all(tokens)


def test_what_else_is_registered_changes_no_digest() -> None:
    before = digest_of(Merging())
    assert before != digest_of(Merging(merger="mixture"))
    register(Little)
    assert digest_of(Merging()) == before
    assert copy.deepcopy(MERGERS) is pickle.loads(pickle.dumps(MERGERS)) is MERGERS


def test_names_that_are_taken() -> None:
    for name, thing in (("fastvid", EverySecond), ("FastVID", EverySecond), ("fastv", EverySecond), ("drop", Little)):
        with pytest.raises(ValueError, match=rf"the name '{name}' given, which is that of redundancy\.pruning"):
            register(thing, name)
    register(EverySecond)
    register(EverySecond)  # a notebook's cell again
    with pytest.raises(ValueError, match="'every_second' given, which is that of"):
        register(RandomTokens(seed=3), name="every_second")
    with pytest.raises(ValueError, match="the name 'a b' given, expected letters, digits and underscores"):
        register(EverySecond, name="a b")


def test_what_cannot_be_registered() -> None:
    @dataclass(frozen=True)
    class Needy(Merger):
        share: float

        def __call__(self, target: Tensor, outputs: int) -> ClusterWeights:
            return Drop()(target, outputs)

    with pytest.raises(TypeError, match=r"settings \['share'\] have no default: register an instance"):
        register(Needy)
    for thing in (3, Merger, print, Reduction):
        with pytest.raises(TypeError, match="given, expected a class or an instance of Method, InnerMethod, Merger"):
            register(thing)
    register(Needy(0.5), name="needy")
    assert MERGERS["needy"] == Needy(0.5)


def test_colours_of_the_package_stay() -> None:
    names = [*METHODS, *INNER_METHODS]
    before = looks(dict.fromkeys(names, "method")), segmenter_colours([*SEGMENTERS, "dyseg, other"]), colours(names)
    register(EverySecond)
    register(Halves)
    after = looks(dict.fromkeys(names, "method")), segmenter_colours([*before[1]]), colours(names)
    assert before == after
    mine = looks({"every_second": "method"})["every_second"]
    assert all((mine["color"], mine["marker"]) != (x["color"], x["marker"]) for x in before[0].values())
    assert segmenter_colours(["halves"])["halves"] not in [*before[1].values()][:6]


# plug-ins ---------------------------------------------------------------------------------------------------------

PLUGIN = """
from dataclasses import dataclass

import torch

from redundancy.metrics.registry import metric
from redundancy.pruning import Method, register
from redundancy.pruning.parts.merge import ClusterWeights, Drop, Merger


def keep(count):
    return torch.arange(0, count, STEP)


STEP = 3


@register(name="thirds")
@dataclass(frozen=True)
class Thirds(Method):
    note: str = "x"

    def _decide(self, tokens):
        return self._select(tokens, keep(tokens.grid.frames * tokens.grid.tokens_per_frame))


@register
@dataclass(frozen=True)
class Nothing(Merger):
    def __call__(self, target, outputs):
        return Drop()(target, outputs)
"""


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("redundancy.plugins._LOADED", {})
    yield
    for name in [n for n in sys.modules if n.startswith("plugin_")]:
        del sys.modules[name]


BEHIND = {  # files that a plug-in imports, by what each of them is imported by
    "helper.py": "import below\n\n\ndef many():\n    return below.MANY\n",
    "below.py": "import helper\nfrom lowest import MANY\n",  # a circle
    "lowest.py": "MANY = sum([2, 1])\n",
    "pieces/__init__.py": "",
    "pieces/deep.py": "from .deeper import nothing\n",
    "pieces/deeper.py": "def nothing():\n    return 0\n",
    "late.py": "def nothing():\n    return 0\n",
    "unused.py": "x = 0\n",
}
IMPORTING = PLUGIN.replace("import torch\n", "import torch\nimport helper\nimport pieces.deep\n").replace(
    "    return torch.arange(0, count, STEP)",
    "    import late\n    return torch.arange(late.nothing() + pieces.deep.nothing(), count, helper.many())",
)


@pytest.fixture
def digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Digests of a plug-in's method, of FastVID with its part, and of FastVID, after it was loaded afresh."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("sys.dont_write_bytecode", True)  # which is trusted by a file's size and second
    tables = [dict(table) for table in TABLES]
    known = set(sys.modules)

    def again(name: str = "mine", text: str = PLUGIN, **files: str) -> list[str]:
        forget()
        for file, content in {**BEHIND, **files, f"{name}.py": text}.items():
            (tmp_path / file).parent.mkdir(exist_ok=True)
            (tmp_path / file).write_text(content)
        load_plugin(tmp_path / f"{name}.py")
        return [digest_of(value) for value in (as_method("thirds"), as_method("fastvid:merger=nothing"), FastVID())]

    def forget() -> None:
        monkeypatch.setattr("redundancy.plugins._LOADED", {})
        importlib.invalidate_caches()
        for module in set(sys.modules) - known:
            if str(tmp_path) in str(getattr(sys.modules[module], "__file__", "")):
                del sys.modules[module]
        for table, entries in zip(TABLES, tables, strict=True):
            table.clear()
            table.update(entries)

    yield again
    forget()


@pytest.mark.parametrize("name", ["mine", "statistics", "random", "redundancy", "torch", "studies"])
def test_digests_see_the_code_of_a_plugin_whatever_it_is_called(digests: Callable[..., list[str]], name: str) -> None:
    first = digests(name)
    assert digests(name) == first
    method = digests(name, PLUGIN.replace("STEP = 3", "STEP = 4"))
    assert [a == b for a, b in zip(first, method, strict=True)] == [False, True, True]
    part = digests(name, PLUGIN.replace("(target, outputs)\n", "(target, 0 + outputs)\n"))
    assert [a == b for a, b in zip(first, part, strict=True)] == [True, False, True]


@pytest.mark.parametrize("file", list(BEHIND))
def test_digests_see_what_a_plugin_imports(digests: Callable[..., list[str]], file: str) -> None:
    first = digests(text=IMPORTING)
    assert digests(text=IMPORTING) == first
    changed = digests(text=IMPORTING, **{file: BEHIND[file] + "\n\ndef more():\n    return 1\n"})
    assert [a == b for a, b in zip(first, changed, strict=True)] == [file == "unused.py", True, True]


def test_a_digest_is_the_same_for_a_plugin_a_script_and_a_module(
    digests: Callable[..., list[str]], tmp_path: Path
) -> None:
    first = digests(text=IMPORTING)[0]
    show = "\nfrom redundancy.digest import digest_of\nprint(digest_of(Thirds()))\n"
    (tmp_path / "mine.py").write_text(IMPORTING + show)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    for arguments in (["mine.py"], ["-m", "mine"], ["-c", "import mine"]):
        run = subprocess.run(
            warm(*arguments), cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == first


def test_a_compiled_module_of_the_users_is_known_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if (spec := importlib.util.find_spec("xxlimited")) is None or not str(spec.origin).endswith(".so"):
        pytest.skip("this Python has no compiled module xxlimited beside it")
    compiled = tmp_path / Path(str(spec.origin)).name
    shutil.copy(str(spec.origin), compiled)
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("xxlimited")
    try:
        before = digest_of(module)
        with compiled.open("ab") as file:
            file.write(b"more")
        assert digest_of(module) != before
    finally:
        del sys.modules["xxlimited"]


CHANGED = """
from redundancy.digest import digest_of
from redundancy.pruning import FastVID
before = digest_of(FastVID())
retention, c, *others = FastVID.__init__.__defaults__
FastVID.__init__.__defaults__ = (retention, c + 1, *others)
assert FastVID().c == 9
print(before, digest_of(FastVID()), digest_of(FastVID(c=8)))
"""


def test_digests_see_a_changed_default(monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run(warm("-c", CHANGED), capture_output=True, text=True, check=True)
    before, changed, as_before = run.stdout.split()
    assert changed != before == as_before
    named = FastVID(merger="mixture", segmenter="dyseg")
    digest = digest_of(named)
    assert digest == digest_of(FastVID(merger="mixture", segmenter="dyseg"))
    monkeypatch.setitem(SEGMENTERS, "dyseg", replace(SEGMENTERS["dyseg"], c=5))  # a part that a name stands for
    assert digest_of(named) != digest


@pytest.mark.usefixtures("forgotten")
def test_a_plugin_is_loaded_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN)
    module = load_plugin(file)
    assert module.__name__ == "plugin_mine"
    assert load_plugin(str(tmp_path / "." / "mine.py")) is module
    assert as_method("thirds:note=y")(video()).kept == 43
    assert label_of(as_method("fastvid:merger=nothing")) == "fastvid(0.1, merger=nothing)"
    (tmp_path / "other").mkdir()
    again = tmp_path / "other" / "mine.py"
    again.write_text("x = 1")
    with pytest.raises(ValueError, match=r"other/mine.py given beside .*mine.py, expected files of different names"):
        load_plugin(again)
    assert load_plugin("json").__name__ == "json"


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nraise KeyError('a')", r"bad.py given, which raises KeyError in line 2: 'a'"),
        ("x = (", r"which raises SyntaxError in line 1"),
        ("import not_there", r"raises ModuleNotFoundError in line 1: No module named 'not_there'"),
        ("from redundancy.pruning import register\n\nregister(3)", r"raises TypeError in line 3: 3 given, expected a"),
    ],
)
def test_plugins_that_fail(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    for _ in range(2):
        with pytest.raises(ValueError, match=message):
            load_plugin(file)
    file.write_text("x = 1")
    assert load_plugin(file).x == 1


def test_plugins_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none.py given, expected a file that exists"):
        load_plugin(tmp_path / "none.py")
    with pytest.raises(ValueError, match=r"plug-in 'nowhere.mine' given, expected a file such as mine.py, or a module"):
        load_plugin("nowhere.mine")
    file = tmp_path / "a-b.py"
    file.write_text("")
    with pytest.raises(ValueError, match=r"expected a name of letters, digits and underscores that ends in \.py"):
        load_plugin(file)
