"""Do answers need the order of frames, and do metrics see it? Frames shuffled, reversed, half missing, one repeated.

FastVID's first figure shows that shuffled or incomplete frames are misunderstood; here it is counted: accuracy by skill
and the divergence from the full model on the intact clip, with all tokens and with those that methods keep, and beside
it how much the metrics of temporal redundancy and of the trajectory change. Shuffles are averaged over seeds. Half of
the frames are shown on the grid of the intact clip, or left out and named where the model does not allow it.

    python -m studies.temporal_order
    python -m studies.temporal_order --methods fastvid --retentions 0.1 --model tiny-qwen3-vl
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy.evaluation.ablation import beside, same_grid_session
from redundancy.evaluation.order import halved, reversed_order, shuffled
from redundancy.evaluation.statistics.aggregate import contrast
from redundancy.evaluation.statistics.measures import measure_of
from redundancy.evaluation.statistics.multiple import paired_tests
from redundancy.evaluation.statistics.told import differing
from redundancy.metrics.measure import defined_mean
from redundancy.plot import compose
from redundancy.plot.methods import names_of
from redundancy.pruning import as_method, label_of
from redundancy.pruning.base import Method
from redundancy.video import VideoClip

from . import Column, Condition, Facts, Row, Study, Table, Values, VideoSession
from .core.ablation import AnswerOptions, asked_at_least_one
from .core.panels import by_setting, panel

INTACT = "intact"
METRICS = ("transition_similarity", "token_persistence", "effective_frames", "arc_length", "straightness", "curvature")
ANSWERS = ("correct", "agreement", "kl")


def one_repeated(clip: VideoClip, *, seed: int = 0) -> VideoClip:
    """The middle frame in the place of every frame; the seed is not used."""
    return replace(clip, frames=np.repeat(clip.frames[len(clip.frames) // 2][None], len(clip.frames), axis=0))


ORDERS: dict[str, Callable[..., VideoClip]] = {
    "shuffled": shuffled,
    "reversed": reversed_order,
    "half missing": halved,
    "one repeated": one_repeated,
}


@dataclass(frozen=True, kw_only=True)
class Options(AnswerOptions):
    """Change the order of frames.

    Parameters
    ----------
    seeds
        Of shuffles; a method that draws draws once for each.
    methods
        What reduces the tokens, beside all of them: names with or without settings.
    """

    retentions: tuple[float, ...] = (0.25,)
    skills: tuple[str, ...] = ()
    methods: tuple[str, ...] = ("fastvid", "vcast", "random_tokens")

    def conditions(self) -> list[Condition]:
        """Every order with all tokens, and with every method at every retention."""
        methods: list[tuple[str, float, Method | None]] = [("all tokens", 1.0, None)]
        for name in self.methods:
            method: Any = as_method(name)
            rated = hasattr(method, "retention")
            each = [replace(method, retention=r) for r in self.retentions] if rated else [method]
            methods += [(label_of(m, rate=False), getattr(m, "retention", 1.0), m) for m in each]
        return [self._condition(name, r, m, order) for name, r, m in methods for order in (INTACT, *ORDERS)]

    def _condition(self, name: str, retention: float, method: Method | None, order: str) -> Condition:
        label = f"{name} at {retention:g}, {order}" if method is not None else f"{name}, {order}"
        factors: dict[str, Any] = {"setting": name, "level": order, "asked": retention, "default": int(order == INTACT)}
        return Condition(label=label, method=method, parts={"order": order}, kind="order", factors=factors)


def measure(video: VideoSession, condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of an order and a method: one per seed and question; of all tokens also the metrics of the clip."""
    order = condition.parts["order"]
    for seed in range(options.seeds if order == "shuffled" else 1):
        shown = video.once(("order", order, seed), partial(in_order, video, order, seed))
        if shown is None:
            return
        drawn = [(-1, None, "")] if condition.method is None else list(shown.decide(condition.method, seeds=1))
        for _, reduction, note in drawn:
            about: Row = {"seed": seed, "replaced": note}
            if condition.method is None:
                metrics = shown.measure(None, METRICS)
                about |= {name: defined_mean(metrics[name].values.astype(float)) for name in METRICS}
            answers = shown.answers(reduction, against=video.once("intact", lambda: video.full))
            yield from (
                {**row, **about} for row in answers[["question", "skill", "achieved", *ANSWERS]].to_dict("records")
            )


def in_order(video: VideoSession, order: str, seed: int) -> VideoSession | None:
    """A session on the clip in another order, on the grid of the intact one."""
    if order == INTACT:
        return video
    changed = ORDERS[order](video.clip, seed=seed)
    return same_grid_session(video, [video.clip, changed], 1)


def against_intact(summary: xr.Dataset, rows: pd.DataFrame, *, facts: Facts, options: Options) -> xr.Dataset:
    """Adds differences from the intact clip, p and q of them, by skill too, and what was left out."""
    labels, wanted = names_of(summary["condition"]).tolist(), options.conditions()
    intact = {(c.factors["setting"], c.factors["asked"]): c.label for c in wanted if c.parts["order"] == INTACT}
    reference = {c.label: intact[c.factors["setting"], c.factors["asked"]] for c in wanted if c.label in labels}
    pairs = beside(rows[rows["error"].isna()], reference)
    measures = [*ANSWERS, *METRICS]
    how: dict[str, Any] = {"dim": "variant", "plus": "own", "minus": "base"}
    made = contrast(pairs, over={"condition": labels}, measures=measures, **how)
    tests = paired_tests(
        pairs, plus="own", minus="base", conditions=labels, measures={m: measure_of(m) for m in measures}
    )
    skills = contrast(pairs, over={"condition": labels, "skill": None}, measures=["correct"], **how)
    names = summary["measure"].values
    bare = [x.drop_vars(["long_name", "units", "higher"]).reindex(measure=names) for x in (made, skills)]
    left_out = [c.label for c in wanted if c.label not in labels]
    return summary.assign(difference=bare[0], skill_difference=bare[1], difference_test=tests).assign_attrs(
        left_out=left_out
    )


def tables(summary: xr.Dataset) -> Iterator[Table | str]:
    """Answers of every order, beside the intact clip; by skill; and how metrics change."""
    minus = partial(Column, form="+.3f", of="difference")
    q = partial(Column, form=".2f", of="difference_test", at={"test": "q"})
    told = {"accuracy": Column("correct"), "- intact": minus("correct"), "q": q("correct")}
    told |= {"as the full model, intact": Column("agreement"), "KL from it": Column("kl")}
    yield Table(told, "Answers:", name="answers")
    skills = names_of(summary["skill"]).tolist()
    by = {
        skill: Column("correct", "+.2f", of="skill_difference", at={"skill": skill}, starred=True) for skill in skills
    }
    yield Table(by, "Accuracy minus that of the intact clip, by skill (*: the interval leaves out 0):", name="skills")
    told = {name.replace("_", " "): minus(name, form="+.3g") for name in METRICS}
    yield Table(told, "Metrics minus those of the intact clip:", where={"setting": "all tokens"}, name="metrics")
    if left_out := summary.attrs["left_out"]:
        yield f"Left out, for the grid of the intact clip cannot be held: {'; '.join(left_out)}."


def by_skill(axes: Axes, summary: xr.Dataset) -> None:
    """Change of accuracy with all tokens: skills down, orders across."""
    orders = [f"all tokens, {order}" for order in ORDERS if f"all tokens, {order}" in summary["condition"].values]
    change = summary["skill_difference"].sel(condition=orders, measure="correct", statistic="estimate")
    table, skills = change.transpose("skill", "condition").values, names_of(summary["skill"]).tolist()
    axes.imshow(table, cmap="RdBu", vmin=-1, vmax=1, aspect="auto")
    for (row, column), x in np.ndenumerate(table):
        if not np.isnan(x):
            ink = "white" if abs(x) > 0.6 else "0.1"
            axes.text(column, row, f"{x:+.2f}", ha="center", va="center", fontsize=6, color=ink)
    axes.set_yticks(range(len(skills)), skills, fontsize=6.5)
    names = [order.removeprefix("all tokens, ") for order in orders]
    axes.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names], fontsize=6)
    axes.tick_params(length=0)


def figure(summary: xr.Dataset) -> Figure:
    """Accuracy and divergence of every order, and which skills need it with all tokens."""
    panels = {
        "accuracy": panel(by_setting, "correct", label="share of questions"),
        "KL from the intact clip": panel(by_setting, "kl", label="nat"),
        "accuracy, minus intact": by_skill,
    }
    return compose(summary, panels, height=5.0, columns=3)


def found(summary: xr.Dataset) -> list[str]:
    """What answers and metrics lose with the order of frames."""
    whole = {"setting": "all tokens"}
    changed = partial(differing, summary, of="difference", where=whole, most=4)
    return [
        changed("correct", says="accuracy with all tokens, against the intact clip,"),
        changed("transition_similarity", says="similarity of neighbouring frames"),
        changed("straightness", says="straightness of the path of frames"),
        differing(summary, "correct", of="difference", says="accuracy of all conditions, against the intact clip,"),
    ]


STUDY = Study(
    name="temporal_order",
    options=Options,
    conditions=Options.conditions,
    measure=measure,
    depends=("seeds", "skills"),
    questions=asked_at_least_one,
    measures={name: measure_of(name) for name in (*ANSWERS, *METRICS)},
    values={"value": Values(), "by_skill": Values(over=("condition", "skill"), measures=["correct"])},
    derive=against_intact,
    tables=(tables,),
    figures={"": figure},
    finding=found,
)

if __name__ == "__main__":
    STUDY.command_line()
