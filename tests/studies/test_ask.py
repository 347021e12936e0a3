"""One question, with and without a method."""

from __future__ import annotations

from pathlib import Path

import pytest

from redundancy.evaluation.cells import NothingMeasuredError
from studies.ask import Options, main, method_of


def test_all_tokens_and_the_methods(capsys: pytest.CaptureFixture[str]):
    answers = main(Options(method="fastvid", retention=0.25, repeats=1, frames=16))
    whole, pruned = answers["all tokens"], answers["fastvid"]
    assert (whole.tokens_before, whole.tokens_after) == (784, 784)
    assert (pruned.tokens_before, pruned.tokens_after) == (784, 192)  # 12 of 49 in every frame
    assert whole.text in {"one", "two", "three", "four"}
    assert whole.seconds > 0
    assert pruned.seconds > 0
    printed = capsys.readouterr().out
    assert "25.0%" in printed
    assert "Requested retention 25.0%." in printed


def test_no_method():
    assert list(main(Options(method="none", repeats=1, frames=8))) == ["all tokens"]


def test_unknown_methods_and_fixed_rates_are_refused():
    with pytest.raises(ValueError, match="there is no method 'fastvids'"):
        method_of("fastvids", None)
    with pytest.raises(ValueError, match="retention"):
        method_of("fastvid", 1.5)


def test_a_video_that_cannot_be_read_ends_in_a_sentence(tmp_path: Path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(NothingMeasuredError, match=r"a\.mp4: NotAVideoError: "):
        main(Options(video=tmp_path / "a.mp4", repeats=1))
