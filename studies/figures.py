"""Draw every figure again from stored results, without a model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from studies.registry import RESULTS, STUDIES, study
from studies.runner import command_line


@dataclass(frozen=True)
class Options:
    """Draw figures from stored results.

    Parameters
    ----------
    results
        Folder that holds one folder per study.
    studies
        Studies to draw; those without results are named and left out.
    """

    results: Path = RESULTS
    studies: tuple[str, ...] = STUDIES


def main(options: Options) -> list[Path]:
    """Draw the figures of every study that has results, and print where they are.

    Raises
    ------
    ValueError
        If no study has results there.
    """
    drawn: list[Path] = []
    for name in options.studies:
        folder = options.results / name
        if (folder / "summary.zarr").is_dir():
            drawn += study(name).draw(folder)
        else:
            print(f"{name}: no results in {folder}; run python -m studies.{name}")
    if not drawn:
        raise ValueError(f"{options.results} holds no results of {', '.join(options.studies)}; run a study first")
    print("\n".join(map(str, drawn)))
    return drawn


if __name__ == "__main__":
    command_line(Options, main)
