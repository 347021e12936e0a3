"""How a small model learned, and how its answers degrade: the figures of its model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from redundancy.plot.looks import colours
from redundancy.plot.methods import FULL, lines_over_retention, method_styles, names_of
from redundancy.plot.style import CONTROL, new_figure, style

SMOOTH = 5  # lines of the history that a point of a curve averages
_NO_SCORES = {"stage", "step", "seconds", "factor", "loss"}
_TICKS = [0.05, 0.1, 0.25, 0.5, 1.0]


def learning_curve(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Loss and scores of both stages over their steps.

    Scores of the second stage are of training videos, with tokens dropped in most steps: running means of five lines.

    Parameters
    ----------
    history
        Lines of `history.jsonl`.

    Raises
    ------
    ValueError
        If a stage is missing.
    """
    lines = pd.DataFrame(list(history))
    missing = {"tower", "language"} - set(lines.get("stage", ()))
    if missing:
        raise ValueError(f"a history without {sorted(missing)} given, expected lines of both stages")
    with style():
        figure, axes = new_figure(2, 2, height=4.6)
        titles = {"tower": "vision tower", "language": "language model"}
        for column, (stage, title) in enumerate(titles.items()):
            curves = lines[lines["stage"] == stage].dropna(axis=1, how="all").set_index("step")
            scores = [str(name) for name in curves if name not in _NO_SCORES]
            palette = colours(scores)
            loss, score = axes[:, column]
            loss.plot(curves.index, curves["loss"], color="0.3")
            loss.set(title=f"({'ab'[column]}) {title}", ylabel="loss", yscale="log")
            for ticks in (loss.yaxis.set_major_formatter, loss.yaxis.set_minor_formatter):
                ticks(FuncFormatter(_plain))
            for name in scores:
                smooth = curves[name].rolling(SMOOTH, min_periods=1).mean()
                score.plot(curves.index, smooth, color=palette[name], label=name.replace("_", " "))
            score.set(
                title=f"({'cd'[column]}) its tokens, probed" if column == 0 else "(d) training questions",
                xlabel="step",
                ylabel="share" if column == 0 else "accuracy",
                ylim=(0, 1.02),
            )
            score.legend(ncols=(2, 4)[column], loc="upper center", bbox_to_anchor=(0.5, -0.25))
    return figure


def accuracy_over_retention(summary: xr.Dataset) -> Figure:
    """Mean accuracy of methods and controls over the achieved share of tokens, and each skill's at random tokens.

    Parameters
    ----------
    summary
        `accuracy` (condition, statistic) with the coordinates `method`, `method_kind` and `achieved`; a condition of
        kind `"full"` is drawn as a line across. `random` (share, skill, statistic) and `chance` (skill); `mean_chance`.
        The statistics are estimate, low and high.
    """
    full = names_of(summary["method_kind"]) == FULL
    reduced = summary.isel(condition=np.flatnonzero(~full))
    with style():
        figure, axes = new_figure(1, 2, height=3.5)
        methods, skills = axes[0]
        lines_over_retention(methods, reduced["accuracy"], styles=method_styles(reduced))
        for value, line, text in (
            (float(summary["accuracy"].isel(condition=np.flatnonzero(full))[0, 0]), "-", "full model"),
            (float(summary["mean_chance"]), ":", "chance"),
        ):
            methods.axhline(value, color=CONTROL, linewidth=0.8, linestyle=line)
            methods.annotate(text, (_TICKS[0], value), fontsize=6, color="0.35", va="bottom")
        methods.set(title="(a) methods and controls", ylabel="accuracy, mean over skills")
        methods.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.22))
        palette = colours([str(s) for s in summary["skill"].values])
        for skill, colour in palette.items():
            here = summary["random"].sel(skill=skill)
            estimate, low, high = (here.sel(statistic=name).values for name in ("estimate", "low", "high"))
            skills.plot(here["share"], estimate, color=colour, marker="o", label=skill)
            skills.fill_between(here["share"], low, high, color=colour, alpha=0.12, linewidth=0)
        skills.set(title="(b) skills, random tokens", ylabel="accuracy", ylim=(0, 1.02))
        skills.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.22))
        for ax in (methods, skills):
            ax.set_xscale("log")
            ax.set_xticks(_TICKS, [f"{t:g}" for t in _TICKS])
            ax.minorticks_off()
            ax.set_xlabel("achieved share of tokens")
    return figure


def _plain(value: float, place: int) -> str:
    """A tick of a logarithmic axis without powers; only those at 1, 2 and 5 times a power of ten."""
    first = f"{value:e}"[0]
    return f"{value:g}" if first in "125" and np.isclose(value, float(f"{value:.0e}")) else ""
