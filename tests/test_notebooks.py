"""Every notebook runs, and the executed copy beside it shows the same code."""

from __future__ import annotations

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
SOURCES = sorted(FOLDER.glob("*.py"))


def test_there_are_notebooks():
    assert SOURCES


def test_all_run():
    """One after the other in one process, which forgets between them what the one before has named."""
    notebooks = [jupytext.read(source) for source in SOURCES]
    together = nbformat.v4.new_notebook()
    for notebook in notebooks:
        together.cells += [nbformat.v4.new_code_cell("%reset -f"), *notebook.cells]
    resources = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(together, timeout=300, kernel_name="python3", resources=resources).execute()
    for source, notebook in zip(SOURCES, notebooks, strict=True):
        shown = [o for cell in notebook.cells for o in cell.get("outputs", ()) if "image/png" in o.get("data", {})]
        assert shown, source.name


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_executed_copy_is_the_same(source: Path):
    written = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    code = [c.source for c in jupytext.read(source).cells if c.cell_type == "code"]
    copy = [c for c in written.cells if c.cell_type == "code"]
    assert [c.source for c in copy] == code, "run make notebooks"
    assert all(c.execution_count for c in copy), "run make notebooks"
    assert not [o for c in copy for o in c.outputs if o.output_type == "error"]
