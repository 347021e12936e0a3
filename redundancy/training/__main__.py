"""Train, export and describe a small model.

python -m redundancy.training --family qwen3_vl --size nano --out results/models
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from transformers.utils import logging

from redundancy.models import load_model
from redundancy.training.card import write_card
from redundancy.training.export import export
from redundancy.training.held_out import ANSWERS, answer_held_out, save_answers
from redundancy.training.recipe import recipe_of
from redundancy.training.run import train
from redundancy.training.small_models import FAMILIES, SIZES

CHANGES = {
    "videos": "in the pool",
    "tower_steps": "of stage 1",
    "tower_batch": "temporal steps in a step of stage 1",
    "language_steps": "of stage 2",
    "language_batch": "videos in a step of stage 2",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a small model, export it and write its card."""
    parser = argparse.ArgumentParser(
        prog="python -m redundancy.training",
        description="Train a small model on the procedural world; a run that was stopped goes on where it was.",
    )
    parser.add_argument("--family", required=True, choices=[*FAMILIES])
    parser.add_argument("--size", default="nano", choices=[*SIZES])
    parser.add_argument("--out", type=Path, default=Path("results/models"), help="folder of the exported models")
    parser.add_argument("--name", help="of the model's folder; default: as the family's model is bundled")
    parser.add_argument("--run", type=Path, help="folder of the run; default: results/training/FAMILY-SIZE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    for name, what in CHANGES.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, help=f"{what}; default: that of the size")
    parser.add_argument("--held-out", type=int, default=512, help="videos that the model card measures on")
    parser.add_argument("--compared", type=int, default=128, help="those of them on which methods are compared")
    parser.add_argument("--log-every", type=int, default=25, help="steps between lines of progress")
    given = parser.parse_args(arguments)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        recipe = recipe_of(
            given.family,
            given.size,
            seed=given.seed,
            **{name: getattr(given, name) for name in CHANGES},
        )
        run = given.run or Path("results/training") / f"{given.family}-{given.size}"
        trained = train(recipe, run, device=given.device, log_every=given.log_every)
    except ValueError as error:
        parser.error(str(error))
    folder = export(trained, given.out, name=given.name)
    model, compared = load_model(folder, device=given.device), min(given.compared, given.held_out)
    answers = answer_held_out(model, recipe.sizes, videos=given.held_out, compared=compared)
    save_answers(answers, folder / ANSWERS)
    write_card(folder)
    print(f"the model lies in {folder}; load_model({str(folder)!r}) loads it")


if __name__ == "__main__":
    main()
