"""What `studies.attention_lost` reports: its measures, means with intervals, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from studies.conditions import (
    INTERVAL,
    SALIENCE,
    STATISTICS,
    Condition,
    interval_text,
    intervals,
    labels_of,
    per_video,
    retention_columns,
)
from studies.runner import StudyRun

PREDICTION = "salience"  # the setting of the rows about salience
ALL = "all"
MEASURES = {
    "attention_lost": "attention on tokens that are not kept, as a share of that on the video",
    "attention_lost_sources": "attention on tokens of which nothing is kept",
    "expected": "what a random choice of as many tokens loses on average: the share not kept",
    "least": "what the best choice of as many tokens loses",
    "excess": "attention_lost minus expected",
    "reached": "part of the way from a random choice to the best one: (expected - lost) / (expected - least)",
}
PREDICTIONS = {
    "salience_attention_agreement": "rank correlation over all video tokens",
    "salience_auc": "area under the ROC curve for the most attended tenth",
    "held": "attention on the quarter of each frame's tokens that score highest, as a share of that on the video",
}
REFERENCES = {
    "order": "number of the token in the prompt: later tokens score higher",
    "other questions": "attention of the same layer to the other questions about the clip",
}


def _numbered(layers: Sequence[str]) -> list[str]:
    """Layers in order, all of them together last."""
    return sorted(set(layers), key=lambda name: (name == ALL, int(name) if name != ALL else 0))


def summarise(run: StudyRun, conditions: Sequence[Condition]) -> xr.Dataset:
    """Means over clips with intervals.

    `value` (setting, layer, measure, statistic), `by_skill` (setting, skill, statistic) of attention_lost on all layers
    together, `prediction_value` (source, layer, prediction, statistic), `above_order` the paired difference from the
    mere order of the tokens, and `video_share` (layer, statistic).
    """
    lost = run.rows[run.rows["setting"].isin([c.label for c in conditions])]
    told = run.rows[run.rows["setting"] == PREDICTION]
    layers, skills = _numbered(list(told["layer"])), list(dict.fromkeys(lost["skill"]))
    labels = [c.label for c in conditions]
    value = np.full((len(labels), len(layers), len(MEASURES), 4), np.nan)
    by_skill = np.full((len(labels), len(skills), 4), np.nan)
    means = per_video(lost, ("setting", "layer"), list(MEASURES))
    of_skill = per_video(lost[lost["layer"] == ALL], ("setting", "skill"), ["attention_lost"])
    for i, label in enumerate(labels):
        for j, layer in enumerate(layers):
            value[i, j] = intervals(means[label, layer])
        for j, skill in enumerate(skills):
            by_skill[i, j] = intervals(of_skill[label, skill])[0]
    data, sources = _predictions(told, layers)
    merges = lost.groupby("setting")["merges"].any()
    return xr.Dataset(
        {
            "value": (("setting", "layer", "measure", "statistic"), value),
            "by_skill": (("setting", "skill", "statistic"), by_skill),
        }
        | data,
        coords=labels_of(conditions, lost)
        | {
            "merges": ("setting", [bool(merges[label]) for label in labels]),
            "layer": layers,
            "skill": skills,
            "source": sources,
            "source_kind": ("source", ["reference" if s in REFERENCES else "salience" for s in sources]),
            "measure": list(MEASURES),
            "long_name": ("measure", list(MEASURES.values())),
            "prediction": list(PREDICTIONS),
            "statistic": list(STATISTICS),
        },
        attrs={
            "interval": INTERVAL,
            "layer": "all: attention of all layers summed, so that a layer counts by what it gives the video",
            "order": REFERENCES["order"],
            "other_questions": REFERENCES["other questions"],
        },
    )


def _predictions(told: pd.DataFrame, layers: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Variables about what tells attention, and its sources."""
    sources = [s for s in (*SALIENCE, *REFERENCES) if (told["source"] == s).any()]
    shape = (len(sources), len(layers), len(PREDICTIONS), 4)
    value, above = np.full(shape, np.nan), np.full(shape, np.nan)
    means = per_video(told, ("source", "layer"), list(PREDICTIONS))
    for i, source in enumerate(sources):
        for j, layer in enumerate(layers):
            here = means[source, layer]
            value[i, j] = intervals(here)
            if source != "order":
                above[i, j] = intervals(here - means["order", layer].reindex(here.index), paired=True)
    share = per_video(told, ("layer",), ["video_share"])
    dims = ("source", "layer", "prediction", "statistic")
    data: dict[str, Any] = {"prediction_value": (dims, value), "above_order": (dims, above)}
    data["video_share"] = (("layer", "statistic"), np.stack([intervals(share[(layer,)])[0] for layer in layers]))
    return data, sources


def lost_table(summary: xr.Dataset) -> pd.DataFrame:
    """One line per setting: attention lost on all layers together."""
    at = summary["value"].sel(layer=ALL)

    def show(measure: str, sign: str = "") -> list[str]:
        return [interval_text(cell, 3, sign) for cell in at.sel(measure=measure)]

    return pd.DataFrame(
        retention_columns(summary)
        | {
            "lost": show("attention_lost"),
            "lost with content": show("attention_lost_sources"),
            "beyond chance": show("excess", "+"),
            "least": [f"{float(c[0]):.3f}" for c in at.sel(measure="least")],
            "reached": show("reached", "+"),
        }
    )


def prediction_table(summary: xr.Dataset) -> pd.DataFrame:
    """One line per source of salience and layer."""
    lines = []
    for source in summary["source"].values:
        for layer in summary["layer"].values:
            cell = summary["prediction_value"].sel(source=source, layer=layer)
            above = summary["above_order"].sel(source=source, layer=layer)
            line = {"source": str(source), "layer": str(layer)}
            for name, title in (
                ("salience_attention_agreement", "correlation"),
                ("salience_auc", "AUC"),
                ("held", "held"),
            ):
                line[title] = interval_text(cell.sel(prediction=name), 2, "+" if title == "correlation" else "")
                line[f"{title} - order's"] = interval_text(above.sel(prediction=name), 2, "+")
            lines.append(line)
    return pd.DataFrame(lines)
