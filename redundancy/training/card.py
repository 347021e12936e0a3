"""The model card of a small model: how it was trained, and what it answers with all tokens and with fewer.

python -m redundancy.training.card results/models/tiny-qwen3-vl
"""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import tyro
from safetensors import safe_open

from redundancy.plot import accuracy_over_retention, learning_curve, save
from redundancy.training.export import TRAINING
from redundancy.training.held_out import ANSWERS, METHODS, HeldOut, as_dataset, load_answers
from redundancy.training.recipe import Recipe
from redundancy.training.small_models import frames_per_step

LICENSE = "apache-2.0"
FIGURES = "figures"


def write_card(folder: Path) -> None:
    """Write `README.md` and its figures into the folder of an exported model, from what lies there.

    Parameters
    ----------
    folder
        With `training.json` and `held_out.json`.

    Raises
    ------
    FileNotFoundError
        If one of them is missing.
    """
    told, answers = json.loads((folder / TRAINING).read_text()), load_answers(folder / ANSWERS)
    for name, figure in (
        ("learning_curve", learning_curve(told["history"])),
        ("accuracy_over_retention", accuracy_over_retention(as_dataset(answers))),
    ):
        _, vector = save(figure, folder / FIGURES / name)
        vector.unlink()  # the card shows the PNG
    (folder / "README.md").write_text(_card(folder, told, answers))


def parameter_count(folder: Path) -> int:
    """Number of parameters that a folder's weights hold."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def _card(folder: Path, told: Mapping[str, Any], answers: HeldOut) -> str:
    recipe, history, used = Recipe.from_dict(told["recipe"]), told["history"], told["made_with"]
    size, tower, language = recipe.sizes, recipe.tower, recipe.language
    minutes = {s: max(h["seconds"] for h in history if h["stage"] == s) / 60 for s in ("tower", "language")}
    first = answers.random[answers.random["share"] == 1].set_index("skill")["questions"]
    count, videos = int(first["mean"]), int(first.drop("mean").max())
    compared, whole = int(answers.methods["videos"].iloc[0]), interval(answers.methods.iloc[0])
    each = "frame" if frames_per_step(recipe.family) == 1 else "pair of frames"
    about = f"""
        A {recipe.family} of {parameter_count(folder) / 1e6:.2f} M parameters (size `{recipe.size}`), trained from
        random weights on a procedural world of coloured shapes, scene cuts and a flashing digit, so that token
        reduction can be studied offline on a model whose answers mean something. It sees {size.frames} frames of
        {size.pixels} px, with {size.cells**2} tokens for each {each}; a question is a sentence of its word-level
        vocabulary, an answer one word. It knows nothing but this world."""
    hinted = f"""In the first {recipe.hint_until:.0%} of the steps attention is drawn to the tokens that show what is
        asked about, ever less (`redundancy.training.hints`)."""
    made = f"""
        With redundancy {used["redundancy"]} (commit {used["commit"]}), torch {used["torch"]}, transformers
        {used["transformers"]}, {used["machine"]}. (1) Vision tower: {tower.steps} steps of {tower.batch}
        temporal steps, {minutes["tower"]:.0f} minutes: what each cell of a frame shows, read from its token by a
        linear probe. (2) Language model: {language.steps} steps of {language.batch} videos with {recipe.questions}
        questions each, {minutes["language"]:.0f} minutes, on {recipe.videos:,} videos; {recipe.drop:.0%} of the steps
        drop video tokens (`redundancy.training.dropout` of that commit; kept positions, sometimes renumbered).
        {hinted if recipe.hint else ""}"""
    asked = f"""
        {videos} videos that training did not draw, {count:,} questions; 95% Wilson intervals, for the mean over
        skills a bootstrap over videos. Tokens are drawn over the whole video (seed 0); the achieved share is in
        brackets. Chance is that of guessing among the options."""
    compare = f"""
        Mean over skills on the first {compared} of these videos, with 95% bootstrap intervals over videos and the
        achieved share in brackets; methods with their defaults in this package. All tokens: {whole}."""
    return f"""---
library_name: transformers
pipeline_tag: image-text-to-text
license: {LICENSE}
tags: [video, token-pruning, synthetic]
---

# {folder.name}

{_wrapped(about)}

## Training

    {_command(recipe)}

{_wrapped(made)}

![learning curve]({FIGURES}/learning_curve.png)

## Held-out accuracy

{_wrapped(asked)}

{_random_table(answers.random)}

## Accuracy over retention

{_wrapped(compare)}

{_method_table(answers.methods)}

![accuracy over retention]({FIGURES}/accuracy_over_retention.png)
"""


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 118, break_on_hyphens=False)


def _command(recipe: Recipe) -> str:
    options = {
        "family": recipe.family,
        "size": recipe.size,
        "videos": recipe.videos,
        "tower-steps": recipe.tower.steps,
        "tower-batch": recipe.tower.batch,
        "language-steps": recipe.language.steps,
        "language-batch": recipe.language.batch,
        "seed": recipe.seed,
    }
    return " ".join(["python -m redundancy.training", *(f"--{k} {v}" for k, v in options.items())])


def _random_table(random: pd.DataFrame) -> str:
    shares = sorted(set(random["share"]), reverse=True)
    skills = list(dict.fromkeys(random["skill"]))
    achieved = {share: random.loc[random["share"] == share, "achieved"].iloc[0] for share in shares}
    heads = [f"{share:.0%} ({achieved[share]:.3f})" if share < 1 else "all tokens" for share in shares]
    lines = [f"| skill | chance | {' | '.join(heads)} |", "|" + "---|" * (len(shares) + 2)]
    indexed = random.set_index(["skill", "share"])
    for skill in skills:
        cells = [interval(indexed.loc[(skill, share)]) for share in shares]
        lines.append(f"| {skill} | {indexed.loc[(skill, 1.0), 'chance']:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _method_table(methods: pd.DataFrame) -> str:
    shares = sorted({s for s in methods["requested"] if s < 1}, reverse=True)
    lines = [f"| method | {' | '.join(f'{s:.0%}' for s in shares)} |", "|" + "---|" * (len(shares) + 1)]
    indexed = methods.set_index(["method", "requested"])
    for name in METHODS:
        cells = [indexed.loc[(name, share)] for share in shares]
        lines.append(f"| {name} | {' | '.join(f'{interval(c)} ({c.achieved:.3f})' for c in cells)} |")
    return "\n".join(lines)


def interval(row: Any) -> str:
    """Accuracy of a row of the answers with its interval."""
    return f"{row.accuracy:.2f} [{row.low:.2f}, {row.high:.2f}]"


def write_cards(folders: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Write the cards of exported models again, from their training.json and held_out.json.

    Parameters
    ----------
    folders
        Of exported models.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not folders:
        raise ValueError("no folder given, expected folders of exported models")
    for folder in folders:
        write_card(folder)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write cards from the command line."""
    tyro.cli(write_cards, args=arguments, prog="python -m redundancy.training.card")


if __name__ == "__main__":
    main()
