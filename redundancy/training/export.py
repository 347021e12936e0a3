"""From a finished training to a Hugging Face folder."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from redundancy.training.run import Trained
from redundancy.training.small_models import FAMILIES

TRAINING = "training.json"
TOWER = "siglip"  # folder inside that of the model


def export(trained: Trained, out: Path, *, name: str | None = None) -> Path:
    """Write the model in float16, its processor, how it was trained and, for SigLIP, the tower with its pooling head.

    The folder loads with plain `AutoModelForImageTextToText` and `AutoProcessor`. The pooling head is no part of a
    LLaVA-OneVision: as with the published checkpoints it lies in the folder of a SigLIP, to which `redundancy.json`
    points; here that is `siglip`, inside the folder of the model. `training.json` holds recipe, history and versions.

    Parameters
    ----------
    trained
        What was trained.
    out
        Where the model's folder is written.
    name
        Of the folder; None: as the family's model is bundled (`FAMILIES`).
    """
    folder = out / (name or FAMILIES[trained.recipe.family])
    folder.mkdir(parents=True, exist_ok=True)
    model: Any = copy.deepcopy(trained.model).half()  # what was trained stays as it is
    model.save_pretrained(folder)
    trained.processor.save_pretrained(folder)
    if trained.pooling_head is not None:
        _save_tower(model, trained.pooling_head, folder / TOWER)
        (folder / "redundancy.json").write_text(json.dumps({"salience_head": TOWER}) + "\n")
    told = {"recipe": asdict(trained.recipe), "made_with": dict(trained.made_with), "history": list(trained.history)}
    (folder / TRAINING).write_text(json.dumps(told) + "\n")
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
