"""Write a page for every study from what is stored of it: `python -m tools.pages`.

Question and method are those of the study's docstring, the finding is made of the numbers of the stored summary, tables
are those that the study prints, published numbers stand apart with their source.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import xarray as xr

from redundancy import published
from redundancy.evaluation.tables import Table
from redundancy.recording import open_dataset
from studies.core.run import draw
from studies.core.study import Study
from studies.registry import STUDIES, command_of, one_line, study

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "data" / "results"
PAGES = ROOT / "docs" / "studies"
PRINTED = "As printed, for other models and benchmarks: not to be compared cell by cell."
WORDS = 150  # of a finding
CAVEATS = (
    "The models are small and were trained on a procedural world: what holds for them is a hypothesis for models of 7B "
    "parameters, and the same command tests it there (`--model`, `--videos`).",
    "Intervals are over clips; differences are paired. Unless a q stands beside it, an interval is that of one "
    "comparison alone, and of many some leave out 0 by chance.",
)


def stored(name: str, results: Path = RESULTS) -> xr.Dataset | None:
    """The stored summary of a study; None where there is none."""
    folder = results / name / "summary.zarr"
    return open_dataset(folder).load() if folder.is_dir() else None


def finding(chosen: Study, summary: xr.Dataset) -> str:
    """What the numbers of a summary say, in at most `WORDS` words; sentences beyond them are left out."""
    told: list[str] = []
    for sentence in chosen.finding(summary):
        if sentence and len(" - ".join(["", *told, sentence]).split()) <= WORDS:
            told.append(sentence)
    return "\n".join(f"- {sentence}" for sentence in told)


def page(name: str, summary: xr.Dataset) -> str:
    """The page of a study, as Markdown."""
    chosen = study(name)
    text = sys.modules[chosen.options.__module__].__doc__ or ""
    question, _, about = text.strip().partition("\n\n")
    about = about.partition("\n    python -m")[0].strip()
    endings = [f"{name}_{ending}" if ending else name for ending in chosen.figures]
    pictures = "\n\n".join(f"![{name}]({picture}.png)" for picture in endings)
    tables = [_table(part, summary) for part in chosen.tables_of(summary) if isinstance(part, Table)]
    beside = [_published(one, settings) for one, settings in chosen.published.items()]
    caveats = "\n".join(f"- {caveat}" for caveat in (*chosen.caveats, *CAVEATS))
    parts = [
        f"# {name}",
        f"**{question}**",
        about,
        f"    {command_of(name)}",
        "## Finding",
        finding(chosen, summary) or "Nothing differs clearly.",
        pictures,
        *(["## Numbers", *(table for table in tables if table)] if any(tables) else []),
        *(
            ["## Published", "As printed, on other models and benchmarks: not to be compared cell by cell.", *beside]
            * bool(beside)
        ),
        "## Caveats",
        caveats,
        _made(summary),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _made(summary: xr.Dataset) -> str:
    told = summary.attrs
    failed = len(told["failed"])
    return (
        f"*{told['model']}, {told['videos']} videos{f', {failed} failed' if failed else ''}, {told['frames']} frames, "
        f"{told['dtype']}; redundancy {told['redundancy_version']}, commit {str(told['commit'])[:10]}; made by "
        f"`{told['command']}`, stored in `data/results/{told['study']}`.*"
    )


def _table(table: Table, summary: xr.Dataset) -> str:
    frame = table.frame(summary)
    if frame.empty:
        return ""
    lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns)]
    lines += [[str(cell) for cell in row] for row in frame.to_numpy().tolist()]
    rows = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    return "\n\n".join(filter(None, (table.title, rows)))


def _published(name: str, settings: tuple[str, ...]) -> str:
    one = published.table(name)
    frame = one.frame(*settings).dropna(axis=1, how="all")
    lines = [list(map(str, frame.columns)), ["---"] * len(frame.columns)]
    lines += [
        ["-" if cell is None or cell != cell else _plain(cell) for cell in row] for row in frame.to_numpy().tolist()
    ]
    rows = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{one.what} ({one.citation}{f'; {one.model}' if one.model else ''}):\n\n{rows}"


def _plain(cell: object) -> str:
    return (
        f"{cell:g}"
        if isinstance(cell, int | float)
        else json.dumps(cell)
        if isinstance(cell, list | dict)
        else str(cell)
    )


def write() -> list[Path]:
    """Every study's page and figures; those of which nothing is stored are named."""
    PAGES.mkdir(parents=True, exist_ok=True)
    written = []
    for name in STUDIES:
        summary = stored(name)
        if summary is None:
            print(f"{name}: nothing stored in {RESULTS / name}")
            continue
        for picture in draw(study(name), RESULTS / name):
            if picture.suffix == ".png":
                shutil.move(picture, PAGES / picture.name)
            else:
                picture.unlink()
        written.append(PAGES / f"{name}.md")
        written[-1].write_text(page(name, summary))
    lines = [f"- [{p.stem}]({p.name}): {one_line(p.stem)}" for p in written]
    (PAGES / "README.md").write_text("# Studies\n\n" + "\n".join(lines) + "\n")
    return written


if __name__ == "__main__":
    print("\n".join(map(str, write())))
