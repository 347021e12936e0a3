"""One training from the first weight to the last, in a folder that a killed run goes on from."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import torch

import redundancy
from redundancy.provenance import commit
from redundancy.training.fit import Loss, Report, fit, read_history
from redundancy.training.hints import remaining
from redundancy.training.language import LanguageStage, TokenPool, encode_pool
from redundancy.training.pool import Pool, make_pool
from redundancy.training.recipe import Recipe
from redundancy.training.small_models import build_model, build_processor
from redundancy.training.tower import TowerStage

SETTINGS = "recipe.json"
MADE_WITH = "made_with.json"
SAY_EVERY = 15.0
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Trained:
    """What a training gives.

    Parameters
    ----------
    model, processor
        Of transformers, the model on the CPU.
    pooling_head
        SigLIP's pooling head for its tower, or None.
    recipe
        What was run.
    history
        Lines of progress, see `fit`.
    made_with
        Versions, commit and processor when the run began.
    """

    model: Any
    processor: Any
    pooling_head: torch.nn.Module | None
    recipe: Recipe
    history: Sequence[Mapping[str, Any]]
    made_with: Mapping[str, str]


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    save_every: float | int = 120,
    log_every: int = 25,
    say: Callable[[str], None] = print,
) -> Trained:
    """Train a model, from where an earlier run of the same recipe in the folder was stopped.

    The folder holds `recipe.json`, `made_with.json`, a checkpoint per stage and `history.jsonl`. Videos are drawn again
    after an interruption, from the same seed; on one machine the weights are those of an uninterrupted run.

    Parameters
    ----------
    recipe
        What to train.
    folder
        Of the run.
    device
        Where to train; both stages compute in bfloat16, with weights in float32.
    save_every
        Seconds between checkpoints.
    log_every
        Steps between lines of the history.
    say
        Takes lines of progress.

    Raises
    ------
    ValueError
        If the folder holds a run of another recipe.
    """
    made_with = _claim(folder, recipe)
    where = torch.device(device)
    size = recipe.sizes
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = build_model(recipe.family, size).to(where)
        processor = build_processor(recipe.family, size)
        tower = TowerStage(recipe.family, size, model).to(where)
        language = LanguageStage(recipe.family, size, model, processor, drop=recipe.drop)
    report = Report(folder, log_every, float(save_every), say)
    count = sum(p.numel() for p in model.parameters())
    say(f"{recipe.family} {recipe.size}: {count / 1e6:.2f} M parameters, {where}")
    pool = None
    if not _is_finished(folder, "language", recipe.language.steps):
        drawn = make_pool(
            recipe.family, size, recipe.videos, tokenizer=processor.tokenizer, seed=recipe.seed + 1, device=where
        )
        pool = _last(drawn, "videos drawn", recipe.videos, say)
    _fit_tower(tower, pool, recipe, report, where)
    tokens = None
    if pool is not None:
        tower.eval()
        with _bfloat16(where)():
            tokens = _last(encode_pool(pool, tower), "videos encoded", recipe.videos, say)
    _fit_language(language, tokens, recipe, report, where)
    head = None if tower.pooling_head is None else tower.pooling_head.eval().cpu()
    return Trained(model.eval().cpu(), processor, head, recipe, read_history(folder), made_with)


def _fit_tower(tower: TowerStage, pool: Pool | None, recipe: Recipe, report: Report, device: torch.device) -> None:
    def loss(generator: torch.Generator, progress: float) -> Loss:
        assert pool is not None
        return tower.loss(*tower.draw(pool, recipe.tower.batch, generator))

    fit(
        "tower",
        loss,
        tower,
        parameters=tower.trained(),
        schedule=recipe.tower,
        report=report,
        seed=recipe.seed + 2,
        precision=_bfloat16(device),
    )


def _fit_language(
    language: LanguageStage, pool: TokenPool | None, recipe: Recipe, report: Report, device: torch.device
) -> None:
    def loss(generator: torch.Generator, progress: float) -> Loss:
        assert pool is not None
        few = progress < recipe.few_until
        drawn = language.draw(pool, recipe.language.batch, recipe.questions, generator, few=few)
        return language.loss(pool, *drawn, hint=recipe.hint * remaining(progress, recipe.hint_until))

    fit(
        "language",
        loss,
        language,
        parameters=language.trained(),
        schedule=recipe.language,
        report=report,
        seed=recipe.seed + 3,
        precision=_bfloat16(device),
    )


def _claim(folder: Path, recipe: Recipe) -> Mapping[str, str]:
    """Write the recipe into the folder, or check that it is the one that lies there; what the run was begun with."""
    folder.mkdir(parents=True, exist_ok=True)
    path, settings = folder / SETTINGS, json.dumps(asdict(recipe), indent=1)
    if path.is_file() and json.loads(path.read_text()) != json.loads(settings):
        raise ValueError(
            f"{folder} holds a run of another recipe: {' '.join(path.read_text().split())}; give another folder, or "
            f"delete it to train {' '.join(settings.split())}"
        )
    path.write_text(settings + "\n")
    begun = folder / MADE_WITH
    if not begun.is_file():
        begun.write_text(json.dumps(_made_with(), indent=1) + "\n")
    used: dict[str, str] = json.loads(begun.read_text())
    return used


def _made_with() -> dict[str, str]:
    return {
        "redundancy": redundancy.__version__,
        "commit": commit(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "machine": platform.machine(),
    }


def _is_finished(folder: Path, stage: str, steps: int) -> bool:
    path = folder / f"{stage}.pt"
    return path.is_file() and bool(torch.load(path, map_location="cpu", weights_only=True)["step"] >= steps)


def _bfloat16(device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    return lambda: torch.autocast(device.type, torch.bfloat16)


def _last(progress: Iterator[int | _Value], what: str, total: int, say: Callable[[str], None]) -> _Value:
    """Run to the end, saying how far it is; the last value."""
    said = time.monotonic()
    for value in progress:
        if not isinstance(value, int):
            return value
        if time.monotonic() - said > SAY_EVERY:
            said = time.monotonic()
            say(f"{value} of {total} {what}")
    raise RuntimeError(f"{what}: nothing came")
