"""Train, export and describe a small model.

python -m redundancy.world.train --family qwen3_vl --size nano --out results/models
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from transformers.utils import logging

from redundancy.world.train.export import export, write_card
from redundancy.world.train.recipe import recipe_of
from redundancy.world.train.run import train
from redundancy.world.train.small_models import FAMILIES, SIZES


def main(arguments: Sequence[str] | None = None) -> None:
    """Train a small model, export it and write its card.

    Source: own.
    """
    parser = argparse.ArgumentParser(
        prog="python -m redundancy.world.train",
        description="Train a small model on the procedural world; a run that was stopped goes on where it was.",
    )
    parser.add_argument("--family", required=True, choices=[*FAMILIES])
    parser.add_argument("--size", default="nano", choices=[*SIZES])
    parser.add_argument("--out", type=Path, default=Path("results/models"), help="folder of the exported models")
    parser.add_argument("--run", type=Path, help="folder of the run; default: results/training/FAMILY-SIZE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--videos", type=int, help="in the pool; default: that of the recipe")
    parser.add_argument("--tower-steps", type=int, help="of stage 1; default: that of the recipe")
    parser.add_argument("--language-steps", type=int, help="of stage 2; default: that of the recipe")
    parser.add_argument("--held-out", type=int, default=512, help="videos that the model card measures on")
    parser.add_argument("--compared", type=int, default=128, help="those of them on which methods are compared")
    parser.add_argument("--log-every", type=int, default=25, help="steps between lines of progress")
    given = parser.parse_args(arguments)
    logging.disable_progress_bar()  # of loading and saving
    try:
        recipe = recipe_of(
            given.family,
            given.size,
            videos=given.videos,
            tower_steps=given.tower_steps,
            language_steps=given.language_steps,
            seed=given.seed,
        )
        run = given.run or Path("results/training") / f"{given.family}-{given.size}"
        trained = train(recipe, run, device=given.device, log_every=given.log_every)
    except ValueError as error:
        parser.error(str(error))
    folder = export(trained, given.out)
    write_card(trained, run, folder, videos=given.held_out, compared=min(given.compared, given.held_out))
    print(f"the model lies in {folder}; load_model({str(folder)!r}) loads it")


if __name__ == "__main__":
    main()
