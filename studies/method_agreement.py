"""Who keeps the same tokens? All pairs of methods and controls at equal requested retention, against chance.

For each clip and pair: Jaccard index of the places kept and of the places whose content is kept, and the correlation of
the numbers kept per frame. Beside each Jaccard index stands what two random choices of the same numbers would give on
average, over the whole video and with both methods' own numbers in every frame: the second says how much of an
agreement is that of budgets alone. Intervals are over clips, differences from chance are paired.

    python -m studies.method_agreement
    python -m studies.method_agreement --videos my_videos/ --model llava-hf/llava-onevision-qwen2-7b-ov-hf --frames 32
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import xarray as xr
from jaxtyping import Float, Int64
from scipy.stats import hypergeom

import redundancy as rd
from redundancy import plot
from redundancy.evaluation.answers import grid_text
from redundancy.metrics.agreement import anchor_jaccard, budget_spearman, source_jaccard
from redundancy.models import VideoLLM
from redundancy.pruning.table import METHODS
from redundancy.recording import open_dataset
from redundancy.reduction import Reduction
from redundancy.sources import VideoSource
from studies.conditions import (
    INTERVAL,
    RETENTIONS,
    STATISTICS,
    Condition,
    below_table,
    conditions_of,
    decisions,
    interval_text,
    intervals,
    per_video,
)
from studies.runner import (
    StudyOptions,
    StudyRun,
    VideoResult,
    command_line,
    run_study,
    save_summary,
    say_what_ran,
    study_main,
)

NAME = "method_agreement"
VERSION = 1
SHOWN = 0.25  # the requested retention that is printed
MEASURES = {
    "anchor_jaccard": "Jaccard index of the places kept",
    "source_jaccard": "Jaccard index of the places whose content is kept",
    "budget_spearman": "rank correlation of the numbers kept per frame",
    "anchor_expected": "anchor_jaccard of random choices of the same numbers",
    "anchor_expected_in_frames": "anchor_jaccard of random choices of the same numbers in every frame",
    "source_expected": "source_jaccard of random choices of the same numbers",
    "anchor_excess": "anchor_jaccard minus that of random choices",
    "anchor_excess_in_frames": "anchor_jaccard minus that of random choices with the same numbers in every frame",
    "source_excess": "source_jaccard minus that of random choices",
    "achieved": "share of tokens kept by the first method",
    "achieved_other": "share of tokens kept by the second method",
}


@dataclass(frozen=True, kw_only=True)
class Options(StudyOptions):
    """Compare which tokens methods keep.

    Parameters
    ----------
    methods
        Names of the methods and controls; those with a fixed rate stand beside every retention.
    retentions
        Shares of the tokens that methods are asked to keep.
    seeds
        Draws of the random controls per clip.
    """

    methods: tuple[str, ...] = tuple(METHODS)
    retentions: tuple[float, ...] = RETENTIONS
    seeds: int = 5
    out: Path = Path("results") / NAME

    def __post_init__(self) -> None:
        super().__post_init__()
        conditions_of(self.methods, self.retentions)
        self.at_least(1, "seeds")


class Pair(NamedTuple):
    """Two conditions at one requested retention."""

    label: str
    first: Condition
    second: Condition
    retention: float


def pairs_of(options: Options) -> list[Pair]:
    """All pairs of methods at every retention; one that draws is also held against another draw of itself."""
    pairs = []
    for r in options.retentions:
        for a, b in combinations_with_replacement(conditions_of(options.methods, (r,)), 2):
            if a is not b or hasattr(a.method, "seed"):
                pairs.append(Pair(f"{a.name} & {b.name}({r:g})", a, b, float(r)))
    return pairs


# what chance gives ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=100_000)
def _common(total: int, first: int, second: int) -> Float[np.ndarray, "common"]:
    """Probability of 0, 1, ... common elements of two random subsets of these sizes."""
    if not first or not second:
        return np.ones(1)
    return np.asarray(hypergeom(total, first, second).pmf(np.arange(min(first, second) + 1)), dtype=np.float64)


def expected_jaccard(total: int, first: Int64[np.ndarray, "groups"], second: Int64[np.ndarray, "groups"]) -> float:
    """Mean Jaccard index of two independent random choices of given numbers in each of several groups of places.

    Parameters
    ----------
    total
        Places in each group.
    first, second
        `[groups]` how many each chooses there; one group: over the whole video.

    Source: own; the number in common is a sum of hypergeometric ones.
    """
    probability = np.ones(1)
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        probability = np.convolve(probability, _common(total, a, b))
    common = np.arange(len(probability))
    size = int(first.sum() + second.sum())
    return float((probability * common / (size - common)).sum()) if size else float("nan")


def _per_frame(reduction: Reduction, token: torch.Tensor) -> Int64[np.ndarray, "frames"]:
    """Different video tokens in each frame."""
    N = reduction.grid.tokens_per_frame
    return torch.bincount(torch.unique(token[token >= 0]).cpu() // N, minlength=reduction.grid.frames).numpy()


def compare(first: Reduction, second: Reduction) -> dict[str, float]:
    """Every measure of one pair."""
    T, N = first.grid.frames, first.grid.tokens_per_frame
    anchors = [_per_frame(r, r.anchor_token) for r in (first, second)]
    sources = [_per_frame(r, r.slots[r.source[r.weight > 0]]) for r in (first, second)]
    row = {
        "anchor_jaccard": anchor_jaccard(first, second).item(),
        "source_jaccard": source_jaccard(first, second).item(),
        "budget_spearman": budget_spearman(first, second).item(),
        "anchor_expected": expected_jaccard(T * N, *(a.sum(keepdims=True) for a in anchors)),
        "anchor_expected_in_frames": expected_jaccard(N, *anchors),
        "source_expected": expected_jaccard(T * N, *(s.sum(keepdims=True) for s in sources)),
        "achieved": first.achieved,
        "achieved_other": second.achieved,
    }
    return row | {
        "anchor_excess": row["anchor_jaccard"] - row["anchor_expected"],
        "anchor_excess_in_frames": row["anchor_jaccard"] - row["anchor_expected_in_frames"],
        "source_excess": row["source_jaccard"] - row["source_expected"],
    }


# the study --------------------------------------------------------------------------------------------------------


def measure_video(
    source: VideoSource, missing: Sequence[str], *, model: VideoLLM, pairs: dict[str, Pair], options: Options
) -> VideoResult:
    """Rows of one video for the pairs that are missing.

    Raises
    ------
    VideoError
        If the video cannot be read.
    """
    clip = source.load(model, frames=options.frames)
    tokens = rd.video_tokens(model, clip)
    wanted = {c.label: c for label in missing for c in pairs[label][1:3]}
    # one draw more than pairs use, so that a random control can be held against another draw of itself
    decided = {label: list(decisions(c, tokens, seeds=options.seeds + 1)) for label, c in wanted.items()}
    rows: list[dict[str, Any]] = []
    for label in missing:
        pair = pairs[label]
        first, second = decided[pair.first.label], decided[pair.second.label]
        draws = options.seeds if max(len(first), len(second)) > 1 else 1
        for seed in range(draws):
            a = first[seed % len(first)]
            # two controls with one seed draw the same numbers: they would agree beyond chance
            b = second[(seed + (len(first) > 1)) % len(second)]
            named = zip((pair.first.name, pair.second.name), (a[2], b[2]), strict=True)
            notes = "; ".join(dict.fromkeys(f"{name}: {note}" for name, note in named if note))
            rows.append(compare(a[1], b[1]) | {"setting": label, "seed": seed if draws > 1 else -1, "replaced": notes})
    facts = {"frames_read": len(clip.frames), "decoder": clip.decoder, "grid": grid_text(tokens.grid)}
    return VideoResult(rows, facts)


def summarise(run: StudyRun, pairs: Sequence[Pair], methods: Sequence[str]) -> xr.Dataset:
    """Means over clips with intervals for every pair.

    Dims: retention, first, second, measure, statistic; symmetric but for achieved and achieved_other.
    """
    retentions = list(dict.fromkeys(p.retention for p in pairs))
    value = np.full((len(retentions), len(methods), len(methods), len(MEASURES), 4), np.nan)
    kinds = {c.name: c.kind for p in pairs for c in (p.first, p.second)}
    of_pair = per_video(run.rows[run.rows["setting"].notna()], ("setting",), list(MEASURES))
    for pair in pairs:
        cell = intervals(of_pair[(pair.label,)])
        r, i, j = retentions.index(pair.retention), methods.index(pair.first.name), methods.index(pair.second.name)
        value[r, i, j] = cell
        if i != j:
            turned = [list(MEASURES).index(_TURNED.get(m, m)) for m in MEASURES]
            value[r, j, i] = cell[turned]
    return xr.Dataset(
        {"value": (("retention", "first", "second", "measure", "statistic"), value)},
        coords={
            "retention": retentions,
            "first": list(methods),
            "second": list(methods),
            "kind": ("first", [kinds[m] for m in methods]),
            "measure": list(MEASURES),
            "statistic": list(STATISTICS),
            "long_name": ("measure", list(MEASURES.values())),
        },
        attrs={
            "interval": INTERVAL,
            "retention": "share of tokens asked for; methods with a fixed rate keep theirs, see achieved",
            "excess": "Jaccard index minus its exact mean for random choices of as many places, paired over clips",
        },
    )


_TURNED = {"achieved": "achieved_other", "achieved_other": "achieved"}


def agreement_table(summary: xr.Dataset, retention: float) -> pd.DataFrame:
    """Every pair at one requested retention, those that agree most beyond chance first."""
    at = summary["value"].sel(retention=retention)
    names = [str(m) for m in summary["first"].values]
    lines = []
    for i, j in combinations_with_replacement(range(len(names)), 2):
        cell = at.isel(first=i, second=j)
        if np.isnan(cell.sel(measure="anchor_jaccard", statistic="mean")):
            continue
        shares = [float(cell.sel(measure=m, statistic="mean")) for m in ("achieved", "achieved_other")]
        lines.append(
            {
                "pair": f"{names[i]} & {names[j]}",
                "achieved": " & ".join(f"{s:.3f}" for s in shares),
                "anchors": interval_text(cell.sel(measure="anchor_jaccard"), 2),
                "by chance": f"{float(cell.sel(measure='anchor_expected', statistic='mean')):.2f}",
                "beyond chance": interval_text(cell.sel(measure="anchor_excess"), 2, "+"),
                "beyond budgets": interval_text(cell.sel(measure="anchor_excess_in_frames"), 2, "+"),
                "content": interval_text(cell.sel(measure="source_jaccard"), 2),
                "budgets": interval_text(cell.sel(measure="budget_spearman"), 2, "+"),
                "_order": -float(cell.sel(measure="anchor_excess", statistic="mean")),
            }
        )
    return pd.DataFrame(lines).sort_values("_order", kind="stable").drop(columns="_order")


@study_main(NAME)
def main(options: Options) -> xr.Dataset:
    """Run what is missing, write rows, summary and figure, and print the table of one retention.

    Raises
    ------
    NothingMeasuredError
        If every video failed.
    """
    pairs = {p.label: p for p in pairs_of(options)}
    depends = {"frames": options.frames, "seeds": options.seeds}
    measure = partial(measure_video, pairs=pairs, options=options)
    run = run_study(options, pairs, measure, name=NAME, version=VERSION, depends=depends)
    notes = sorted({note for joined in run.rows["replaced"].fillna("") for note in joined.split("; ") if note})
    names = tuple(dict.fromkeys(c.name for c in conditions_of(options.methods, options.retentions)))
    summary = summarise(run, list(pairs.values()), names)
    summary = save_summary(summary, run, options.out, **depends, replaced=notes)
    draw(options.out)
    stored = summary["retention"].values
    retention = float(stored[np.abs(stored - SHOWN).argmin()])
    print(f"Asked to keep {retention:g} of the tokens (the summary holds {', '.join(f'{r:g}' for r in stored)}):")
    print(agreement_table(summary, retention).to_string(index=False))
    print(f"\n{below_table(summary, len(run.facts))}; {options.seeds} draws of random controls.")
    print("by chance: random choices of as many places; beyond budgets: of as many in every frame;")
    print("budgets: -: one of the two keeps equally many in all frames.")
    print("\n".join([*notes, say_what_ran(run), f"Rows, summary and figure: {options.out}"]))
    return summary


def draw(out: Path) -> list[Path]:
    """Draw the study's figure from what is stored in `out`."""
    summary = open_dataset(out / "summary.zarr").load()
    return plot.save(plot.method_agreement(summary), out / NAME)


if __name__ == "__main__":
    command_line(Options, main)
