"""A page for every study: made of what is stored of it, in few words; and what is stored is small and draws figures."""

from __future__ import annotations

import re

import pytest

from redundancy import published
from studies import figures
from studies.registry import STUDIES, study
from tools.pages import PAGES, RESULTS, WORDS, finding, page, stored


@pytest.mark.parametrize("name", STUDIES)
def test_the_page_is_that_of_the_stored_summary(name: str):
    summary = stored(name)
    assert summary is not None, f"run the study, and copy its summary.zarr to {RESULTS / name}"
    text = (PAGES / f"{name}.md").read_text()
    assert text == page(name, summary), "run make readme"
    said = finding(study(name), summary)
    assert 0 < len(said.split()) <= WORDS
    assert re.search(r"\d", said)
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (PAGES / picture).is_file()
    for one in study(name).published:
        assert published.table(one).source in text


def test_what_is_stored_is_small():
    files = [path for path in RESULTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 5e6


def test_figures_are_drawn_of_what_is_stored(tmp_path, capsys: pytest.CaptureFixture[str]):
    """In a copy: the folder of a checkout stays as it is."""
    (tmp_path / "method_agreement").mkdir()
    (tmp_path / "method_agreement" / "summary.zarr").symlink_to(RESULTS / "method_agreement" / "summary.zarr")
    drawn = figures.main(figures.Options(studies=("method_agreement",), results=tmp_path))
    assert [path.name for path in drawn] == ["method_agreement.png", "method_agreement.svg"]
    assert str(drawn[0]) in capsys.readouterr().out
