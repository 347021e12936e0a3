"""The examples in the docstrings of what a user types give what they say."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import redundancy as rd
from redundancy.metrics import agreement, attention, coverage, fidelity, position, temporal, trajectory, visual
from redundancy.pruning import FastVID

ROOT = Path(__file__).resolve().parents[1]
# documented where their rows and labels are described; an example of theirs is run as soon as it is there
NOT_YET = {"compare", "evaluate", "summarise", "table"}
NAMES: dict[str, Any] = {f"rd.{name}": getattr(rd, name) for name in rd.__all__ if name != "__version__"}
NAMES |= {
    f.__name__: f
    for f in (
        temporal.transition_similarity,
        visual.within_frame_similarity,
        trajectory.curvature,
        position.grid_spread,
        coverage.frames_covered,
        attention.video_share,
        fidelity.top1_agreement,
        agreement.anchor_jaccard,
    )
}


@pytest.fixture(scope="module")
def shared() -> dict[str, Any]:
    """What examples may name: a small model, four frames of a clip, and what is made of them."""
    model = rd.load_model("tiny-llava-onevision", device="cpu")
    clip = rd.load_video(ROOT / "data" / "clips" / "clip_000.mp4", frames=4)
    cap = rd.capture(model, clip, prompt="which digit flash ?")
    tokens = rd.VideoTokens.from_capture(cap)
    reduction = FastVID(retention=0.25)(tokens)
    named = {"model": model, "clip": clip, "cap": cap, "tokens": tokens, "reduction": reduction}
    return {"rd": rd, "torch": torch} | named


@pytest.mark.parametrize("name", list(NAMES))
def test_examples(
    name: str,
    shared: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "data").symlink_to(ROOT / "data")  # examples write below the folder that they run in
    monkeypatch.chdir(tmp_path)
    value = NAMES[name]
    globs = vars(sys.modules[value.__module__]) | shared
    found = [t for t in doctest.DocTestFinder().find(value, name, globs=globs) if t.examples]
    assert found or name.removeprefix("rd.") in NOT_YET, f"{name} has no example"
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in found:
        runner.run(test)
    assert not runner.failures, capsys.readouterr().out
