"""The methods reproduce the authors' results; the comparison itself can fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import golden
from tests.golden_checks.case import Mismatch

FILES = golden.files_below(golden.BUNDLED)


def test_all_shown_cases_are_bundled() -> None:
    assert len(FILES) == 76


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_reference(path: Path) -> None:
    golden.run(path)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_changed_result_is_noticed(path: Path, tmp_path: Path) -> None:
    with np.load(path) as file:
        arrays = {n: file[n].copy() for n in file.files}
    results = [n for n in arrays if n.startswith(("out_", "windows_", "budget_", "curvature_")) and arrays[n].size]
    arrays[results[-1]].flat[-1] += 1
    changed = tmp_path / path.parent.name / path.name
    changed.parent.mkdir()
    np.savez(changed, **arrays)
    with pytest.raises(Mismatch, match=results[-1]):
        golden.run(changed)


def test_unknown_cases_missing_and_extra_arrays_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(golden.BUNDLED / "vcast" / "vc_tiny.npz") as file:
        arrays = {n: file[n] for n in file.files}
    for folder in ("vcast", "strange"):
        (tmp_path / folder).mkdir()
    np.savez(tmp_path / "strange" / "vc_tiny.npz", **arrays)
    np.savez(tmp_path / "vcast" / "extra.npz", **arrays, out_other=np.zeros(1))
    arrays.pop("param_min_k")
    np.savez(tmp_path / "vcast" / "missing.npz", **arrays)
    assert golden.main(tmp_path) == 1
    out = capsys.readouterr().out
    assert "unknown kind of case strange/vc_tiny.npz" in out
    assert "lacks the array param_min_k" in out
    assert "no check looked at: out_other" in out
    assert out.endswith("0 passed, 3 failed\n")


def test_a_case_without_deepstack_is_checked(tmp_path: Path) -> None:
    with np.load(golden.BUNDLED / "vcast" / "vc_tiny.npz") as file:
        arrays = {n: file[n] for n in file.files if not n.endswith("_deepstack")}
        unmade = arrays | {"out_deepstack": file["out_deepstack"]}
    (tmp_path / "vcast").mkdir()
    np.savez(tmp_path / "vcast" / "plain.npz", **arrays)
    assert golden.main(tmp_path) == 0
    np.savez(tmp_path / "vcast" / "plain.npz", **unmade)
    assert golden.main(tmp_path) == 1


def test_an_empty_folder_fails(tmp_path: Path) -> None:
    assert golden.main(tmp_path) == 1
