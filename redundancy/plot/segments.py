"""Segmentations: the figure of `studies.ablate_segments` and its parts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redundancy.plot.looks import segmenter_colours
from redundancy.plot.style import CONTROL, new_figure, style


def _names(labels: xr.DataArray) -> list[str]:
    return [str(label) for label in labels.values]


def similarity_over_time(
    axes: Axes,
    time: Float[np.ndarray, "frames"],
    similarity: Float[np.ndarray, "transitions"],
    *,
    known_cuts: Int64[np.ndarray, "cuts"] | None = None,
) -> None:
    """Transition similarity over seconds, each value between its two frames; known cuts as dashed lines."""
    middle = (time[1:] + time[:-1]) / 2
    axes.plot(middle, similarity, color="0.2", marker="o", label="transition similarity")
    for i, cut in enumerate(() if known_cuts is None else known_cuts):
        axes.axvline(middle[cut], color="tab:red", linestyle="--", linewidth=1, label="scene cut" if i == 0 else None)
    axes.set(xlabel="time, s", ylabel="cosine")


def segment_bars(
    axes: Axes,
    time: Float[np.ndarray, "frames"],
    segmentations: dict[str, Sequence[int]],
    *,
    palette: dict[str, Any],
    known_cuts: Int64[np.ndarray, "cuts"] | None = None,
) -> None:
    """Segments as bars over seconds, one row per segmentation, neighbours in different shades; known cuts dashed."""
    step = float(np.median(np.diff(time))) if len(time) > 1 else 1.0
    edges = np.append(time - step / 2, time[-1] + step / 2)
    for row, (label, lengths) in enumerate(segmentations.items()):
        starts = np.concatenate([[0], np.cumsum(lengths)])
        for i, (a, b) in enumerate(pairwise(starts)):
            axes.barh(
                row, edges[b] - edges[a], left=edges[a], height=0.7, color=palette[label], alpha=0.9 if i % 2 else 0.45
            )
    for cut in () if known_cuts is None else known_cuts:
        axes.axvline((time[cut] + time[cut + 1]) / 2, color="tab:red", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(segmentations)), list(segmentations))
    axes.invert_yaxis()
    axes.set(xlabel="time, s", xlim=(edges[0], edges[-1]))
    axes.tick_params(axis="y", length=0)


def sweep(axes: Axes, summary: xr.Dataset, measure: str, *, palette: dict[str, Any], variable: str = "value") -> None:
    """A measure against the mean number of segments: a line per series with intervals, its random cuts as crosses.

    Differences (`variable="difference"`) are drawn around zero, which stands for random cuts.
    """
    series = _names(summary["series"])
    for name, colour in palette.items():
        chosen = summary.isel(setting=[i for i, s in enumerate(series) if s == name])
        x = chosen["value"].sel(measure="segments", statistic="mean").values
        order = np.argsort(x, kind="stable")
        values = chosen[variable].sel(measure=measure).values[order]
        mean, low, high = values[:, 0], values[:, 1], values[:, 2]
        axes.errorbar(x[order], mean, yerr=[mean - low, high - mean], color=colour, marker="o", capsize=2, label=name)
        if variable == "value":
            control = chosen["random_cuts"].sel(measure=measure, statistic="mean").values[order]
            axes.plot(x[order], control, color=CONTROL, marker="x", linestyle="none", zorder=0)
    if variable == "difference":
        axes.axhline(0, color=CONTROL, linewidth=1, zorder=0)
    axes.plot([], [], color=CONTROL, marker="x", linestyle="none", label="random cuts")
    number = summary["value"].sel(measure="segments", statistic="mean").values
    axes.set_xscale("log", base=2)
    axes.set_xlim(number.min() / 1.1, number.max() * 1.1)
    axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlabel("segments per clip")


def segment_ablation(summary: xr.Dataset, rows: pd.DataFrame, facts: dict[str, Any]) -> Figure:
    """Segmenters against random cuts: agreement with scene cuts, contrast, and one clip in detail.

    Parameters
    ----------
    summary
        Summary of the study `ablate_segments`.
    rows
        Its rows; the segmentations of the clip in detail are read from them.
    facts
        Facts of the clip in detail, with its name as `video` and the settings to show as `settings`.
    """
    with style():
        series = dict(zip(_names(summary["setting"]), _names(summary["series"]), strict=True))
        palette = segmenter_colours(dict.fromkeys(series.values()))
        retentions = [m.removeprefix("error_") for m in _names(summary["measure"]) if m.startswith("error_")][:2]
        figure, axes = new_figure(2 + bool(retentions), 2, height=4.8 + 2.2 * bool(retentions))
        has_cuts = not np.isnan(summary["value"].sel(measure="f1", statistic="mean").values).all()
        sweep(axes[0, 0], summary, "f1" if has_cuts else "across_cut", palette=palette)
        axes[0, 0].set_title("(a) agreement with scene cuts" if has_cuts else "(a) similarity across cuts")
        axes[0, 0].set_ylabel(f"F1 within {summary.attrs['cut_tolerance']} frame" if has_cuts else "cosine")
        sweep(axes[0, 1], summary, "contrast", palette=palette, variable="difference")
        axes[0, 1].set_title("(b) contrast gained over random cuts")
        axes[0, 1].set_ylabel("cosine, within - across")
        for column, retention in enumerate(retentions):
            sweep(axes[1, column], summary, f"error_{retention}", palette=palette, variable="difference")
            axes[1, column].set_title(f"({'cd'[column]}) FastVID at retention {retention}")
            axes[1, column].set_ylabel("reconstruction error - random")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
        letters = "cdef"[2 * bool(retentions) :]
        time = np.asarray(facts["frame_time"])
        known = None if facts["known_cuts"] is None else np.asarray(facts["known_cuts"], dtype=np.int64)
        similarity_over_time(axes[-1, 0], time, np.asarray(facts["transition_similarity"]), known_cuts=known)
        axes[-1, 0].set_title(f"({letters[0]}) {facts['video']}" + (", scene cuts dashed" if known is not None else ""))
        axes[-1, 0].set_ylabel("cosine of neighbouring frames")
        of_clip = rows[(rows["video"] == facts["video"]) & (rows["seed"] == -1)].set_index("setting")
        bars = {s: np.asarray(of_clip.loc[s, "lengths"]).tolist() for s in facts["settings"]}
        segment_bars(axes[-1, 1], time, bars, palette={s: palette[series[s]] for s in bars}, known_cuts=known)
        axes[-1, 1].set_yticks(
            range(len(bars)), [s.replace("(", "\n(").replace("segments=", "") for s in bars], fontsize=6
        )
        axes[-1, 1].set_title(f"({letters[1]}) its segments")
    return figure
