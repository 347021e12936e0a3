"""From a finished training to a Hugging Face folder with its model card."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from redundancy.models import load_model
from redundancy.plot import accuracy_over_retention, learning_curve, save
from redundancy.provenance import commit
from redundancy.world.train.fit import read_history
from redundancy.world.train.held_out import METHODS, HeldOut, answer_held_out, as_dataset
from redundancy.world.train.run import Trained
from redundancy.world.train.small_models import FAMILIES

HEAD = "tiny-siglip"
LICENSE = "apache-2.0"
FIGURES = "figures"


def export(trained: Trained, out: Path) -> Path:
    """Write the model in float16, its processor and, for SigLIP, the tower with its pooling head.

    The folder of the model is named as it is bundled (`FAMILIES`), and loads with plain `AutoModelForImageTextToText`
    and `AutoProcessor`. The pooling head is no part of a LLaVA-OneVision: as with the published checkpoints it lies in
    the folder of the tower, `tiny-siglip`, to which `redundancy.json` points.

    Source: own.
    """
    folder = out / FAMILIES[trained.recipe.family]
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = trained.model.half()
    model.save_pretrained(folder)
    trained.processor.save_pretrained(folder)
    if trained.pooling_head is not None:
        _save_tower(model, trained.pooling_head, out / HEAD)
        (folder / "redundancy.json").write_text(json.dumps({"salience_head": f"../{HEAD}"}) + "\n")
    return folder


def _save_tower(model: Any, pooling_head: torch.nn.Module, folder: Path) -> None:
    import transformers as hf

    config = hf.SiglipVisionConfig(**{**model.config.vision_config.to_dict(), "vision_use_head": True})
    whole: Any = hf.SiglipVisionModel(config).half()  # type: ignore[no-untyped-call]
    tower = model.model.vision_tower
    state = getattr(tower, "vision_model", tower).state_dict()
    state |= {f"head.{name}": value.half() for name, value in pooling_head.state_dict().items()}
    getattr(whole, "vision_model", whole).load_state_dict(state)
    whole.save_pretrained(folder)


def write_card(
    trained: Trained,
    run: Path,
    folder: Path,
    *,
    videos: int = 512,
    compared: int = 128,
    say: Callable[[str], None] = print,
) -> HeldOut:
    """Measure the exported model on held-out videos, and write its model card with tables and figures.

    Parameters
    ----------
    trained
        What was exported.
    run
        Folder of the training, with its history.
    folder
        Of the exported model.
    videos, compared
        As in `answer_held_out`.
    say
        Takes lines of progress.

    Source: own.
    """
    model = load_model(folder, device="cpu")
    answers = answer_held_out(model, trained.recipe.sizes, videos=videos, compared=compared, say=say)
    history = read_history(run)
    figures = folder / FIGURES
    for name, figure in (
        ("learning_curve", learning_curve(history)),
        ("accuracy_over_retention", accuracy_over_retention(as_dataset(answers))),
    ):
        _, vector = save(figure, figures / name)
        vector.unlink()  # the card shows the PNG
    tables = {name: getattr(answers, name).round(4).to_dict("records") for name in ("random", "methods")}
    (folder / "held_out.json").write_text(json.dumps(tables, indent=1) + "\n")
    (folder / "README.md").write_text(_card(trained, history, answers))
    return answers


def _card(trained: Trained, history: list[dict[str, Any]], answers: HeldOut) -> str:
    recipe, size = trained.recipe, trained.recipe.sizes
    name = FAMILIES[recipe.family]
    minutes = {s: max(h["seconds"] for h in history if h["stage"] == s) / 60 for s in ("tower", "language")}
    parameters = sum(p.numel() for p in trained.model.parameters()) / 1e6
    grid = f"{size.frames} frames of {size.pixels} px, {size.cells**2} tokens for each"
    each = "frame" if recipe.family == "llava_onevision" else "pair of frames"
    first = answers.random[answers.random["share"] == 1].set_index("skill")["questions"]
    count, videos = int(first["mean"]), int(first.drop("mean").max())
    compared, whole = int(answers.methods["videos"].iloc[0]), _interval(answers.methods.iloc[0])
    return f"""---
library_name: transformers
pipeline_tag: image-text-to-text
license: {LICENSE}
tags: [video, token-pruning, synthetic]
---

# {name}

A {recipe.family} of {parameters:.2f} M parameters (`{recipe.size}`), trained from random weights on a procedural world
of coloured shapes, scene cuts and a flashing digit, so that token reduction can be studied offline on a model whose
answers mean something. It sees {grid} {each}; a question is a sentence of its word-level vocabulary, an answer one
word. It knows nothing but this world.

## Training

`python -m redundancy.world.train --family {recipe.family} --size {recipe.size} --videos {recipe.videos}
--tower-steps {recipe.tower.steps} --language-steps {recipe.language.steps} --seed {recipe.seed}`
with redundancy {version("redundancy")} (commit {commit()}), torch {torch.__version__},
transformers {version("transformers")}, {platform.machine()}.

1. Vision tower: {recipe.tower.steps} steps of {recipe.tower.batch} temporal steps, {minutes["tower"]:.0f} minutes: what
   each cell of a frame shows, read from its token by a linear probe.
2. Language model: {recipe.language.steps} steps of {recipe.language.batch} videos with {recipe.questions} questions
   each, {minutes["language"]:.0f} minutes, on {recipe.videos:,} videos; {recipe.drop:.0%} of the steps drop video
   tokens (at random, by temporal step, by norm; kept positions, sometimes renumbered).

![learning curve]({FIGURES}/learning_curve.png)

## Held-out accuracy

{videos} videos that training did not draw, {count:,} questions; 95% Wilson intervals, for the mean over skills a
bootstrap over videos. Tokens are drawn over the whole video (seed 0). Chance is that of guessing among the options.

{_random_table(answers.random)}

## Accuracy over retention

Mean over skills on the first {compared} of these videos, with 95% bootstrap intervals over videos and the achieved
share in brackets; methods with their defaults in this package. All tokens: {whole}.

{_method_table(answers.methods)}

![accuracy over retention]({FIGURES}/accuracy_over_retention.png)
"""


def _random_table(random: pd.DataFrame) -> str:
    shares = sorted(set(random["share"]), reverse=True)
    skills = list(dict.fromkeys(random["skill"]))
    achieved = {share: random.loc[random["share"] == share, "achieved"].iloc[0] for share in shares}
    heads = [f"{share:.0%} ({achieved[share]:.3f})" if share < 1 else "all tokens" for share in shares]
    lines = [f"| skill | chance | {' | '.join(heads)} |", "|" + "---|" * (len(shares) + 2)]
    indexed = random.set_index(["skill", "share"])
    for skill in skills:
        cells = [_interval(indexed.loc[(skill, share)]) for share in shares]
        lines.append(f"| {skill} | {indexed.loc[(skill, 1.0), 'chance']:.2f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _method_table(methods: pd.DataFrame) -> str:
    shares = sorted({s for s in methods["requested"] if s < 1}, reverse=True)
    lines = [f"| method | {' | '.join(f'{s:.0%}' for s in shares)} |", "|" + "---|" * (len(shares) + 1)]
    indexed = methods.set_index(["method", "requested"])
    for name in METHODS:
        cells = [indexed.loc[(name, share)] for share in shares]
        lines.append(f"| {name} | {' | '.join(f'{_interval(c)} ({c.achieved:.3f})' for c in cells)} |")
    return "\n".join(lines)


def _interval(row: Any) -> str:
    return f"{row.accuracy:.2f} [{row.low:.2f}, {row.high:.2f}]"
