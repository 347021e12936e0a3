"""How well a small model answers about videos it was not trained on, with all tokens and with fewer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from redundancy.evaluation import VideoSession, accuracy
from redundancy.evaluation.statistics.intervals import group_mean_interval
from redundancy.models import VideoLLM
from redundancy.pruning import FastVID, FrameDrop, HoliTom, RandomTokens, UniformTokens, VCast
from redundancy.recording import model_provenance
from redundancy.sources import VideoSource, list_videos
from redundancy.training.small_models import ModelSize
from redundancy.world.questions import SKILLS

RANDOM_SHARES = (0.5, 0.25, 0.1, 0.05)
ANSWERS = "held_out.json"
METHODS: dict[str, tuple[str, Callable[[float], Any]]] = {
    "fastvid": ("method", lambda share: FastVID(retention=share)),
    "holitom": ("method", lambda share: HoliTom(retention=share)),
    "vcast": ("method", lambda share: VCast(retention=share)),
    "random_tokens": ("control", lambda share: RandomTokens(retention=share, across_frames=True)),
    "uniform_tokens": ("control", lambda share: UniformTokens(retention=share)),
    "frame_drop": ("control", lambda share: FrameDrop(retention=share)),
}
"""Kind of each method and control, and how it is made at a share of tokens; all with their defaults."""


@dataclass(frozen=True)
class HeldOut:
    """Answers about held-out videos.

    Parameters
    ----------
    random
        Per share of random tokens (1: all) and skill: `share, achieved, skill, accuracy, low, high, right, questions,
        chance`, Wilson intervals; the skill `mean` averages the skills, with a bootstrap interval over videos.
    methods
        Mean over skills per method and share: `method, kind, requested, achieved, accuracy, low, high, videos`; the
        first row is of all tokens. Bootstrap intervals over videos.
    weights
        SHA-256 of the weights that answered, as `redundancy.provenance.weights_hash` gives it.
    """

    random: pd.DataFrame
    methods: pd.DataFrame
    weights: str


def held_out_videos(size: ModelSize, count: int) -> list[VideoSource]:
    """Videos of the world at a model's own size, whose seeds training does not use."""
    return list_videos([f"world:{count}?frames={size.frames}&size={size.pixels}"])


def answer_held_out(
    model: VideoLLM,
    size: ModelSize,
    *,
    videos: int = 512,
    compared: int = 128,
    say: Callable[[str], None] = print,
) -> HeldOut:
    """Ask about held-out videos with all tokens, random ones, and those that methods leave.

    Parameters
    ----------
    model
        The trained model.
    size
        Its sizes.
    videos
        Asked about with all and with random tokens.
    compared
        The first of them, on which methods are compared.
    say
        Takes lines of progress.

    Raises
    ------
    ValueError
        If `compared` is not in [1, videos].
    """
    if not 1 <= compared <= videos:
        raise ValueError(f"compared={compared} given, expected a number in [1, {videos}]")
    full = ("all tokens", 1.0)
    methods = {(name, share): make(share) for name, (_, make) in METHODS.items() for share in RANDOM_SHARES}
    everywhere = {full: None} | {key: method for key, method in methods.items() if key[0] == "random_tokens"}
    rows: dict[tuple[str, float], list[pd.DataFrame]] = {key: [] for key in (full, *methods)}
    for i, source in enumerate(held_out_videos(size, videos)):
        asked, salience = (everywhere | methods, None) if i < compared else (everywhere, ())
        clip = source.load(model, frames=size.frames)
        with VideoSession(model, clip, source.questions, salience=salience) as video:
            for key, method in asked.items():
                rows[key].append(video.answers(method, against=None).assign(video=source.name))
        if i + 1 in (compared, videos) or (i + 1) % 64 == 0:
            say(f"{i + 1} of {videos} held-out videos answered")
    tables = [_skills(pd.concat(rows[key]), key[1]) for key in everywhere]
    for table in tables:
        say(f"{table['share'].iloc[0]:.0%} random tokens: mean accuracy {table['accuracy'].iloc[-1]:.3f}")
    means = [
        {"method": name, "kind": METHODS[name][0] if (name, share) != full else "full", "requested": share}
        | _mean_row(pd.concat(of[:compared]))
        for (name, share), of in rows.items()
    ]
    for name in METHODS:
        say(f"{name}: " + ", ".join(f"{m['accuracy']:.3f}" for m in means if m["method"] == name))
    weights = str(model_provenance(model)["weights_sha256"])
    return HeldOut(pd.concat(tables, ignore_index=True), pd.DataFrame(means), weights)


def save_answers(answers: HeldOut, path: Path) -> None:
    """Write the tables as json, numbers to four digits."""
    tables = {name: getattr(answers, name).round(4).to_dict("records") for name in ("random", "methods")}
    path.write_text(json.dumps({"weights": answers.weights, **tables}, indent=1) + "\n")


def load_answers(path: Path) -> HeldOut:
    """Read what `save_answers` wrote."""
    tables = json.loads(path.read_text())
    return HeldOut(pd.DataFrame(tables["random"]), pd.DataFrame(tables["methods"]), tables["weights"])


def as_dataset(held_out: HeldOut) -> xr.Dataset:
    """The answers in the shape that `redundancy.plot.accuracy_over_retention` draws."""
    methods, random = held_out.methods, held_out.random
    skills = [s for s in SKILLS if s in set(random["skill"])]
    shares = sorted(set(random["share"]))
    names = ("accuracy", "low", "high")
    of_skill = random[random["skill"] != "mean"].set_index(["share", "skill"])
    table = [[[of_skill.loc[(share, skill), name] for name in names] for skill in skills] for share in shares]
    chance = of_skill["chance"].xs(1.0, level="share").loc[skills].to_numpy(float)
    return xr.Dataset(
        {
            "accuracy": (("condition", "statistic"), methods[list(names)].to_numpy(float)),
            "random": (("share", "skill", "statistic"), np.array(table, float)),
            "chance": ("skill", chance),
            "mean_chance": float(np.mean(chance)),
        },
        coords={
            "method": ("condition", list(methods["method"])),
            # files of released models call the full model "whole"
            "method_kind": ("condition", list(methods["kind"].replace("whole", "full"))),
            "achieved": ("condition", methods["achieved"].to_numpy(float)),
            "share": [float(random.loc[random["share"] == share, "achieved"].iloc[0]) for share in shares],
            "skill": skills,
            "statistic": ["estimate", "low", "high"],
        },
    )


def _skills(rows: pd.DataFrame, share: float) -> pd.DataFrame:
    asked = [skill for skill in SKILLS if skill in set(rows["skill"])]
    table = accuracy(rows).set_index("skill").loc[asked].reset_index()
    whole = {name: value for name, value in _mean_row(rows).items() if name in ("accuracy", "low", "high")}
    total = {"skill": "mean", **whole, "right": table["right"].sum(), "questions": table["questions"].sum()}
    total["chance"] = table["chance"].mean()
    table = pd.concat([table, pd.DataFrame([total])], ignore_index=True)
    table.insert(0, "achieved", float(rows["achieved"].mean()))
    table.insert(0, "share", share)
    return table


def _mean_row(rows: pd.DataFrame) -> dict[str, float | int]:
    """Mean over skills of their accuracies, with an interval that resamples videos."""
    per_video = rows.pivot_table(index="video", columns="skill", values="correct", aggfunc="mean").to_numpy(float)
    interval = group_mean_interval(per_video, bounds=(0, 1))
    whole = {"accuracy": interval.mean, "low": interval.low, "high": interval.high}
    return {**whole, "achieved": float(rows["achieved"].mean()), "videos": interval.videos}


def chance_beaten(random: pd.DataFrame, share: float) -> Sequence[str]:
    """Skills whose lower Wilson bound lies above chance at a share of random tokens."""
    here = random[(random["share"] == share) & (random["skill"] != "mean")]
    return list(here.loc[here["low"] > here["chance"], "skill"])
