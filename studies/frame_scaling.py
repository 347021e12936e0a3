"""More frames or more tokens of each? Numbers of frames at equal tokens, and at the same retention.

The fewest frames are shown whole. More frames are shown whole too, so that what they bring by themselves is known
(models were trained on so many, the bundled ones on 32); reduced to as many tokens in all as the fewest have; and
reduced to one share. Answers are held against those of the fewest frames with all tokens, paired by clip. A frame is as
many rows and columns of tokens in every condition: where the processor sizes frames by their number (Qwen3-VL), all are
resized to the grid of the most, or left out and named, as are clips that have not so many frames.

    python -m studies.frame_scaling
    python -m studies.frame_scaling --videos "world:16?frames=128" --counts 16 32 64 128
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy.evaluation.ablation import ANSWERS, answered, beside, same_grid_session
from redundancy.evaluation.statistics.aggregate import contrast
from redundancy.evaluation.statistics.multiple import paired_tests
from redundancy.evaluation.statistics.told import differing, extremes
from redundancy.plot import compose
from redundancy.plot.labelled import values
from redundancy.plot.methods import names_of, with_intervals
from redundancy.pruning import as_method, label_of
from redundancy.pruning.base import Method

from . import Column, Condition, Facts, Row, Study, Table, Values, VideoSession
from .core.ablation import AnswerOptions, asked_at_least_one
from .core.panels import panel, sweep

ALL, EQUAL = "all tokens", "equal tokens"


@dataclass(frozen=True, kw_only=True)
class Options(AnswerOptions):
    """Compare numbers of frames.

    Parameters
    ----------
    retentions
        Shares of the tokens at which all numbers of frames are compared, beside equal numbers of tokens.
    counts
        Numbers of frames, ascending.
    methods
        What reduces the tokens, with a retention: names with or without settings.
    """

    retentions: tuple[float, ...] = (0.25,)
    counts: tuple[int, ...] = (8, 16, 32)
    methods: tuple[str, ...] = ("fastvid", "vcast", "random_tokens")

    def __post_init__(self) -> None:
        if len(self.counts) < 2 or list(self.counts) != sorted(set(self.counts)) or self.counts[0] < 1:
            raise ValueError(f"counts={list(self.counts)} given, expected at least two numbers of frames, ascending")
        super().__post_init__()

    def conditions(self) -> list[Condition]:
        """Every number of frames whole, with as many tokens as the fewest, and at each retention."""
        fewest = self.counts[0]
        made = [self._condition(ALL, ALL, n, None) for n in self.counts]
        for name in self.methods:
            method: Any = as_method(name)
            if not hasattr(method, "retention"):
                raise ValueError(f"methods: {name!r} given, expected names of methods with a retention")
            short = label_of(method, rate=False)
            for n in self.counts[1:]:
                made.append(self._condition(EQUAL, short, n, replace(method, retention=fewest / n)))
            for r in self.retentions:
                made += [self._condition(f"{r:g}", short, n, replace(method, retention=r)) for n in self.counts]
        return made

    def _condition(self, compared: str, name: str, frames: int, method: Method | None) -> Condition:
        kind = getattr(method, "kind", "method")
        factors: dict[str, Any] = {"compared": compared, "count": frames, "method": name}
        label = f"{name}, {frames} frames" if method is None else f"{name} ({compared}), {frames} frames"
        return Condition(label=label, method=method, frames=frames, kind=kind, factors=factors)


def measure(video: VideoSession, condition: Condition, options: Options) -> Iterator[Row]:
    """Rows of a number of frames and a method; none where the clip has fewer, or the grid cannot be held."""
    assert condition.frames is not None
    assert video.source is not None
    if len(video.clip.frames) < condition.frames:
        return
    index, source = options.counts.index(condition.frames), video.source

    def held() -> VideoSession | None:
        counts = options.counts
        clips = [video.clip if i == index else source.load(video.model, frames=n) for i, n in enumerate(counts)]
        return same_grid_session(video, clips[::-1], len(counts) - 1 - index)

    shown = video.once("on one grid", held)
    if shown is None:
        return
    drawn = [(-1, None, "")] if condition.method is None else shown.decide(condition.method, seeds=options.seeds)
    for seed, reduction, note in drawn:
        found = answered(shown, reduction)
        tokens = shown.tokens.grid.frames * shown.tokens.grid.tokens_per_frame
        about: Row = {"seed": seed, "replaced": note, "achieved": found.achieved, "grid": shown.grid_text}
        yield about | {"tokens": found.achieved * tokens} | found.means


def against_fewest(summary: xr.Dataset, rows: pd.DataFrame, *, facts: Facts, options: Options) -> xr.Dataset:
    """Adds differences from the fewest frames with all tokens, p and q of them, and what was left out."""
    labels = names_of(summary["condition"]).tolist()
    fewest = f"{ALL}, {options.counts[0]} frames"
    pairs = beside(rows[rows["error"].isna()], dict.fromkeys(labels, fewest))
    how: dict[str, Any] = {"plus": "own", "minus": "base", "measures": ANSWERS}
    difference = contrast(pairs, dim="variant", over={"condition": labels}, **how)
    bare = difference.drop_vars(["long_name", "units", "higher"]).reindex(measure=summary["measure"].values)
    left_out = [c.label for c in options.conditions() if c.label not in labels]
    made = {"difference": bare, "difference_test": paired_tests(pairs, conditions=labels, **how)}
    return summary.assign(made).assign_attrs(left_out=left_out, fewest=options.counts[0])


def tables(summary: xr.Dataset) -> Iterator[Table | str]:
    """Tokens and answers of every number of frames, beside the fewest."""
    minus = partial(Column, form="+.3f", of="difference")
    told = {"tokens": Column("tokens", ".0f", alone=True), "accuracy": Column("accuracy")}
    told |= {"- fewest": minus("accuracy"), "q": Column("accuracy", ".2f", of="difference_test", at={"test": "q"})}
    told |= {"as all tokens of as many frames": Column("agreement"), "KL from these": Column("kl")}
    yield Table(told, f"Answers about {', '.join(summary.attrs['skills']) or 'everything'}:")
    if left_out := summary.attrs["left_out"]:
        yield f"Left out (clips with fewer frames, or a grid that cannot be held): {'; '.join(left_out)}."
    yield f"- fewest: minus {summary.attrs['fewest']} frames with all tokens; q: Benjamini-Hochberg over all rows."


def figure(summary: xr.Dataset) -> Figure:
    """Accuracy over the number of frames at equal tokens, and at each retention; all tokens in grey."""
    panels = {}
    for compared in [c for c in dict.fromkeys(names_of(summary["compared"])) if c != ALL]:
        title = "equal tokens" if compared == EQUAL else f"{compared} of the tokens"
        for measure, label in (("accuracy", "share of questions"), ("kl", "KL from all tokens, nat")):
            draw = partial(over_frames, compared=compared, measure=measure, label=label)
            panels[f"{title}: {'KL' if measure == 'kl' else measure}"] = draw
    return compose(summary, panels, height=0.6 + 1.2 * len(panels))


def over_frames(axes: Axes, summary: xr.Dataset, *, compared: str, measure: str, label: str) -> None:
    """A line per method over the number of frames, with that of all tokens."""
    whole = summary.isel(condition=names_of(summary["compared"]) == ALL)
    cells = values(whole, measure).values
    with_intervals(axes, whole["count"].values.astype(float), cells, label=ALL, color="0.5", linestyle=":", marker="|")
    part = summary.isel(condition=names_of(summary["compared"]) == compared)
    panel(sweep, measure, x="count", series="method", xlabel="frames", label=label)(axes, part)


def found(summary: xr.Dataset) -> list[str]:
    """What more frames bring, at equal tokens and by themselves."""
    minus = partial(differing, summary, "accuracy", of="difference", most=3)
    return [
        minus(where={"compared": ALL}, says="accuracy of more frames with all tokens, against the fewest,"),
        minus(where={"compared": EQUAL}, says="accuracy of more frames at equal tokens, against the fewest,"),
        extremes(summary, "accuracy", where={"compared": EQUAL}, says="accuracy at equal tokens"),
    ]


STUDY = Study(
    name="frame_scaling",
    options=Options,
    conditions=Options.conditions,
    measure=measure,
    depends=("seeds", "skills", "counts"),
    questions=asked_at_least_one,
    measures={**ANSWERS, "tokens": "video tokens in front of the model"},
    values={"value": Values()},
    derive=against_fewest,
    tables=(tables,),
    figures={"": figure},
    finding=found,
    published={"fastvid/table-10": ("frames",), "holitom/frames": ("frames",), "vcast/frame-scaling": ("frames",)},
)

if __name__ == "__main__":
    STUDY.command_line()
