"""Train, export and describe a small model.

python -m redundancy.training --family qwen3_vl --size nano --out results/models
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from transformers.utils import logging

from redundancy.models import load_model
from redundancy.training.card import write_card
from redundancy.training.export import export
from redundancy.training.held_out import ANSWERS, answer_held_out, save_answers
from redundancy.training.recipe import recipe_of
from redundancy.training.run import train

# of a recipe, by the options that change them
CHANGES = ("videos", "tower_steps", "tower_batch", "language_steps", "language_batch")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Train a small model on the procedural world; a run that was stopped goes on where it was.

    Parameters
    ----------
    family
        Architecture: llava_onevision, qwen2_5_vl or qwen3_vl.
    size
        Of the model: nano or small.
    out
        Folder of the exported models.
    name
        Of the model's folder; default: as the family's model is bundled.
    run
        Folder of the run; default: results/training/FAMILY-SIZE.
    device
        To train on.
    seed
        Of weights and videos.
    videos
        In the pool; default, as of the next four: that of the size.
    tower_steps
        Of stage 1.
    tower_batch
        Temporal steps in a step of stage 1.
    language_steps
        Of stage 2.
    language_batch
        Videos in a step of stage 2.
    held_out
        Videos that the model card measures on.
    compared
        Those of them on which methods are compared.
    log_every
        Steps between lines of progress.
    """

    family: str
    size: str = "nano"
    out: Path = Path("results/models")
    name: str | None = None
    run: Path | None = None
    device: str = "cpu"
    seed: int = 0
    videos: int | None = None
    tower_steps: int | None = None
    tower_batch: int | None = None
    language_steps: int | None = None
    language_batch: int | None = None
    held_out: int = 512
    compared: int = 128
    log_every: int = 25


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a small model, export it and write its card."""
    given = tyro.cli(Options, args=arguments, prog="python -m redundancy.training")
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        changes = {name: getattr(given, name) for name in CHANGES}
        recipe = recipe_of(given.family, given.size, seed=given.seed, **changes)
        run = given.run or Path("results/training") / f"{given.family}-{given.size}"
        trained = train(recipe, run, device=given.device, log_every=given.log_every)
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    folder = export(trained, given.out, name=given.name)
    model, compared = load_model(folder, device=given.device), min(given.compared, given.held_out)
    answers = answer_held_out(model, recipe.sizes, videos=given.held_out, compared=compared)
    save_answers(answers, folder / ANSWERS)
    write_card(folder)
    print(f"the model lies in {folder}; load_model({str(folder)!r}) loads it")


if __name__ == "__main__":
    main()
