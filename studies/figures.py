"""Draw every figure again from stored results, without a model.

python -m studies.figures
python -m studies.figures retention_curve --results results
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from redundancy.command_line import exit_status, parsed
from studies.core.run import draw
from studies.registry import RESULTS, STUDIES, study


@dataclass(frozen=True)
class Options:
    """Draw figures from stored results.

    Parameters
    ----------
    studies
        Studies to draw; those without results are named and left out.
    results
        Folder that holds one folder per study.
    """

    studies: Annotated[tuple[str, ...], tyro.conf.Positional] = STUDIES
    results: Path = RESULTS


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
            drawn += draw(chosen, folder)
        else:
            print(f"{name}: no results in {folder}; run python -m studies.{name}")
    if not drawn:
        raise ValueError(f"{options.results} holds no results of {', '.join(options.studies)}; run a study first")
    print("\n".join(map(str, drawn)))
    return drawn


if __name__ == "__main__":
    with exit_status():
        main(parsed(Options))
