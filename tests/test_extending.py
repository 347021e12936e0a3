"""CONTRIBUTING's table is true: one of each kind, added to a copy by touching what its row names, passes the tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.warm_python import python as warm

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("redundancy", "studies", "tests", "tools", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "pyproject.toml")
SEGMENTER = '''"""Segments that begin wherever a frame's mean feature leaves that of the frame before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from redundancy.pruning.base import require_frames, require_range
from redundancy.pruning.parts.segment.base import Segmenter, cuts_to_lengths
from redundancy.tokens import VideoTokens


@dataclass(frozen=True)
class WhereChanged(Segmenter):
    """A cut wherever the mean token changes by more than a norm.

    Example
    -------
    >>> int(WhereChanged()(tokens).sum())
    8
    """

    name: ClassVar[str] = "where_changed"

    beyond: float | int = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("beyond", self.beyond, 0)

    def __call__(self, tokens: VideoTokens) -> Int64[Tensor, "segments"]:
        """Segment lengths of one video."""
        require_frames(tokens)
        mean = tokens.features.float().mean(1)
        change = (mean[1:] - mean[:-1]).norm(dim=-1)
        return cuts_to_lengths(torch.nonzero(change > self.beyond).flatten().cpu(), tokens.grid.frames)
'''
SEGMENTER_CASE = """

def test_where_changed() -> None:
    features = torch.tensor([0.0, 0, 5, 5, 5])[:, None, None].expand(5, 2, 3)
    tokens = VideoTokens.from_features(features + 1, rows=1, cols=2)
    assert SEGMENTERS["where_changed"](tokens).tolist() == [2, 3]
"""
FAMILY = '''"""A family as a file of its own."""

from __future__ import annotations

from typing import ClassVar

from redundancy.models.qwen_vl import QwenVL, qwen_layout
from redundancy.tokens import TokenLayout


class Qwen2VL(QwenVL):
    """Adapter of `Qwen2VLForConditionalGeneration` (arXiv:2409.12191)."""

    name = "qwen2_vl"
    model_types: ClassVar[tuple[str, ...]] = ("qwen2_vl",)
    sampling: ClassVar[str] = "qwen2_vl"
    layout: ClassVar[TokenLayout] = qwen_layout("qwen2_vl")
'''
METRIC_CHECKS = """    "changed_places": Checks(
        known=(
            Known("static", STATIC, 0.0),
            Known("orthogonal", {"tokens": torch.eye(3)[:, None].expand(3, 4, 3)}, 1.0),
        ),
        oracle=lambda tokens, below=0.9: (cosines_of(tokens) < below).mean(1),
        sample=videos,
    ),
}


def cosines_of(tokens: torch.Tensor) -> np.ndarray:
    x = tokens.numpy().astype(np.float32)
    x = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
    return (x[1:] * x[:-1]).sum(-1)
"""
FIGURE_CASE = """    "my_study": {"": lambda: summary_of(["correct", "kl", "reconstruction_error"])},
"""


class Copy:
    """A copy of the checkout that is edited."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=ignored) if source.is_dir() else shutil.copy(source, folder)
        for name in ("data", "docs", "notebooks", "benchmarks"):
            (folder / name).symlink_to(ROOT / name)

    def write(self, file: str, text: str) -> None:
        (self.folder / file).write_text(text)

    def change(self, file: str, *changes: tuple[str, str]) -> None:
        """Replace texts, each of which is there once."""
        text = (self.folder / file).read_text()
        for old, new in changes:
            assert text.count(old) == 1, f"{file}: {old!r} stands there {text.count(old)} times"
            text = text.replace(old, new)
        self.write(file, text)

    def run(self, *arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        # pytest rewrites what it imports, and warns of what is imported already
        command = [sys.executable, "-m", *arguments] if arguments[0] == "pytest" else warm("-m", *arguments)
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
        return done.stdout


def block(name: str) -> str:
    """A block of CONTRIBUTING."""
    found = re.search(rf"```python\n# {name}\.py\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def add_method(copy: Copy) -> None:
    code = block("my_method").replace("from redundancy.pruning import register\n", "")
    code = code.replace('@register(name="most_changed")\n', "").replace(
        "from dataclasses", "from typing import ClassVar\n\nfrom dataclasses"
    )
    code = code.replace(
        '    """\n\n    retention: float',
        '\n    Example\n    -------\n    >>> MostChanged(retention=0.25)(tokens).kept\n    32\n    """\n\n'
        '    name: ClassVar[str] = "most_changed"\n\n    retention: float',
    )
    code = code.replace(
        "    def _decide(",
        "    def bounds(self, tokens: VideoTokens) -> tuple[float, float]:\n"
        '        """Exact but for rounding."""\n'
        "        size = tokens.grid.frames * tokens.grid.tokens_per_frame\n"
        "        share = max(1, round(self.retention * size)) / size\n"
        "        return share, share\n\n    def _decide(",
    )
    copy.write("redundancy/pruning/methods/most_changed.py", code)
    imported = "from redundancy.pruning.methods.most_changed import MostChanged"
    after = "from redundancy.pruning.methods.holitom_inner import HoliTomInner\n"
    copy.change(
        "redundancy/pruning/table.py",
        (after, f"{after}{imported}\n"),
        ("    PruneVid(),\n", "    PruneVid(),\n    MostChanged(),\n"),
    )
    after = "    from redundancy.pruning.methods.holitom_inner import HoliTomInner as HoliTomInner\n"
    copy.change("redundancy/pruning/__init__.py", (after, f"{after}    {imported} as MostChanged\n"))


def add_segmenter(copy: Copy) -> None:
    copy.write("redundancy/pruning/parts/segment/changed.py", SEGMENTER)
    after = "from redundancy.pruning.parts.segment.density import"
    line = "from redundancy.pruning.parts.segment.changed import WhereChanged\n"
    copy.change(
        "redundancy/pruning/parts/segment/__init__.py",
        (after, line + after),
        ("    StaticWindows(),\n", "    StaticWindows(),\n    WhereChanged(),\n"),
        ('    "StaticWindows",\n', '    "StaticWindows",\n    "WhereChanged",\n'),
    )
    file = copy.folder / "tests/pruning/test_segment.py"
    file.write_text(file.read_text() + SEGMENTER_CASE)


def add_metric(copy: Copy) -> None:
    copy.write("redundancy/metrics/temporal/changed.py", block("my_metric"))
    after = "from redundancy.metrics.temporal.skill import persistence_skill\n"
    copy.change(
        "redundancy/metrics/temporal/__init__.py",
        (after, f"{after}from redundancy.metrics.temporal.changed import changed_places\n"),
        ('    "autocorrelation",\n', '    "autocorrelation",\n    "changed_places",\n'),
    )
    file = copy.folder / "tests/metrics/checks/temporal.py"
    text = file.read_text().rstrip()
    assert text.endswith("}")
    file.write_text(text[:-1] + METRIC_CHECKS)


def add_study(copy: Copy) -> None:
    """With its figure."""
    code = block("my_study").replace("from studies.core.", "from .core.")
    copy.write("studies/my_study.py", code)
    copy.change("studies/registry.py", ('    "efficiency",\n', '    "efficiency",\n    "my_study",\n'))
    small = '    "efficiency": {"methods": ("fastvid",), "retentions": (0.5,), "new_tokens": 2, "repeats": 1},\n'
    line = '    "my_study": {"retentions": (0.5,), "seeds": 1},\n'
    copy.change("tests/studies/conftest.py", (small, small + line))
    copy.change(
        "tests/studies/test_life.py",
        (
            '    "efficiency": {"retentions": (0.5, 0.25)},\n',
            '    "efficiency": {"retentions": (0.5, 0.25)},\n    "my_study": {"retentions": (0.5, 0.25)},\n',
        ),
        ('    "efficiency": ("repeat",),\n', '    "efficiency": ("repeat",),\n    "my_study": ("seed",),\n'),
    )
    copy.change(
        "tests/plot/test_study_figures.py",
        ('    "efficiency": {"": of_efficiency},\n', '    "efficiency": {"": of_efficiency},\n' + FIGURE_CASE),
    )


def add_family(copy: Copy) -> None:
    """One that is there, in a file of its own: its line and its builder stay where they are."""
    file = copy.folder / "redundancy/models/qwen2_vl.py"
    file.write_text(re.sub(r"class Qwen2VL\(QwenVL\):.*?(?=class Qwen2_5VL)", "", file.read_text(), flags=re.DOTALL))
    copy.write("redundancy/models/my_family.py", FAMILY)
    old = "from redundancy.models.qwen2_vl import Qwen2_5VL, Qwen2VL\n"
    new = "from redundancy.models.my_family import Qwen2VL\nfrom redundancy.models.qwen2_vl import Qwen2_5VL\n"
    copy.change("redundancy/models/load.py", (old, new))


def test_one_of_each_is_added_by_following_the_table(tmp_path: Path) -> None:
    copy = Copy(tmp_path)
    for add in (add_method, add_segmenter, add_metric, add_study, add_family):
        add(copy)
    copy.run("tools.readme")
    new = "most_changed or MostChanged or where_changed or WhereChanged or changed_places or my_study or temporal"
    tables = "up_to_date or in_the_table or every_figure_of_every or every_study_and_option or pictures_and_files"
    few = f"({new} or qwen2_vl or {tables}) and not an_interrupted and not every_public"
    few += " and not understood and not temporal_order"
    tests = (
        *("tests/pruning/test_methods.py", "tests/pruning/test_host.py", "tests/pruning/test_doctests.py"),
        *("tests/pruning/test_segment.py", "tests/metrics/test_registry.py", "tests/metrics/test_own_metric.py"),
        *("tests/studies/test_life.py", "tests/plot/test_study_figures.py", "tests/models/test_video_llm.py"),
        *("tests/test_layers.py", "tests/test_api.py", "tests/test_size.py", "tests/studies/test_command_line.py"),
    )
    readme = "tests/test_readme.py"
    said = copy.run("pytest", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=fast", "-k", few, *tests, readme)
    assert int(re.findall(r"(\d+) passed", said)[0]) > 150
