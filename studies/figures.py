"""Draw every figure again, and write tables, from stored results, without a model.

python -m studies.figures
python -m studies.figures retention_curve --results results --format pdf csv latex
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from redundancy.command_line import exit_status, parsed

from .core.run import draw
from .core.study import Format
from .registry import RESULTS, STUDIES, command_of, study


@dataclass(frozen=True)
class Options:
    """Draw figures from stored results.

    Parameters
    ----------
    studies
        Studies to draw; those without results are named and left out.
    results
        Folder that holds one folder per study.
    format
        Of files beside figures as PNG and SVG: each table as CSV or LaTeX, each figure as PDF.
    """

    studies: Annotated[tuple[str, ...], tyro.conf.Positional] = STUDIES
    results: Path = RESULTS
    format: tuple[Format, ...] = ()


def main(options: Options) -> list[Path]:
    """Draw the figures of every study that has results, and print where they are.

    Raises
    ------
    ValueError
        If no study has results there.
    """
    drawn: list[Path] = []
    for name in options.studies:
        chosen, folder = study(name), options.results / name
        if (folder / "summary.zarr").is_dir():
            drawn += draw(chosen, folder, options.format)
        else:
            print(f"{name}: no results in {folder}; run {command_of(name)}")
    if not drawn:
        raise ValueError(f"{options.results} holds no results of {', '.join(options.studies)}; run a study first")
    print("\n".join(map(str, drawn)))
    return drawn


if __name__ == "__main__":
    with exit_status():
        main(parsed(Options))
