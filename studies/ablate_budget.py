"""Which frames should keep more? Budgets per frame, the tokens of each frame chosen alike: V-CAST with other budgets.

Every frame as much (uniform), every segment as much, as VidCom2 gives to unlike frames, as HoliTom leaves of static
windows, and by the curvature of the path of frames (V-CAST's own): over its temperature, with ends that count as turns,
and with both rules for what rounding leaves over. Intervals are over clips, differences from V-CAST are paired. The
second figure shows the budgets over time of the clip with the most cuts.

    python -m studies.ablate_budget
    python -m studies.ablate_budget --only budget --retentions 0.25 --videos my_videos/
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy.evaluation.segmentation import known_cuts
from redundancy.plot import compose
from redundancy.plot.looks import colours
from redundancy.pruning import BUDGETS, VCast
from redundancy.pruning.methods.vcast import frame_path
from redundancy.pruning.parts.budget import CurvatureBudget

from . import Facts, VideoSession
from .core.ablation import AblationOptions, Change, ablation, tested, with_settings

METRICS = ("reconstruction_error", "attention_lost", "frames_covered", "turn_coverage", "cells_covered")
SHOWN = (("turn_coverage", "turns covered", "value"), ("attention_lost", "attention lost", "value"))


@dataclass(frozen=True, kw_only=True)
class Options(AblationOptions):
    """Compare budgets per frame.

    Parameters
    ----------
    temperatures
        Of the softmax of curvature.
    """

    temperatures: tuple[float, ...] = (0.1, 0.3, 0.7, 1.5)

    def changes(self) -> list[Change]:
        """V-CAST with every budget, temperature, rule for ends and for what is left over."""
        return [
            *with_settings("budget", VCast(), {name: {"budget": name} for name in BUDGETS}),
            *with_settings("temperature", VCast(), {f"{t:g}": {"temperature": t} for t in self.temperatures}),
            *with_settings(
                "ends", VCast(), {"as they are": {}, "as turns": {"budget": CurvatureBudget(keep_ends=True)}}
            ),
            *with_settings("left over", VCast(), {"in rounds": {}, "to one frame": {"left_over": "largest fraction"}}),
        ]


def budgets_over_time(video: VideoSession, options: Options) -> dict[str, Any]:
    """What every budget gives to each frame at the first retention, with the curvature and the known cuts."""
    r = options.retentions[0]
    given = {name: VCast(retention=r, budget=name)(video.tokens).stages for name in BUDGETS}
    path = frame_path(video.tokens.features)
    cuts = known_cuts(video)
    return {
        "budgets": {n: stages["budget"].tolist() for n, stages in given.items() if "budget" in stages},
        "curvature": path.curvature.tolist(),
        "frame_time": video.tokens.frame_time.tolist(),
        "known_cuts": None if cuts is None else [int(c) for c in cuts],
        "retention": r,
    }


def with_example(summary: xr.Dataset, rows: pd.DataFrame, *, facts: Facts, options: Any, **told: Any) -> xr.Dataset:
    """Adds tests, and the clip that is shown: that with the most known cuts, of these with the least even path."""
    video = max(facts, key=lambda v: (len(facts[v]["known_cuts"] or ()), float(np.std(facts[v]["curvature"]))))
    summary = tested(summary, rows, facts=facts, options=options, **told)
    return summary.assign_attrs(example=json.dumps({"video": video, **facts[video]}))


def over_time(summary: xr.Dataset) -> Figure:
    """Tokens of each frame by every budget on one clip, a line each, and the curvature below."""
    example = json.loads(summary.attrs["example"])
    time, cuts = np.asarray(example["frame_time"]), example["known_cuts"] or []

    def tokens(axes: Axes, _: xr.Dataset) -> None:
        inks = colours(list(example["budgets"]))
        for name, budget in example["budgets"].items():
            axes.step(time, budget, where="mid", color=inks[name], label=name, linewidth=1.2)
        axes.set(ylabel="tokens kept", xlabel="s")
        mark(axes)

    def curvature(axes: Axes, _: xr.Dataset) -> None:
        axes.plot(time, example["curvature"], color="0.1", marker=".", linewidth=1)
        axes.set(ylabel="curvature", xlabel="s")
        mark(axes)

    def mark(axes: Axes) -> None:
        for cut in cuts:
            axes.axvline((time[cut - 1] + time[cut]) / 2, color="0.6", linestyle=":", linewidth=0.9)

    one = xr.Dataset(attrs={"model": summary.attrs["model"], "videos": 1})
    title = f"{example['video']}: tokens of each frame at {example['retention']:g} (dotted: scene cuts)"
    return compose(one, {title: tokens, "curvature of the path of frames": curvature}, height=4.6, columns=1)


STUDY = ablation(
    "ablate_budget",
    Options,
    explaining=METRICS,
    shown=SHOWN,
    facts=budgets_over_time,
    published={"vcast/leftover-example": ("frames",)},
    figures={"over_time": over_time},
    derive=with_example,
)

if __name__ == "__main__":
    STUDY.command_line()
